"""Single examples beside a run: the numbers of its evaluation, example by example, for all three models."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheap_runs import cheap_run, done

from hamu_ray.engine.items import farthest_first, sampled, thinned, write_items
from hamu_ray.engine.resident import Resident
from hamu_ray.metrics.measured import Measured
from hamu_ray.results.items import (
    DRAWN,
    ITEMS_FILE,
    LAYERS_FILE,
    MOST_ITEMS,
    SHOWN,
    ItemTable,
    load_items,
    load_layers,
)
from tests.made_texts import LORA, text_run


def table_of(folder: Path) -> ItemTable:
    return load_items((folder / ITEMS_FILE).read_bytes())


def test_the_items_of_images_add_up_to_the_metrics(resident: Resident, bases: Any, folder: Path) -> None:
    """Means over all rows of a split that is kept whole are the run's metrics; those of O and R theirs."""
    run = cheap_run()
    ended = done(run, resident, folder)
    write_items(run, resident, folder)
    table = table_of(folder)
    assert table.models == ("O", "M", "R")
    original, reference = bases
    for model, measures in (
        ("M", ended.outcome.measures),
        ("O", original.measures),
        ("R", reference.measures),
    ):
        for split in ("forget", "test"):
            assert table.numbers(model, split, "correct").mean() == pytest.approx(
                measures[f"{split}_accuracy"]
            )
            assert table.numbers(model, split, "loss").mean() == pytest.approx(
                measures[f"{split}_loss"], rel=1e-4
            )
    assert isinstance(reference.measures, Measured)
    np.testing.assert_allclose(
        table.numbers("R", "forget", "loss"), reference.measures.per_item["forget_losses"], rtol=1e-5
    )
    assert len(table.of("M", "retain", "loss")) == MOST_ITEMS["retain"] < table.sizes["retain"]
    ranks = table.of("M", "forget", "rank")
    distances = np.abs(table.numbers("M", "forget", "loss") - table.numbers("R", "forget", "loss"))
    order = sorted((at for at, rank in enumerate(ranks) if rank is not None), key=lambda at: ranks[at])
    assert len(order) == SHOWN
    assert order == np.argsort(-distances, kind="stable")[:SHOWN].tolist()
    images = table.of("M", "forget", "image")
    assert all((image is not None) == (rank is not None) for image, rank in zip(images, ranks, strict=True))
    drawn = np.isfinite(table.numbers("O", "forget", "x"))
    assert drawn.sum() == min(DRAWN, table.sizes["forget"])
    layers = load_layers((folder / LAYERS_FILE).read_bytes())
    assert {row["pair"] for row in layers} == {"MO", "MR", "RO"}
    assert all(0 <= row["cka"] <= 1 + 1e-9 for row in layers)
    assert (folder / ITEMS_FILE).stat().st_size < 300_000


def test_a_run_without_steps_is_its_original(resident: Resident, folder: Path) -> None:
    run = cheap_run(
        duration={"steps": 0}, reference={"source": "none"}, forget={"kind": "random", "share": 0.1}
    )
    done(run, resident, folder)
    write_items(run, resident, folder)
    table = table_of(folder)
    assert table.models == ("O", "M")
    for column in ("loss", "prediction", "confidence", "x"):
        assert table.of("O", "forget", column) == table.of("M", "forget", column)
    ranks, losses = table.numbers("M", "forget", "rank"), table.numbers("M", "forget", "loss")
    assert losses[ranks == 0] == losses.min(), "without a reference, what is best known is first"
    layers = load_layers((folder / LAYERS_FILE).read_bytes())
    assert {row["pair"] for row in layers} == {"MO"}
    assert all(row["cka"] == pytest.approx(1) for row in layers)


@pytest.mark.parametrize("parameters", ["all", "lora"])
def test_the_items_of_texts_add_up_to_the_metrics(
    parameters: str, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    resident = Resident(tmp_path / "storage", torch.device("cpu"))
    sections: dict[str, Any] = {}
    if parameters == "lora":
        sections = {"model": {"name": str(text_checkpoint), "lora": LORA}, "training": {"parameters": "lora"}}
    run = text_run(text_corpus, **sections)
    ended = done(run, resident, tmp_path / "run")
    write_items(run, resident, tmp_path / "run")
    table = table_of(tmp_path / "run")
    assert table.models == ("O", "M", "R")
    measures = ended.outcome.measures
    for split in ("forget", "retain", "test"):
        assert table.numbers("M", split, "probability").mean() == pytest.approx(
            measures[f"{split}_prob"], rel=1e-4
        )
    for model in table.models:
        answers = [answer for answer in table.of(model, "forget", "answer") if answer is not None]
        assert len(answers) == min(SHOWN, table.sizes["forget"])
    rouge = table.numbers("M", "forget", "rouge")
    assert np.nanmean(rouge) == pytest.approx(measures["forget_rouge"])
    assert table.of("M", "forget", "truth")[0].startswith("Bo 0 lived")
    assert np.isfinite(table.numbers("M", "test", "x")).all()
    layers = load_layers((tmp_path / "run" / LAYERS_FILE).read_bytes())
    assert any(row["layer"] == "penultimate" for row in layers)
    assert all(row["cka"] is not None and not math.isnan(row["cka"]) for row in layers)


def test_samples_are_bounded_sorted_and_the_same_each_time() -> None:
    sizes = {"forget": 20_000, "retain": 50_000, "test": 10}
    one, again = sampled(sizes, 3), sampled(sizes, 3)
    for split, places in one.items():
        assert len(places) == min(MOST_ITEMS[split], sizes[split])
        assert (np.diff(places) > 0).all()
        assert (places == again[split]).all()
    assert (sampled(sizes, 4)["forget"] != one["forget"]).any()
    assert len(thinned(one["forget"])) == DRAWN


def test_losses_that_are_not_finite_are_last() -> None:
    rows: Any = {
        ("M", "forget"): {"loss": np.array([1.0, np.nan, 5.0, np.inf])},
        ("R", "forget"): {"loss": np.array([1.5, 1.0, 1.0, 1.0])},
    }
    assert farthest_first(rows).tolist() == [2, 0, 1, 3]
