"""Values of single examples of a run's model M, its original O and its reference R: two Parquet files beside the run.

`ITEMS_FILE` has a row for each model and example; `LAYERS_FILE` a row for each layer. Their size is bounded by the
numbers of examples below, whatever the size of the data.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np

ITEMS_FILE = "items.parquet"
LAYERS_FILE = "layers.parquet"

MODELS = ("O", "M", "R")
SPLITS = ("forget", "retain", "test")

MOST_ITEMS: Mapping[str, int] = {"forget": 10_000, "retain": 1_000, "test": 1_000}
"""Maximum number of examples of each split; of larger ones a random sample, the same for all models."""
DRAWN = 150
"""Maximum number of examples of each split whose activations are compared and drawn."""
SHOWN = 36
"""Maximum number of examples to forget that are kept with their content."""

COLUMNS: Mapping[str, str] = {
    "model": "string",
    "split": "string",
    "index": "int64",
    "label": "int64",
    "loss": "float64",
    "prediction": "int64",
    "confidence": "float32",
    "probability": "float32",
    "correct": "float32",
    "x": "float32",
    "y": "float32",
    "rank": "int64",
    "image": "binary",
    "question": "string",
    "truth": "string",
    "answer": "string",
    "rouge": "float32",
}
"""Arrow types of the columns. ``index`` is that within the split; ``confidence`` the probability of the predicted
class, ``probability`` that of the true class or answer; ``correct`` 1, 0, or a fraction of tokens; ``x`` and ``y`` the
first two principal components of the activations before the output layer; ``rank`` the place among the examples to
forget that are shown, 0 for the one that is farthest from the reference.
"""

LAYER_COLUMNS: Mapping[str, str] = {"layer": "string", "pair": "string", "split": "string", "cka": "float64"}
"""Arrow types of the columns of `LAYERS_FILE`; ``pair`` is two of `MODELS`, such as ``MR``."""

Block = Mapping[str, Any]
"""Values of some rows by column: a sequence, or one value for all rows."""


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The content of `ITEMS_FILE`: columns of equal length, None or NaN where a value does not exist."""

    columns: Mapping[str, list[Any]]
    class_names: Sequence[str]
    sizes: Mapping[str, int]
    """Number of examples of each split, of which the table may have a sample."""

    @cached_property
    def _rows(self) -> dict[tuple[str, str], np.ndarray]:
        keys = np.array(
            ["/".join(key) for key in zip(self.columns["model"], self.columns["split"], strict=True)]
        )
        return {
            (model, split): np.flatnonzero(keys == f"{model}/{split}") for model in MODELS for split in SPLITS
        }

    def of(self, model: str, split: str, column: str) -> list[Any]:
        """Return a column of a model's rows of a split, in order of the examples; empty if there are none."""
        values = self.columns[column]
        return [values[row] for row in self._rows[model, split]]

    def numbers(self, model: str, split: str, column: str) -> np.ndarray:
        """Return a column as float64, NaN where a value does not exist."""
        values = self.of(model, split, column)
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the table has."""
        return tuple(model for model in MODELS if len(self._rows[model, "forget"]))


def dump_items(blocks: Sequence[Block], class_names: Sequence[str], sizes: Mapping[str, int]) -> bytes:
    """Return blocks of rows as Parquet; columns that a block does not have are null."""
    about = {"class_names": list(class_names), "sizes": dict(sizes)}
    return _parquet(blocks, COLUMNS, {"hamu_ray": json.dumps(about)})


def load_items(content: bytes) -> ItemTable:
    """Return the table in a Parquet file; raises `ValueError` if it is not one."""
    table = _table(content, COLUMNS)
    about = json.loads((table.schema.metadata or {}).get(b"hamu_ray", b"{}"))
    columns = {name: table.column(name).to_pylist() for name in COLUMNS}
    return ItemTable(columns, about.get("class_names", []), about.get("sizes", {}))


def dump_layers(blocks: Sequence[Block]) -> bytes:
    """Return the similarities of layers as Parquet."""
    return _parquet(blocks, LAYER_COLUMNS, {})


def load_layers(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of `LAYERS_FILE`; raises `ValueError` if it is not one."""
    return _table(content, LAYER_COLUMNS).to_pylist()


def _parquet(blocks: Sequence[Block], columns: Mapping[str, str], metadata: Mapping[str, str]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        [pa.field(name, pa.type_for_alias(kind)) for name, kind in columns.items()], metadata=dict(metadata)
    )
    tables = []
    for block in blocks:
        count = max((len(v) for v in block.values() if not isinstance(v, str)), default=0)
        filled = {
            name: [value] * count
            if isinstance(value := block.get(name), str) or value is None
            else list(value)
            for name in columns
        }
        arrays = [pa.array(filled[name], schema.field(name).type, from_pandas=True) for name in columns]
        tables.append(pa.Table.from_arrays(arrays, schema=schema))
    file = BytesIO()
    whole = pa.concat_tables(tables) if tables else schema.empty_table()
    parquet.write_table(whole, file, compression="zstd")
    return file.getvalue()


def _table(content: bytes, columns: Mapping[str, str]) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(BytesIO(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"not a Parquet file: {' '.join(str(error).split())}") from error
    missing = set(columns) - set(table.column_names)
    if missing:
        raise ValueError(f"a Parquet file without the columns {', '.join(sorted(missing))}")
    return table
