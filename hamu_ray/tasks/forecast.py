"""A summary of what will be forgotten, shown before a run starts. Needs no torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hamu_ray.config.task.forget import DrawnForgetSection, ForgetSection

SHOWN = 5
"""Maximum number of examples, and of overlaps, that are shown."""

WIDTH = 100
"""Maximum length of an example's line, in characters."""


@dataclass(frozen=True)
class Longest:
    """The largest numbers of tokens in one window of a text: in all, before the answer, and of the answer."""

    text: int
    prompt: int
    answer: int

    def __or__(self, other: "Longest") -> "Longest":
        """Return the larger of each."""
        return Longest(
            max(self.text, other.text), max(self.prompt, other.prompt), max(self.answer, other.answer)
        )


@dataclass(frozen=True)
class Side:
    """The size of a split: examples, and for texts the answer tokens used and dropped."""

    examples: int
    tokens: int | None = None
    dropped_tokens: int = 0
    longest: Longest | None = None


@dataclass(frozen=True)
class Forecast:
    """The forget set of a run, and the retain and test sets."""

    unit: Literal["texts", "images", "examples"]
    splits: Mapping[str, Side]
    """By name: ``forget``, ``retain``, ``test`` and, if present, ``validation`` and ``duplicate``."""
    first: Sequence[str]
    """A line for each of the first examples of the forget set."""
    digest: str
    """SHA-256 of the forget set's content, in the order of its rows."""
    overlaps: Sequence[str] = ()
    """A line for each retain or test example with content of the forget set, if overlap is allowed."""

    def brief(self) -> Iterator[str]:
        """Yield sizes and hash in one line, and lines for what is truncated and for overlaps."""
        sizes = ", ".join(f"{name} {side.examples:,}" for name, side in self.splits.items())
        yield f"{sizes} {self.unit}; sha256 {self.digest[:12]} of the first"
        if dropped := sum(side.dropped_tokens for side in self.splits.values()):
            yield f"{dropped:,} answer tokens are truncated by data.max_length; set data.windows to use them"
        if self.overlaps:
            yield f"{len(self.overlaps)} examples overlap with the forget set, such as: {self.overlaps[0]}"

    def lines(self) -> Iterator[str]:
        """Yield the forecast as lines of text."""
        for name, side in self.splits.items():
            tokens = "" if side.tokens is None else f", {side.tokens} answer tokens"
            dropped = (
                f"; {side.dropped_tokens} more are truncated by data.max_length; set data.windows to use them"
                if side.dropped_tokens
                else ""
            )
            yield f"{name:<10} {side.examples} {self.unit}{tokens}{dropped}"
        yield f"hash       sha256 {self.digest} of the forget set"
        for line in self.first:
            yield f"  {line}"
        more = self.splits["forget"].examples - len(self.first)
        if more > 0:
            yield f"  and {more} more"
        for line in self.overlaps[:SHOWN]:
            yield f"overlap    {line}"
        if len(self.overlaps) > SHOWN:
            yield f"overlap    and {len(self.overlaps) - SHOWN} more"


def allowed(forget: ForgetSection) -> bool:
    """Whether a request allows overlaps, which are then listed. Otherwise they are an error; drawn sets may overlap."""
    return forget.allow_overlap and not isinstance(forget, DrawnForgetSection)


def check_overlap(overlaps: Sequence[str], unit: str) -> None:
    """Raise `ValueError`, one line, if there are overlaps."""
    if overlaps:
        more = f"; and {len(overlaps) - SHOWN} more" if len(overlaps) > SHOWN else ""
        raise ValueError(
            f"forget: {len(overlaps)} {unit} of the retain or test set contain content of the forget set: "
            f"{'; '.join(overlaps[:SHOWN])}{more}: add them to the forget set, remove them, or set "
            "forget.allow_overlap to true"
        )


def shortened(text: str) -> str:
    """Return a text as one line of at most `WIDTH` characters."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
