"""Forget sets for every task: drawn at random, or selected by index, column value, identifier or file."""

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from hamu_ray.config.schema import Section

Value = str | int | float | bool
Values = Annotated[tuple[Value, ...], Field(strict=False, min_length=1)]
FileNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class ForgetSection(Section):
    """Keys common to all forget sets."""

    allow_overlap: bool = False
    """Run even if content of the forget set also occurs in the retain or test set."""


class DrawnForgetSection(ForgetSection):
    """A forget set that is drawn rather than requested: overlap with other sets is not an error."""

    allow_overlap: bool = True


class ForgetRandom(DrawnForgetSection):
    """A random fraction of the training set."""

    kind: Literal["random"] = "random"
    share: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the training examples."""


class ForgetIndices(ForgetSection):
    """The training examples whose indices are listed in a file."""

    kind: Literal["indices"] = "indices"
    path: str
    """Text file with one index (from 0) per line. Indices refer to the stored training split, before limits and before
    test examples are held out.
    """


class Condition(Section):
    """A condition on a row's value in a column: exactly one of `equals`, `in` and `matches`."""

    model_config = ConfigDict(serialize_by_alias=True)

    column: str
    equals: Value | None = None
    one_of: Values | None = Field(default=None, alias="in")
    """One of these values; `in` in a file."""
    matches: str | None = None
    """Regular expression, as in `re.search`; use `^ACME$` to match the whole value."""

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return _checked_pattern(pattern)

    @model_validator(mode="after")
    def _one_test(self) -> "Condition":
        if sum(test is not None for test in (self.equals, self.one_of, self.matches)) != 1:
            raise ValueError("give exactly one of equals, in, matches")
        return self


class ForgetWhere(ForgetSection):
    """The training examples with certain column values."""

    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["where"] = "where"
    column: str | None = None
    """Column of the condition, together with one of `equals`, `in` and `matches`; null if only `conditions` are given.
    """
    equals: Value | None = None
    one_of: Values | None = Field(default=None, alias="in")
    """One of these values; `in` in a file."""
    matches: str | None = None
    """Regular expression, as in `re.search`; use `^ACME$` to match the whole value."""
    conditions: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    """Further conditions, each a column with one of `equals`, `in` and `matches`; all must hold."""

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return _checked_pattern(pattern)

    @model_validator(mode="after")
    def _some_condition(self) -> "ForgetWhere":
        tests = sum(test is not None for test in (self.equals, self.one_of, self.matches))
        if tests != (self.column is not None):
            raise ValueError("give a column with exactly one of equals, in, matches, or give conditions")
        if not self.every:
            raise ValueError("column: missing; add the column of the condition, or give conditions")
        return self

    @property
    def every(self) -> tuple[Condition, ...]:
        """All conditions."""
        if self.column is None:
            return self.conditions
        values = {"equals": self.equals, "in": self.one_of, "matches": self.matches}
        return (Condition(column=self.column, **values), *self.conditions)  # type: ignore[arg-type]


class ForgetIds(ForgetSection):
    """The training examples with certain identifiers."""

    kind: Literal["ids"] = "ids"
    column: str = "id"
    """Column of the identifiers, which need not be unique."""
    path: str
    """Text file with one identifier per line."""


class ForgetFiles(ForgetSection):
    """The training images with certain file names."""

    kind: Literal["files"] = "files"
    names: FileNames
    """File names, with as many parent folders as needed to be unique: `0001.png`, `train/cat/0001.png`."""


AnyNamed = ForgetIndices | ForgetWhere | ForgetIds | ForgetFiles
"""Forget sets that select rows of the training split."""


def _checked_pattern(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(
            f"{pattern!r} is not a regular expression: {error}; put \\ before . ( [ * +"
        ) from error
    return pattern
