"""What of a text data set is used: training and test examples, duplicates, evaluation sets. Needs no torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hamu_ray.config.language import ForgetSplit, TextData, TextSection, TofuData
from hamu_ray.config.vision import ForgetIndices, ForgetRandom
from hamu_ray.tasks.forget import Positions, chosen_positions
from hamu_ray.tasks.language.rows import Choices, Rows, choices_of, load_rows, load_split, reached

TEST_SPLIT_SEED = 0
"""The test examples are the same for every seed of a run, so that runs can be compared."""

NOTHING = Rows()

ForgetText = ForgetSplit | ForgetRandom | ForgetIndices


@dataclass(frozen=True, eq=False)
class Corpus:
    """The texts of a run's data, whatever the forget set."""

    retain: Rows
    """What is there to be kept, less the test examples."""
    test: Rows
    duplicates: Rows = NOTHING
    """What is added to the retain set: what is to be forgotten once more."""
    choices: Mapping[str, Choices] = field(default_factory=dict)
    """Evaluation sets by name: ``retain``, ``forget``, ``real_authors``, ``world_facts``."""
    forget: Rows = NOTHING
    """The split that is to be forgotten; empty where the forget set is drawn from the retain examples."""

    @cached_property
    def train(self) -> Rows:
        """All training examples: to retain, duplicates, to forget."""
        return self.retain + self.duplicates + self.forget

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All texts that a vocabulary is learned from."""
        every = self.train + self.test
        return tuple(text for text in (*every.questions, *every.answers) if text)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all texts."""
        content = (self.retain, self.test, self.duplicates, self.forget, sorted(self.choices.items()))
        return hashlib.sha256(repr(content).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Positions in `Corpus.train`, int64 and sorted; all three are disjoint."""

    retain: Positions
    duplicates: Positions
    """Trained on as part of the retain set, and measured apart."""
    forget: Positions


def split_corpus(corpus: Corpus, config: ForgetText, seed: int) -> TextSplit:
    """Return which training examples are to be forgotten; the seed decides a random draw.

    Raises `ValueError` for a file of positions that are not there, and where a part would be empty.
    """
    kept, copies = len(corpus.retain), len(corpus.duplicates)
    copied = np.arange(kept, kept + copies)
    if isinstance(config, ForgetSplit):
        return TextSplit(np.arange(kept), copied, np.arange(kept + copies, len(corpus.train)))
    forget = np.sort(chosen_positions(config, kept, seed, "training examples"))
    retain = np.setdiff1d(np.arange(kept), forget)
    if len(retain) == 0:
        raise ValueError(f"forget: all {kept} training examples are to be forgotten; none is left to retain")
    return TextSplit(retain, copied, forget)


def load_corpus(config: TextSection, forget: ForgetText) -> Corpus:
    """Load the texts that a configuration names.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    return _tofu(config, forget) if isinstance(config, TofuData) else _text(config, forget)


def _text(config: TextSection, forget: ForgetText) -> Corpus:
    assert isinstance(config, TextData)
    retain = load_rows(config, config.subset, config.train_split, "train_split").first(config.retain_limit)
    if config.test_split is None:
        retain, test = held_out(retain, config)
    else:
        test = load_rows(config, config.subset, config.test_split, "test_split")
    named = Rows()
    if isinstance(forget, ForgetSplit):
        named = load_rows(config, config.subset, forget.split, "forget.split").first(config.forget_limit)
    return Corpus(retain, test, forget=named)


LOCUSLAB: Mapping[str, tuple[str, str]] = {
    "forget_01": ("forget01", "retain99"),
    "forget_05": ("forget05", "retain95"),
    "forget_10": ("forget10", "retain90"),
}
"""What the original data set calls the subsets, each a configuration with the one split ``train``."""

SETS = ("retain", "forget", "real_authors", "world_facts")
"""TOFU's evaluation sets."""


def _tofu(config: TofuData, forget: ForgetText) -> Corpus:
    def part(name: str) -> Rows:
        if config.layout == "waterdrum":
            return load_rows(config, config.subset, name, "forget.split" if name == "forget" else "path")
        forgotten, retained = LOCUSLAB[config.subset]
        return load_rows(config, forgotten if name == "forget" else retained, "train", "path")

    if isinstance(forget, ForgetSplit) and forget.split != "forget":
        raise ValueError(f"forget.split: TOFU's forget set is the split forget, found {forget.split}")
    named = part("forget").first(config.forget_limit)
    retain, test = held_out(part("retain").first(config.retain_limit), config)
    if not isinstance(forget, ForgetSplit):
        retain, named = retain + named, Rows()
    copies = Rows()
    if config.duplicates != "none":
        copies = part(f"{config.duplicates}_duplicate").first(config.forget_limit)
    every = {name: _tofu_choices(config, name) for name in SETS}
    choices = {name: found for name, found in every.items() if found is not None}
    return Corpus(retain, test, copies, choices, named)


def _tofu_choices(config: TofuData, name: str) -> Choices | None:
    """Return an evaluation set, or None where the data have none of that name."""
    from datasets import get_dataset_config_names

    forgotten = config.subset if config.layout == "waterdrum" else LOCUSLAB[config.subset][0]
    subset = f"{forgotten if name == 'forget' else name}_perturbed"
    with reached(config) as path:
        if subset not in get_dataset_config_names(path):
            return None
    return choices_of(config, load_split(config, subset, "train", "path"), subset)


def held_out(rows: Rows, config: TextSection) -> tuple[Rows, Rows]:
    """Return the rows without the test examples, and those: `test_share` of them, at least one.

    Raises `ValueError` where none would be left.
    """
    count = max(1, round(config.test_share * len(rows)))
    if count >= len(rows):
        raise ValueError(
            f"data.test_share: {config.test_share} of {len(rows)} examples leaves none to retain"
        )
    drawn = np.sort(np.random.default_rng(TEST_SPLIT_SEED).permutation(len(rows))[:count])
    kept = np.setdiff1d(np.arange(len(rows)), drawn)
    return rows.take(kept.tolist()), rows.take(drawn.tolist())
