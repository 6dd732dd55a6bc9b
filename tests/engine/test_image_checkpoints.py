"""A user's image classifier: its classes and preprocessing, a clean reference, and a loadable result folder."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cheap_runs import ReportList, cheap_run, done, same_bits
from safetensors.torch import load_file, save_file

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.given import built, given
from hamu_ray.engine.files.store import key_of
from hamu_ray.engine.resident import Resident
from hamu_ray.pairing.group import Alone
from hamu_ray.tasks.models.start import Origin
from hamu_ray.tasks.vision.models import logits_of
from tests.made_checkpoints import ANIMALS, INPUT, SHUFFLED, animal_image, write_animals, write_vit


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import datasets.config

    folder = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "prepared")
        yield write_animals(folder / "animals")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned ViT."""
    return write_vit(tmp_path_factory.mktemp("vit") / "tuned")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT that was not trained on the images, with a head for other classes."""
    return write_vit(tmp_path_factory.mktemp("vit") / "base", ("a", "b", "c", "d"), seed=1, steps=0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("image-storage"), torch.device("cpu"))


def run_of(animals: Path, checkpoint: Path, **sections: Any) -> RunConfig:
    document: dict[str, Any] = {
        "data": {"name": "images", "path": str(animals)},
        "forget": {"kind": "class", "label": "bee"},
        "model": {"name": str(checkpoint)},
        "original": {"path": str(checkpoint)},
        "training": {"epochs": 2, "batch_size": 9, "select": "last", "optimizer": {"learning_rate": 0.01}},
        "batch": {"retain": 6, "forget": 6},
        "duration": {"steps": 3},
        "evaluation": {"every_steps": 100},
        "optimizer": {"learning_rate": 0.05},
        "workers": {"count": 1},
    }
    return RunConfig.model_validate({**document, **sections})


def from_base(base: Path) -> dict[str, Any]:
    return {"reference": {"start": str(base), "new_head": True}}


def test_a_fine_tuned_vit_is_unlearned_and_taken_home(
    animals: Path, tuned: Path, base: Path, images: Resident, tmp_path: Path
) -> None:
    """Its own order of classes, size, mean and standard deviation, and equal logits when loaded from its folder."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    run = run_of(animals, tuned, **from_base(base))
    ended = done(run, images, tmp_path / "run")
    original = next(ended.recorder.of("original")).measures
    assert original["retain_accuracy"] == original["forget_accuracy"] == 1.0, "it had learned these images"
    assert (ended.outcome.reference_kind, str(base) in ended.outcome.reference_origin) == (
        Origin.DECLARED,
        True,
    )

    task: Any = images.task(run)
    assert task.data.image_shape == (3, INPUT, INPUT)
    loaded: Any = AutoModelForImageClassification.from_pretrained(tmp_path / "run")
    processor: Any = AutoImageProcessor.from_pretrained(tmp_path / "run")
    assert [loaded.config.id2label[number] for number in range(3)] == list(SHUFFLED)
    pictures = [animal_image(kind, number) for kind in range(3) for number in range(6)]
    inputs = processor(pictures, return_tensors="pt")["pixel_values"]
    model = task.build_model(run.seed)
    model.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    outputs = task.forward(model.eval(), torch.arange(18))
    torch.testing.assert_close(loaded.eval()(inputs).logits, outputs.logits, rtol=1e-5, atol=1e-5)
    assert [SHUFFLED[label] for label in outputs.labels.tolist()] == [
        name for name in ANIMALS for _ in range(6)
    ]


def test_the_folder_of_a_run_is_an_original(
    animals: Path, tuned: Path, base: Path, images: Resident, tmp_path: Path
) -> None:
    first = done(run_of(animals, tuned, **from_base(base)), images, tmp_path / "one")
    again = run_of(animals, tmp_path / "one", duration={"steps": 0}, **from_base(base))
    assert same_bits(done(again, images, tmp_path / "two").weights, first.weights)


def test_a_reference_from_the_originals_own_weights_is_refused(
    animals: Path, tuned: Path, images: Resident, tmp_path: Path
) -> None:
    copy = shutil.copytree(tuned, tmp_path / "copy")
    for model, original in ((tuned, tuned), (copy, tuned)):
        run = run_of(animals, model, original={"path": str(original)})
        with pytest.raises(ValueError, match=r"^reference\.start: .*own weights.*assume_clean=true\)$"):
            base_models(run, images.task(run), Alone(), ReportList(), images.models)
    run = run_of(animals, tuned, reference={"assume_clean": True})
    ended = done(run, images, tmp_path / "run")
    assert ended.outcome.reference_kind == Origin.ASSUMED
    assert "ASSUMED" in (tmp_path / "run" / "README.md").read_text()
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["reference_kind"] == "assumed"


