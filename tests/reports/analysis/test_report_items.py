"""Single examples in a report: histograms, matrices and accuracies add up, and the page shows them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hamu_ray.reports.analysis.items import (
    MOST_POINTS,
    chosen,
    class_accuracies,
    histograms,
    points_with_items,
    prediction_matrix,
    shown_items,
    similarity_by_layer,
)
from hamu_ray.reports.analysis.problems import problems_of
from hamu_ray.reports.page.before_after import MOST_CLASSES, class_chart, loss_chart, matrices
from hamu_ray.reports.page.page import render
from hamu_ray.results.items import ITEMS_FILE, SPLITS, ItemTable, dump_items, load_items
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import Status
from tests.made_items import COUNTS, write_images, write_texts
from tests.made_store import fill, made_record, points, sweep_config

SPACE = {"method.name": {"grid": ["hamu-q", "gdiff", "ga"]}}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ItemTable:
    folder = tmp_path_factory.mktemp("items")
    write_images(folder)
    return load_items((folder / ITEMS_FILE).read_bytes())


@pytest.fixture
def sweep(tmp_path: Path) -> SweepResult:
    """A sweep whose three trials are all on the front: images beside the first two, texts beside the last."""
    config = sweep_config(SPACE)
    folder = tmp_path / "sweeps" / "made"
    records = [
        replace(
            made_record(number, config, point, folder),
            status=Status.FINISHED,
            measures={"forget_quality": 0.9 - 0.2 * number, "retain_utility": 0.5 + 0.2 * number},
        )
        for number, point in enumerate(points(config))
    ]
    fill(tmp_path, config, name="made", records=records)
    for number, write in enumerate((write_images, write_images, write_texts)):
        write(folder / "trials" / f"{number:04d}")
    return read_sweep(folder)


def test_fractions_add_up(table: ItemTable) -> None:
    for split in SPLITS:
        edges, heights = histograms(table, split)
        assert (np.diff(edges) > 0).all()
        for values in heights.values():
            assert values.sum() == pytest.approx(1)
    assert class_accuracies(table, "forget") == {"O": {0: 1.0}, "M": {0: 0.5}, "R": {0: 0.0}}
    matrix = prediction_matrix(table, "M", "forget")
    assert matrix is not None
    assert (matrix.rows, matrix.columns) == ([0], [0, 2])
    assert matrix.fractions.tolist() == [[0.5, 0.5]]


def test_items_come_in_order_with_all_models(table: ItemTable) -> None:
    first, *others = shown_items(table)
    assert len(others) == COUNTS["forget"] - 3
    assert first["index"] == 2
    assert [first["models"][model]["prediction"] for model in "OMR"] == [0, 2, 2]


def test_equal_or_missing_losses_have_a_histogram_or_none() -> None:
    block = {"model": "M", "split": "test", "index": [0, 1], "loss": [1e-9, 1e-9]}
    equal = load_items(dump_items([block, {**block, "split": "forget"}], (), {}))
    edges, heights = histograms(equal, "test")
    assert heights["M"].sum() == 1
    assert edges[0] <= 1e-6 <= edges[-1]
    missing = load_items(dump_items([{**block, "split": "forget", "loss": [np.nan, np.inf]}], (), {}))
    assert loss_chart(missing, "forget") is None
    assert class_chart(missing) is None
    assert matrices(missing) == []


def test_many_classes_are_thinned_out() -> None:
    count = 100
    labels = np.arange(count)
    blocks = [
        {
            "model": model,
            "split": split,
            "index": labels,
            "loss": labels,
            "label": labels,
            "prediction": labels,
        }
        | {"correct": np.ones(count) if model == "O" else (labels > 5).astype(float)}
        for model in "OM"
        for split in ("forget", "test")
    ]
    many = load_items(dump_items(blocks, (), {}))
    chart = class_chart(many)
    assert chart is not None
    assert len(chart["data"][0]["x"]) == MOST_CLASSES + 1
    assert "test: 3" in chart["data"][0]["y"]
    assert matrices(many) == []


def test_layers_are_in_their_order() -> None:
    rows = [
        {"layer": layer, "pair": "MO", "split": "forget", "cka": value}
        for layer, value in (("b", 1), ("a", 0.5))
    ]
    rows += [{**rows[0], "split": "test"}, {**rows[0], "layer": "c", "cka": None}]
    assert similarity_by_layer(rows, "forget") == {"MO": {"b": 1, "a": 0.5}}


@pytest.mark.parametrize("count", [0, 1, 2, MOST_POINTS, 50])
@pytest.mark.parametrize("place", [0, 1, 7, 20, 49])
def test_ends_and_knee_are_among_the_chosen(count: int, place: int) -> None:
    front: list[Any] = [SimpleNamespace(number=number) for number in range(count)]
    knee = front[place] if place < count else None
    found = [one.number for one in chosen(front, knee)]
    assert found == sorted(set(found))
    assert len(found) == min(count, MOST_POINTS)
    if count:
        assert {found[0], found[-1]} == {0, count - 1}
    assert knee is None or knee.number in found


def test_the_page_shows_the_examples_of_every_point(sweep: SweepResult) -> None:
    (problem,) = problems_of([sweep])
    assert len(points_with_items(problem)) == 3
    page = render([sweep], "made")
    assert page.count('class="front-point"') == 3
    assert page.count('<div class="front-point" data-said=') - page.count(" hidden>") == 1
    assert page.count("data:image/png;base64,") >= 2 * 24
    assert "&lt;zero&gt;" in page
    assert "<zero>" not in page
    assert "M says &lt;3&gt;" in page
    assert "Random samples: 40 of 4000 retain examples." in page


def test_damaged_files_are_left_out(sweep: SweepResult, caplog: pytest.LogCaptureFixture) -> None:
    place = Path(sweep.source.address).expanduser() / "trials" / "0001" / ITEMS_FILE
    place.write_bytes(b"PAR1")
    (problem,) = problems_of([sweep])
    assert [point.group.record.trial_id for point in points_with_items(problem)] == ["0002", "0000"]
    assert "the examples of trial 0001 are left out" in caplog.text
