import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from made_images import image_of
from PIL import Image

from hamu_ray.config.task.forget import ForgetFiles
from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import ImagesData
from hamu_ray.tasks.registry import check_sample
from hamu_ray.tasks.vision.images import pixels
from hamu_ray.tasks.vision.images.labels import labelled_rows, spread_over_classes
from hamu_ray.tasks.vision.images.loading import load_images_data
from hamu_ray.tasks.vision.images.pixels import decoded_pixels
from hamu_ray.tasks.vision.images.preprocessing import preprocessing_of
from hamu_ray.tasks.vision.task import VisionTask
from tests.memory import apart, peak_of

GREY = {"mean": (0.5,), "std": (0.5,)}


def parquet_folder(
    folder: Path, labels: Sequence[Any], feature: Any, image_sizes: Sequence = ((6, 5),)
) -> Path:
    """Write the same rows as training and test split, with columns ``picture`` and ``kind``."""
    images = [image_of(10 * row, image_sizes[row % len(image_sizes)]) for row in range(len(labels))]
    columns = datasets.Features({"picture": datasets.Image(), "kind": feature})
    rows = datasets.Dataset.from_dict({"picture": images, "kind": list(labels)}, features=columns)
    folder.mkdir()
    for split in ("train", "test"):
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def config_for(folder: Path, **changes: Any) -> ImagesData:
    return ImagesData(**{"path": str(folder), "image_column": "picture", "label_column": "kind", **changes})


def error_of(config: ImagesData) -> str:
    with pytest.raises(ValueError) as caught:
        load_images_data(config, None)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_folder_of_images(image_folder: Path) -> None:
    data = load_images_data(ImagesData(path=str(image_folder)), None)
    assert data.class_names == ("cat", "dog")
    assert data.train.pixels.shape == (8, 3, 5, 6)
    assert data.train.pixels.dtype == torch.uint8
    assert data.train.pixels.is_contiguous(memory_format=torch.channels_last)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert data.train.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 100, 101, 102, 103]
    assert len(data.test) == 2


def test_an_image_is_identified_by_its_file(image_folder: Path) -> None:
    config = ImagesData(path=str(image_folder), train_limit=6)
    forget = ForgetFiles(names=("dog/1.png",))
    data = load_images_data(config, None)
    task = VisionTask(data, forget=forget, model=ModelConfig(), batch_size=4, seed=0)
    (known,) = task.identities(task.splits["forget"])
    place, _, path = known.place.partition(", ")
    row = int(place.removeprefix("row "))
    assert data.source is not None
    assert row in data.source.used.tolist()
    assert Path(path) == image_folder / "train" / "dog" / "1.png"
    assert known.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_grey_and_resized(image_folder: Path) -> None:
    data = load_images_data(ImagesData(path=str(image_folder), image_size=4, **GREY), None)
    assert data.train.pixels.shape == (8, 1, 4, 4)
    assert data.train.pixels[5].unique().tolist() == [101]


def test_parquet_with_class_labels(tmp_path: Path, offline: None) -> None:
    feature = datasets.ClassLabel(names=["a", "b", "c"])
    data = load_images_data(config_for(parquet_folder(tmp_path / "p", [2, 0, 1, 2], feature)), None)
    assert data.class_names == ("a", "b", "c")
    assert data.train.labels.tolist() == [2, 0, 1, 2]
    assert data.train.pixels[:, 2, 4, 5].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("labels", "feature", "names"),
    [
        (["pear", "fig", "pear"], datasets.Value("string"), ("fig", "pear")),
        ([7, 3, 7], datasets.Value("int16"), ("3", "7")),
    ],
)
def test_plain_labels_become_classes_in_sorted_order(
    tmp_path: Path, offline: None, labels: list, feature: datasets.Value, names: tuple
) -> None:
    data = load_images_data(config_for(parquet_folder(tmp_path / "p", labels, feature)), None)
    assert data.class_names == names
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.train.labels.dtype == torch.int64


