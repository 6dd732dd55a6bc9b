"""Rows of text data sets: loading the columns of a split, with one-line errors. Needs no torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.task.corpora import CorpusSection
from hamu_ray.config.task.language import TextSection, TofuData
from hamu_ray.tasks.language.documents.texts import NO_TEXTS, Texts
from hamu_ray.tasks.models.hub import hub_or_cache, is_local, one_line, prepared_in

if TYPE_CHECKING:
    from datasets import Dataset


Alternates = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Rows:
    """Questions with their answers. The question is empty for texts without questions."""

    questions: Texts = NO_TEXTS
    answers: Texts = NO_TEXTS
    alternates: Alternates = ()
    """Other answers to each question; empty if the data have none."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.answers)

    def __add__(self, other: "Rows") -> "Rows":
        alternates: Alternates = ()
        if self.alternates or other.alternates:
            # Only some splits may have the column.
            each = [rows.alternates or ((),) * len(rows) for rows in (self, other)]
            alternates = each[0] + each[1]
        return Rows(self.questions + other.questions, self.answers + other.answers, alternates)

    def first(self, limit: int | None) -> "Rows":
        """Return the first rows, or all without a limit."""
        return Rows(self.questions[:limit], self.answers[:limit], self.alternates[:limit])


@dataclass(frozen=True)
class Choices:
    """Questions with a right answer and several wrong ones, as in TOFU's evaluation sets."""

    rows: Rows
    """The questions and their answers."""
    right: tuple[str, ...]
    """The right answers that wrong ones are compared with: paraphrased if available."""
    wrong: tuple[tuple[str, ...], ...]
    """The wrong answers to each question."""
    asked: tuple[str, ...] = ()
    """The questions in other words; empty if the set has none."""

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.rows)


PERTURBED = "perturbed_answer"
"""TOFU's column of wrong answers: a list in each row."""
PARAPHRASED = "paraphrased_answer"
"""TOFU's column of paraphrased right answers; the sets about the real world have none."""
ASKED = "paraphrased_question"
"""The column of paraphrased questions of the original data set's evaluation sets."""


def load_rows(config: TextSection, subset: str | None, split: str, key: str) -> Rows:
    """Return the rows of a split; ``key`` is the configuration key that names it.

    Raises `ValueError` with one line that names the key and the remedy: if the split cannot be loaded, a column does
    not exist, or an answer is empty.
    """
    return rows_of(config, load_split(config, subset, split, key), split)


def load_split(config: TextSection, subset: str | None, split: str, key: str) -> "Dataset":
    """Load one split, and check that it has rows."""
    at = key if key.endswith("path") else "path"
    check_path(config, at)
    blame = {"Unknown split": key, "BuilderConfig": "subset", "Config name is missing": "subset"}
    if isinstance(config, TofuData):
        blame |= {"BuilderConfig": "layout"}
    if isinstance(config, CorpusSection):
        blame |= {"BuilderConfig": key}
    try:
        with reached(config) as path:
            dataset = named_split(path, subset, split)
    except Exception as error:  # builders, Arrow and the hub's client raise many unrelated types
        text = one_line(error)
        blamed = next((key for start, key in blame.items() if text.startswith(start)), at)
        blamed = blamed if "." in blamed else f"data.{blamed}"
        named = ", ".join(filter(None, (subset, split)))
        raise ValueError(f"{blamed}: {config.path} ({named}) cannot be loaded: {text}") from error
    if len(dataset) == 0:
        raise ValueError(f"data.path: {config.path} ({split}) has no rows")
    return dataset


def named_split(path: str, subset: str | None, split: str) -> "Dataset":
    """Load a split as `datasets` does, which knows only train, validation and test by the names of a folder's files.

    For other splits that the folder does not declare, the files of the split's name are loaded: `forget.json`.
    """
    # Imported here: configurations of other tasks do not need it.
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    try:
        return load_dataset(path, subset, split=split, cache_dir=prepared_in(path))
    except ValueError:
        if not Path(path).is_dir() or not any(Path(path).glob(f"{split}.*")):
            raise
    files = {split: f"{split}.*"}
    return load_dataset(path, subset, split=split, data_files=files, cache_dir=prepared_in(path))


@contextmanager
def reached(config: TextSection) -> Iterator[str]:
    """Yield the path or hub name for `datasets`; within this context, an unreachable hub is not waited for."""
    path = str(Path(config.path).expanduser()) if is_local(config.path) else config.path
    with hub_or_cache(path):
        yield path


def check_path(config: TextSection, key: str = "path") -> None:
    """Check that a folder exists, if the path is one rather than a hub name; raises `ValueError`."""
    if is_local(config.path) and not Path(config.path).expanduser().exists():
        raise ValueError(f"data.{key}: {config.path}: no such folder")


def rows_of(config: TextSection, dataset: "Dataset", split: str) -> Rows:
    """Return the two columns of a data set's rows, validated."""
    answers = _texts(config, dataset, "answer_column", split)
    alternates = _alternates(config, dataset, split)
    if config.question_column is None:
        return Rows(Texts.repeated("", len(answers)), answers, alternates)
    return Rows(_texts(config, dataset, "question_column", split), answers, alternates)


def choices_of(config: TextSection, dataset: "Dataset", split: str) -> Choices:
    """Return an evaluation set of TOFU, validated."""
    rows = rows_of(config, dataset, split)
    columns = dataset.column_names
    if PERTURBED not in columns:
        raise ValueError(
            f"data.path: {config.path} ({split}) has no column {PERTURBED}; it has {', '.join(columns)}"
        )
    wrong = tuple(tuple(answers) for answers in dataset[PERTURBED])
    if not all(wrong):
        raise ValueError(f"data.path: row {wrong.index(())} of {config.path} ({split}) has no wrong answers")
    right = tuple(dataset[PARAPHRASED]) if PARAPHRASED in columns else tuple(rows.answers)
    return Choices(rows, right, wrong, tuple(dataset[ASKED]) if ASKED in columns else ())


def _alternates(config: TextSection, dataset: "Dataset", split: str) -> Alternates:
    """Return the alternative answers of a data set's rows, some of which may have none; empty without the column."""
    column = config.alternate_column
    if column is None or column not in dataset.column_names:
        return ()
    found = []
    for row, given in enumerate(dataset[column]):
        texts = (given,) if isinstance(given, str) else tuple(given or ())
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(
                f"data.alternate_column: {column} of {config.path} ({split}) must contain a text or a list of texts, "
                f"found {given!r:.40} in row {row}"
            )
        found.append(texts)
    return tuple(found)


def _texts(config: TextSection, dataset: "Dataset", key: str, split: str) -> Texts:
    column, columns = getattr(config, key), dataset.column_names
    where = f"{config.path} ({split})"
    if column not in columns:
        raise ValueError(f"data.{key}: {where} has no column {column}; {nearest(column, columns)}")
    texts = Texts.of_column(dataset, column)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"data.{key}: {column} of {where} must contain texts, found {text!r:.40} in row {row}"
            )
        if not text.strip():
            raise ValueError(f"data.{key}: row {row} of {where} is empty; every row needs a text in {column}")
    return texts
