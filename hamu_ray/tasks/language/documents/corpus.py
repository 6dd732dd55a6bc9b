"""The texts of a run: training and test examples, duplicates, evaluation sets. Needs no torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hamu_ray.config.task.corpora import CorpusSection
from hamu_ray.config.task.forget import ForgetIds, ForgetIndices, ForgetRandom, ForgetWhere
from hamu_ray.config.task.language import ForgetSplit, TextData, TextSection, TofuData
from hamu_ray.tasks.forget import drawn
from hamu_ray.tasks.language.documents.paraphrases import Paraphrases, of_choices, of_columns
from hamu_ray.tasks.language.documents.published import Probe, published
from hamu_ray.tasks.language.documents.rows import (
    Choices,
    Rows,
    choices_of,
    load_rows,
    load_split,
    reached,
    rows_of,
)
from hamu_ray.tasks.language.documents.texts import Texts
from hamu_ray.tasks.request import Indices, Source, requested

if TYPE_CHECKING:
    from datasets import Dataset

TEST_SPLIT_SEED = 0
"""The test examples are the same for every seed of a run, so that runs can be compared."""

NOTHING = Rows()

ForgetText = ForgetSplit | ForgetRandom | ForgetIndices | ForgetWhere | ForgetIds


@dataclass(frozen=True, eq=False)
class Corpus:
    """The texts of a run's data. `split_corpus` splits them according to the forget set."""

    kept: Rows
    """The training rows given by the user, after limits."""
    source: Source
    """The same rows with all of their columns, in which a request selects rows."""
    test_share: float
    """Fraction of the retain rows held out for test if ``test`` is empty."""
    duplicates: Rows = NOTHING
    """Copies of forget examples that are added to the retain set."""
    forget: Rows = NOTHING
    """The forget split; empty if the forget set is part of ``kept``."""
    test: Rows = NOTHING
    """The split of the test examples; empty if they are held out."""
    choices: Mapping[str, Choices] = field(default_factory=dict)
    """Evaluation sets by name: ``retain``, ``forget``, ``real_authors``, ``world_facts``."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    """What a published corpus asks besides, by metric."""
    paraphrases: Mapping[str, Paraphrases] = field(default_factory=dict)
    """Other wordings of training texts, by what they reword: ``question`` or ``answer``."""

    @cached_property
    def rows(self) -> Rows:
        """All examples; the indices of a split refer to them."""
        return self.kept + self.duplicates + self.forget + self.test

    def place(self, index: int) -> str:
        """Return the location of one of `rows` in the user's data."""
        row = index
        if row < len(self.kept):
            return f"row {self.source.stored(row)}"
        row -= len(self.kept)
        for name, part in (("duplicates", self.duplicates), ("forget", self.forget), ("test", self.test)):
            if row < len(part):
                return f"row {row} of the {name} split"
            row -= len(part)
        raise IndexError(index)

    @cached_property
    def texts(self) -> Texts:
        """All texts that a vocabulary is learned from."""
        return self.rows.questions + self.rows.answers

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all texts."""
        content = hashlib.sha256()
        for part in (self.kept, self.duplicates, self.forget, self.test):
            content.update(f"{part.questions.digest} {part.answers.digest} ".encode())
        for name, choices in sorted(self.choices.items()):
            asked = choices.rows
            content.update(f"{name} {asked.questions.digest} {asked.answers.digest} ".encode())
            content.update(repr((choices.right, choices.wrong)).encode())
        for name, probe in sorted(self.probes.items()):
            asked, others = probe.rows, (probe.new_tokens, probe.members, probe.right)
            content.update(f"{name} {asked.questions.digest} {asked.answers.digest} {others} ".encode())
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Indices into `Corpus.rows`, int64 and sorted; all four are disjoint."""

    retain: Indices
    duplicates: Indices
    """Trained on as part of the retain set, and measured separately."""
    forget: Indices
    test: Indices


def split_corpus(corpus: Corpus, config: ForgetText, seed: int) -> TextSplit:
    """Return the indices of the forget, retain and test examples.

    A request selects among the stored rows; test examples are held out of the remaining rows, the same for every seed.
    The seed determines a random draw, which excludes the held-out examples.

    Raises `ValueError` if a request selects something that does not exist, or if a part would be empty.
    """
    ends = np.cumsum([len(corpus.kept), len(corpus.duplicates), len(corpus.forget)])
    rest, duplicates, forget, test = np.split(np.arange(len(corpus.rows)), ends)
    if not isinstance(config, ForgetSplit | ForgetRandom):
        forget = requested(config, corpus.source)
        rest = np.setdiff1d(rest, forget)
        _check_some_left(rest, corpus)
    if len(test) == 0:
        rest, test = held_out(rest, corpus.test_share)
    if isinstance(config, ForgetRandom):
        forget = np.sort(drawn(config, rest, seed, "training examples"))
        rest = np.setdiff1d(rest, forget)
        _check_some_left(rest, corpus)
    return TextSplit(rest, duplicates, forget, test)


def _check_some_left(rest: Indices, corpus: Corpus) -> None:
    if len(rest) == 0:
        raise ValueError(
            f"forget: all {len(corpus.kept)} training examples are in the forget set; none is left to retain"
        )


