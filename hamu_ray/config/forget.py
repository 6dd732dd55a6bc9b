"""Forget sets that any task can have: drawn at random, or requested by index, column value, identifier or file."""

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from hamu_ray.config.schema import Section

Value = str | int | float | bool
Values = Annotated[tuple[Value, ...], Field(strict=False, min_length=1)]
FileNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class ForgetSection(Section):
    """What all forget sets have in common."""

    allow_overlap: bool = False
    """Run although content of the forget set also stands in the retain or test set."""


class DrawnForgetSection(ForgetSection):
    """A forget set that no one requested by name: content that it shares with other sets is no mistake."""

    allow_overlap: bool = True


class ForgetRandom(DrawnForgetSection):
    """A random share of the training set is forgotten."""

    kind: Literal["random"] = "random"
    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training examples."""


class ForgetIndices(ForgetSection):
    """The training examples whose indices a file lists are forgotten."""

    kind: Literal["indices"] = "indices"
    path: str
    """Text file with an index (from 0) on each line, of the rows of the training split as it is stored: before
    limits, and before any example is held out for test."""


class Condition(Section):
    """What a row's value in a column must be: exactly one of `equals`, `in` and `matches`."""

    model_config = ConfigDict(serialize_by_alias=True)

    column: str
    equals: Value | None = None
    one_of: Values | None = Field(default=None, alias="in")
    """One of these values; `in` in a file."""
    matches: str | None = None
    """Regular expression that is found in the value, as `re.search` finds it: `^ACME$` matches it whole."""

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
    """The training examples whose columns hold certain values are forgotten."""

    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["where"] = "where"
    column: str | None = None
    """Column that decides, with one of `equals`, `in` and `matches`; null where `conditions` decide alone."""
    equals: Value | None = None
    one_of: Values | None = Field(default=None, alias="in")
    """One of these values; `in` in a file."""
    matches: str | None = None
    """Regular expression that is found in the value, as `re.search` finds it: `^ACME$` matches it whole."""
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
            raise ValueError(
                "give a column with exactly one of equals, in, matches, or conditions that have them"
            )
        if not self.every:
            raise ValueError("column: missing; name the column that decides, or give conditions")
        return self

    @property
    def every(self) -> tuple[Condition, ...]:
        """All conditions."""
        if self.column is None:
            return self.conditions
        values = {"equals": self.equals, "in": self.one_of, "matches": self.matches}
        return (Condition(column=self.column, **values), *self.conditions)  # type: ignore[arg-type]


class ForgetIds(ForgetSection):
    """The training examples with certain identifiers are forgotten."""

    kind: Literal["ids"] = "ids"
    column: str = "id"
    """Column of the identifiers; several rows may have the same."""
    path: str
    """Text file with an identifier on each line."""


class ForgetFiles(ForgetSection):
    """The training images with certain file names are forgotten."""

    kind: Literal["files"] = "files"
    names: FileNames
    """File names, with as many parent folders as make them unique: `0001.png`, `train/cat/0001.png`."""


AnyNamed = ForgetIndices | ForgetWhere | ForgetIds | ForgetFiles
"""Forget sets that name rows of the training split."""


def _checked_pattern(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(
            f"{pattern!r} is not a regular expression: {error}; put \\ before . ( [ * +"
        ) from error
    return pattern