@pytest.mark.parametrize("labels", [[0.5, 1.0], [None, 1]])
def test_labels_that_are_no_classes(tmp_path: Path, offline: None, labels: list) -> None:
    feature = datasets.Value("int64" if None in labels else "float32")
    message = error_of(config_for(parquet_folder(tmp_path / "p", labels, feature)))
    assert message.startswith("data.label_column: kind of")
    assert "must contain integers, strings or a ClassLabel" in message


def test_rows_without_a_class(tmp_path: Path, offline: None) -> None:
    folder = parquet_folder(tmp_path / "p", [0, -1], datasets.ClassLabel(names=["a"]))
    assert "rows without a label (-1)" in error_of(config_for(folder))


def test_wrong_column_names_the_nearest(image_folder: Path) -> None:
    path = str(image_folder)
    assert error_of(ImagesData(path=path, image_column="imag")).endswith(
        "no column imag; did you mean image?"
    )
    assert error_of(ImagesData(path=path, label_column="xyz")).endswith("no column xyz; it has image, label")


def test_column_without_images(tmp_path: Path, offline: None) -> None:
    folder = parquet_folder(tmp_path / "p", [0, 1], datasets.Value("int64"))
    assert error_of(config_for(folder, image_column="kind")).startswith("data.image_column: kind of")


def test_missing_split_lists_what_is_there(image_folder: Path) -> None:
    message = error_of(ImagesData(path=str(image_folder), test_split="validation"))
    assert message.startswith("data.test_split:")
    assert "'train'" in message
    assert "'test'" in message


def test_subset_that_is_not_there(image_folder: Path) -> None:
    message = error_of(ImagesData(path=str(image_folder), subset="other"))
    assert message.startswith("data.subset:")
    assert "Available: ['default']" in message


def test_missing_folder(tmp_path: Path) -> None:
    assert (
        error_of(ImagesData(path=str(tmp_path / "nothing")))
        == f"data.path: {tmp_path}/nothing: no such folder; check the path"
    )


def test_hub_out_of_reach_is_one_line(offline: None) -> None:
    assert error_of(ImagesData(path="nobody/nothing")).startswith(
        "data.path: nobody/nothing (train) cannot be loaded: Couldn't reach 'nobody/nothing'"
    )


def test_images_of_different_sizes_need_a_size(tmp_path: Path, offline: None) -> None:
    folder = parquet_folder(tmp_path / "p", [0, 1], datasets.Value("int64"), image_sizes=((6, 5), (8, 8)))
    message = error_of(config_for(folder))
    assert message.startswith("data.image_size:")
    assert "6x5 and, in row 1, 8x8" in message
    assert load_images_data(config_for(folder, image_size=8), None).image_shape == (3, 8, 8)


def test_broken_image(tmp_path: Path, offline: None) -> None:
    folder = tmp_path / "broken"
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            (folder / split / name / "0.png").write_bytes(b"not an image")
    message = error_of(ImagesData(path=str(folder)))
    assert message.startswith(
        f"data.path: {folder}/train/cat/0.png (row 0 of {folder} (train)) cannot be decoded: "
    )
    assert message.endswith("; replace it")