def test_the_reference_starts_from_the_declared_weights(
    animals: Path, tuned: Path, base: Path, images: Resident
) -> None:
    """Without any step it equals the base's backbone, with a new head."""
    from transformers import AutoModelForImageClassification

    run = run_of(animals, tuned, **from_base(base))
    task = images.task(run)
    start = built(task, run.seed, given(run, "reference.start", str(base))).state_dict()
    theirs = AutoModelForImageClassification.from_pretrained(base).state_dict()
    backbone = {name for name in theirs if name.startswith("vit.")}
    assert same_bits({name: start[name] for name in backbone}, {name: theirs[name] for name in backbone})
    assert start["classifier.weight"].shape == (3, 16)


def test_a_base_without_its_head_is_an_error_unless_one_is_asked_for(
    animals: Path, tuned: Path, base: Path, images: Resident
) -> None:
    run = run_of(animals, tuned, reference={"start": str(base)})
    with pytest.raises(ValueError, match=r"reference\.start: .*a, b, c, d.*cat, ant, bee.*new head"):
        base_models(run, images.task(run), Alone(), ReportList(), images.models)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("missing", r"lacks weights.*vit\.embeddings\.cls_token"),
        ("unexpected", r"has weights that the model of its config\.json lacks: vit\.strange"),
        ("mismatched", r"another shape: vit\.embeddings\.cls_token"),
    ],
)
def test_a_checkpoint_must_fill_the_model(
    changed: str, message: str, animals: Path, tuned: Path, images: Resident, tmp_path: Path
) -> None:
    folder = shutil.copytree(tuned, tmp_path / changed)
    weights = load_file(folder / "model.safetensors")
    name = "vit.embeddings.cls_token"
    if changed == "missing":
        del weights[name]
    elif changed == "unexpected":
        weights["vit.strange"] = torch.zeros(3)
    else:
        weights[name] = torch.zeros(1, 1, 8)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for new_head in (False, True):
        run = run_of(animals, folder, model={"name": str(folder), "new_head": new_head}, original={})
        with pytest.raises(ValueError, match=f"model.name: .*{message}"):
            images.task(run).build_model(0)


def test_what_identifies_a_model_is_its_content(
    animals: Path, tuned: Path, base: Path, tmp_path: Path
) -> None:
    """The same folder with other weights is another original; the same weights in another folder are not."""
    storage = Resident(tmp_path / "storage", torch.device("cpu"))
    folder = shutil.copytree(tuned, tmp_path / "here")

    def trained(model: Path) -> str:
        run = run_of(
            animals, model, original={"source": "train"}, reference={"start": str(base), "new_head": True}
        )
        return base_models(run, storage.task(run), Alone(), ReportList(), storage.models)[0].key

    first = trained(folder)
    assert trained(shutil.copytree(tuned, tmp_path / "there")) == first
    weights = load_file(folder / "model.safetensors")
    save_file({n: w + 0.01 for n, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    assert trained(folder) != first


def test_an_adapter_is_an_original(
    animals: Path, tuned: Path, base: Path, images: Resident, tmp_path: Path
) -> None:
    """A peft folder: its base with the adapter and the head merged."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageClassification

    network: Any = AutoModelForImageClassification.from_pretrained(tuned)
    adapted: Any = get_peft_model(
        network, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"])
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    run = run_of(
        animals, tuned, original={"path": str(tmp_path / "adapter")}, duration={"steps": 0}, **from_base(base)
    )
    done(run, images, tmp_path / "run")
    inputs = torch.rand(4, 3, INPUT, INPUT)
    plain: Any = AutoModelForImageClassification.from_pretrained(tmp_path / "run")
    torch.testing.assert_close(
        logits_of(plain.eval(), inputs), adapted.eval()(inputs).logits, rtol=1e-5, atol=1e-5
    )
    untouched = logits_of(AutoModelForImageClassification.from_pretrained(tuned).eval(), inputs)
    assert not torch.allclose(logits_of(plain, inputs), untouched, atol=1e-2), "the adapter changes something"


def test_the_digits_take_a_checkpoints_preprocessing(tmp_path: Path, images: Resident) -> None:
    """Greyscale images of 8 x 8 pixels become the image processor's outputs."""
    folder = write_vit(tmp_path / "ten", tuple(map(str, range(10))), steps=0)
    run = RunConfig.model_validate({"model": {"name": str(folder)}, "workers": {"count": 1}})
    task: Any = images.task(run)
    assert task.data.image_shape == (3, INPUT, INPUT)
    assert task.data.mean == (0.4, 0.3, 0.2)


def test_a_small_image_model_is_loaded_in_two_lines(
    tmp_path: Path, resident: Resident, bases: object
) -> None:
    """The loading code of the model card, run in the model's folder."""

    ended = done(cheap_run(), resident, tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) == 2
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "run")
        exec(code, found)
    assert same_bits(found["model"].state_dict(), ended.weights)


def test_keys_of_stored_models_are_of_their_recipes(
    images: Resident, animals: Path, tuned: Path, base: Path
) -> None:
    run = run_of(animals, tuned, **from_base(base))
    _, reference = base_models(run, images.task(run), Alone(), ReportList(), images.models)
    assert reference is not None
    recipe = json.loads((reference.path.parent / "recipe.json").read_text())
    assert key_of(recipe) == reference.key
    assert str(tuned) not in json.dumps(recipe), "a name decides on nothing"
