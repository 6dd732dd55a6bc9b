"""The files of single examples: what is written is read, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest

from hamu_ray.results.items import (
    ITEMS_FILE,
    LAYERS_FILE,
    MODELS,
    dump_items,
    dump_layers,
    load_items,
    load_layers,
)
from tests.made_items import COUNTS, NAMES, write_images


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_images(tmp_path)
    table = load_items((tmp_path / ITEMS_FILE).read_bytes())
    assert (table.models, tuple(table.class_names)) == (MODELS, NAMES)
    assert table.sizes == {**COUNTS, "retain": 4000}
    assert table.of("M", "forget", "index") == list(range(COUNTS["forget"]))
    assert table.of("M", "forget", "rank")[:3] == [None, None, 0]
    assert table.of("M", "forget", "image")[2].startswith(b"\x89PNG")
    assert table.of("O", "test", "answer") == [None] * COUNTS["test"]
    assert np.isnan(table.numbers("O", "test", "rouge")).all()
    assert set(table.numbers("R", "forget", "correct")) == {0.0}
    assert {row["pair"] for row in load_layers((tmp_path / LAYERS_FILE).read_bytes())} == {"MO", "MR", "RO"}


def test_nothing_is_also_a_table() -> None:
    table = load_items(dump_items([], (), {}))
    assert (table.models, table.of("M", "test", "loss")) == ((), [])


def test_undefined_numbers_are_null() -> None:
    (row,) = load_layers(dump_layers([{"layer": ["a"], "pair": "MO", "split": "test", "cka": [np.nan]}]))
    assert row["cka"] is None


@pytest.mark.parametrize("content", [b"", b"PAR1 not so", dump_layers([])])
def test_what_is_no_table_is_named(content: bytes) -> None:
    with pytest.raises(ValueError, match="Parquet file"):
        load_items(content)