def held_out(rows: Indices, share: float) -> tuple[Indices, Indices]:
    """Return the rows without the test examples, and the test examples: a fraction of them, at least one; both sorted.

    Raises `ValueError` if no rows would remain.
    """
    count = max(1, round(share * len(rows)))
    if count >= len(rows):
        raise ValueError(f"data.test_share: {share} of {len(rows)} examples leaves none to retain")
    test = np.random.default_rng(TEST_SPLIT_SEED).permutation(len(rows))[:count]
    return np.delete(rows, test), np.sort(rows[test])


def load_corpus(config: TextSection, forget: ForgetText) -> Corpus:
    """Load a configuration's texts, including the forget split if the forget set is one.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    if isinstance(config, CorpusSection):
        return _published(config, forget)
    return _tofu(config, forget) if isinstance(config, TofuData) else _text(config, forget)


def _published(config: CorpusSection, forget: ForgetText) -> Corpus:
    if not isinstance(forget, ForgetSplit) or forget.split != "forget":
        raise ValueError(f"forget.split: the forget set of {config.path} is the split forget; remove the key")
    found = published(config)
    used = _within([sum(map(len, found.retain))], [config.retain_limit])
    source = Source.of(f"{config.path} (retain)", *found.retain, used=used, limit="data.retain_limit")
    kept = sum((rows_of(config, part, "retain") for part in found.retain), NOTHING)
    named = rows_of(config, found.forget, "forget").first(config.forget_limit)
    test = NOTHING if found.test is None else rows_of(config, found.test, "test")
    return Corpus(
        kept.first(config.retain_limit),
        source,
        config.test_share,
        forget=named,
        test=test,
        probes=found.probes,
    )


def _text(config: TextSection, forget: ForgetText) -> Corpus:
    assert isinstance(config, TextData)
    trained = load_split(config, config.subset, config.train_split, "train_split")
    source = Source.of(
        f"{config.path} ({config.train_split})",
        trained,
        used=_within([len(trained)], [config.retain_limit]),
        limit="data.retain_limit",
    )
    kept = rows_of(config, trained, config.train_split).first(config.retain_limit)
    test, named = NOTHING, NOTHING
    parts = [(0, trained, kept)]
    if config.test_split is not None:
        test = load_rows(config, config.subset, config.test_split, "test_split")
    if isinstance(forget, ForgetSplit):
        forgotten = load_split(config, config.subset, forget.split, "forget.split")
        named = rows_of(config, forgotten, forget.split).first(config.forget_limit)
        parts = [(len(kept), forgotten, named)]
    others = of_columns(config, parts)
    return Corpus(kept, source, config.test_share, forget=named, test=test, paraphrases=others)


def _within(counts: list[int], limits: list[int | None]) -> Indices | None:
    """Return the rows of several splits that remain after their limits, None without limits."""
    if limits == [None] * len(limits):
        return None
    starts = np.cumsum([0, *counts[:-1]])
    return np.concatenate(
        [
            np.arange(start, start + min(count, limit or count))
            for start, count, limit in zip(starts, counts, limits, strict=True)
        ]
    )


LOCUSLAB: Mapping[str, tuple[str, str]] = {
    "forget_01": ("forget01", "retain99"),
    "forget_05": ("forget05", "retain95"),
    "forget_10": ("forget10", "retain90"),
}
"""Names of the subsets in the original data set, each a configuration with the single split ``train``."""

SETS = ("retain", "forget", "real_authors", "world_facts")
"""TOFU's evaluation sets."""


def _tofu(config: TofuData, forget: ForgetText) -> Corpus:
    def part(name: str) -> "Dataset":
        if config.layout == "waterdrum":
            return load_split(config, config.subset, name, "forget.split" if name == "forget" else "path")
        subset = LOCUSLAB[config.subset][0 if name == "forget" else 1]
        return load_split(config, subset, "train", "path")

    if isinstance(forget, ForgetSplit) and forget.split != "forget":
        raise ValueError(f"forget.split: TOFU's forget set is the split forget, found {forget.split}")
    forgotten, retained = part("forget"), part("retain")
    named = rows_of(config, forgotten, "forget").first(config.forget_limit)
    kept = rows_of(config, retained, "retain").first(config.retain_limit)
    used = _within([len(retained), len(forgotten)], [config.retain_limit, config.forget_limit])
    source = Source.of(
        f"{config.path} (retain, then forget)", retained, forgotten, used=used, limit="data.retain_limit"
    )
    if not isinstance(forget, ForgetSplit):
        kept, named = kept + named, NOTHING
    copies = NOTHING
    if config.duplicates != "none":
        name = f"{config.duplicates}_duplicate"
        copies = rows_of(config, part(name), name).first(config.forget_limit)
    test = NOTHING
    if config.test_subset is not None:
        test = load_rows(config, config.test_subset, "train", "test_subset")
    every = {name: _tofu_choices(config, name) for name in SETS}
    choices = {name: found for name, found in every.items() if found is not None}
    parts = [(0, kept), (len(kept) + len(copies), named)]
    others = of_choices([choices[name] for name in ("forget", "retain") if name in choices], parts)
    return Corpus(kept, source, config.test_share, copies, named, test, choices, paraphrases=others)


def _tofu_choices(config: TofuData, name: str) -> Choices | None:
    """Return an evaluation set, or None if the data do not have it."""
    from datasets import get_dataset_config_names

    forgotten = config.subset if config.layout == "waterdrum" else LOCUSLAB[config.subset][0]
    subset = f"{forgotten if name == 'forget' else name}_perturbed"
    with reached(config) as path:
        if subset not in get_dataset_config_names(path):
            return None
    return choices_of(config, load_split(config, subset, "train", "path"), subset)
