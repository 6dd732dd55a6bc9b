"""Columns of texts that stay where `datasets` keeps them: in Arrow files that all processes map into memory."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 1000
"""Number of texts that are in memory at once."""


@dataclass(frozen=True, eq=False)
class Texts(Sequence[str]):
    """Texts in Arrow arrays. Slices and sums share the arrays; a text is in memory only while it is used."""

    arrays: tuple[Any, ...] = ()
    """Arrow arrays of any string type, none of them empty."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Copy texts into memory."""
        import pyarrow as pa

        array = pa.array(list(texts), pa.large_string())
        return cls((array,) if len(array) else ())

    @classmethod
    def repeated(cls, text: str, count: int) -> "Texts":
        """Return the same text ``count`` times."""
        import pyarrow as pa

        once = pa.array([text] * min(count, AT_ONCE))
        whole, rest = divmod(count, AT_ONCE)
        return cls((once,) * whole + ((once.slice(0, rest),) if rest else ()))

    @classmethod
    def of_column(cls, dataset: "Dataset", column: str) -> "Texts":
        """Return a column of a data set, which stays mapped if the data set is."""
        whole = dataset if dataset._indices is None else dataset.flatten_indices()
        return cls(tuple(array for array in whole.data.column(column).chunks if len(array)))

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self.arrays)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the texts and their lengths, independent of how they are stored."""
        content = hashlib.sha256()
        for text in self:
            encoded = text.encode()
            content.update(len(encoded).to_bytes(8, "little"))
            content.update(encoded)
        return content.hexdigest()

    def __len__(self) -> int:
        """Return the number of texts."""
        return self._ends[-1] if self.arrays else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Texts": ...
    def __getitem__(self, index: int | slice) -> "str | Texts":
        """Return a text, or a run of texts without copying them; slices have a step of 1."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"texts: a step of {step}; only runs of texts can be sliced")
            return self._between(start, stop)
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, place)
        return self.arrays[part][place - self._ends[part]].as_py()

    def __iter__(self) -> Iterator[str]:
        """Yield all texts."""
        for array in self.arrays:
            for start in range(0, len(array), AT_ONCE):
                yield from array.slice(start, AT_ONCE).to_pylist()

    def __add__(self, other: "Texts") -> "Texts":
        return Texts(self.arrays + other.arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Texts):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(self.digest)

    def _between(self, start: int, stop: int) -> "Texts":
        parts = []
        for array, end in zip(self.arrays, self._ends, strict=True):
            first = end - len(array)
            low, high = max(start, first), min(stop, end)
            if low < high:
                parts.append(array.slice(low - first, high - low))
        return Texts(tuple(parts))


NO_TEXTS = Texts()


@dataclass(frozen=True, eq=False)
class ChosenTexts(Sequence[str]):
    """Some of the texts, by their indices, int64 ``(k,)``."""

    texts: Texts
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of chosen texts."""
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "ChosenTexts": ...
    def __getitem__(self, index: int | slice) -> "str | ChosenTexts":
        """Return a text, or some of the chosen texts without copying them."""
        if isinstance(index, slice):
            return ChosenTexts(self.texts, self.indices[index])
        return self.texts[int(self.indices[index])]