def test_a_dry_run_decodes_a_sample(image_folder: Path, offline: None) -> None:
    config = ImagesData(path=str(image_folder))
    check_sample(config)
    whole = (image_folder / "test" / "dog" / "0.png").read_bytes()
    (image_folder / "test" / "dog" / "0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"data\.path: .*/test/dog/0\.png \(row \d of .* cannot be decoded"):
        check_sample(config)


def test_cache_is_read_and_follows_the_files(image_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    config = ImagesData(path=str(image_folder))
    first = load_images_data(config, cache)
    assert len(list(cache.glob("*.npy"))) == 2
    again = load_images_data(config, cache)
    assert torch.equal(first.train.pixels, again.train.pixels)
    assert again.train.pixels.is_contiguous(memory_format=torch.channels_last)
    load_images_data(ImagesData(path=str(image_folder), train_limit=2), cache)
    assert len(list(cache.glob("*.npy"))) == 3
    image_of(77).save(image_folder / "train" / "cat" / "0.png")
    assert load_images_data(config, cache).train.pixels[0, 0, 0, 0] == 77


def pixels_of(folder: Path, cache: Path | None) -> np.ndarray:
    config = ImagesData(path=str(folder))
    train, _, _ = labelled_rows(config)
    return decoded_pixels(
        train.dataset,
        config.image_column,
        preprocessing=preprocessing_of(config, ModelConfig()),
        where="here",
        cache=cache,
    )


def peaks_of_decoding(folder: Path, caches: Path) -> tuple[int, int, int]:
    """Return the bytes allocated by decoding into a cache, by mapping what is there, and without a cache."""
    pixels.ROWS_AT_ONCE = 4
    for warm in (None, caches / "warm", caches / "warm"):
        pixels_of(folder, warm)  # what first calls import and prepare is no image
    cache = caches / "cache"
    writing, mapping, in_memory = (
        peak_of(partial(pixels_of, folder, given)) for given in (cache, cache, None)
    )
    return writing, mapping, in_memory


def test_decoded_images_are_mapped_and_never_in_memory_at_once(tmp_path: Path, offline: None) -> None:
    folder = tmp_path / "many"
    for split, count in (("train", 60), ("test", 2)):
        for number in range(count):
            file = folder / split / ("cat", "dog")[number % 2] / f"{number:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (256, 256), (number, 7, 9)).save(file)
    size = 60 * 256 * 256 * 3
    writing, mapping, in_memory = apart(peaks_of_decoding, folder, tmp_path)
    assert writing < size / 2
    assert mapping < size / 10
    assert in_memory > size
    assert np.array_equal(pixels_of(folder, tmp_path / "cache"), pixels_of(folder, None))


def test_one_process_decodes_for_all(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, original = [], pixels._decoded

    def counted(*given: Any) -> Iterator[np.ndarray]:
        decoded.append(threading.get_ident())
        time.sleep(0.2)
        return original(*given)

    monkeypatch.setattr(pixels, "_decoded", counted)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: pixels_of(image_folder, tmp_path / "cache"), range(3)))
    assert len(decoded) == 1
    assert all(np.array_equal(one, found[0]) for one in found)


def test_the_fingerprint_is_that_of_the_images_in_one_piece(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamu_ray.tasks.vision.data.HASHED_AT_ONCE", 3)
    data = load_images_data(ImagesData(path=str(image_folder)), None)
    content = hashlib.sha256(repr((2, data.mean, data.std)).encode())
    for tensor in (data.train.pixels, data.train.labels, data.test.pixels, data.test.labels):
        content.update(str(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes())
    assert data.fingerprint == content.hexdigest()


@pytest.mark.parametrize("place", [0.3, 0.9, 0.9999])
def test_damaged_cache_is_made_again(
    image_folder: Path, tmp_path: Path, place: float, caplog: pytest.LogCaptureFixture
) -> None:
    expected = np.array(pixels_of(image_folder, tmp_path))
    (path,) = tmp_path.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert np.array_equal(pixels_of(image_folder, tmp_path), expected)
    assert caplog.messages == [f"{path}: damaged; made again"]
    assert np.array_equal(pixels_of(image_folder, tmp_path), expected)
    assert len(caplog.messages) == 1


def test_unwritable_cache_costs_only_the_cache(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    data = load_images_data(ImagesData(path=str(image_folder)), tmp_path / "file" / "cache")
    assert len(data.train) == 8


def test_limit_takes_as_many_of_each_class(image_folder: Path) -> None:
    data = load_images_data(ImagesData(path=str(image_folder), train_limit=6, test_limit=2), None)
    assert data.train.labels.bincount().tolist() == [3, 3]
    assert data.test.labels.tolist() == [0, 1]


def test_classes_that_run_out_leave_their_places_to_others() -> None:
    labels = np.array([0] * 2 + [1] * 10 + [3] * 10)
    rows = spread_over_classes(labels, 11)
    assert np.bincount(labels[rows]).tolist() == [2, 5, 0, 4]
    assert np.array_equal(rows, np.sort(rows))
    assert np.array_equal(rows, spread_over_classes(labels, 11))
    assert spread_over_classes(labels, 99).tolist() == list(range(22))
