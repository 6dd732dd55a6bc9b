"""Evaluation of a language model on splits and evaluation sets, distributed over all workers."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hamu_ray.metrics import language_names, names, openunlearning_names
from hamu_ray.metrics.language_names import EVALUATION_SETS, SPLITS, VALIDATION_PROB
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.metrics.text.memorization import item_losses, mean_probability
from hamu_ray.metrics.text.tofu import Alternatives
from hamu_ray.metrics.text.tokens import TokenScores
from hamu_ray.tasks.language.data import Encodings
from hamu_ray.tasks.language.documents.corpus import TextSplit
from hamu_ray.tasks.language.documents.sequences import Batch, Sequences
from hamu_ray.tasks.language.documents.texts import ChosenTexts
from hamu_ray.tasks.language.measures import (
    ALL,
    CHEAP,
    Generated,
    all_measures,
    cheap_measures,
    forget_items,
    openunlearning_measures,
)
from hamu_ray.tasks.language.probes import probe_measures
from hamu_ray.tasks.language.scores import answer_logits, answer_scores, greedy_answers
from hamu_ray.tasks.task import Share, from_first_rank
from hamu_ray.tasks.validation import validation_mask

EVERY = (
    *ALL,
    *(of(name) for name in SPLITS for of in (language_names.tokens_of, language_names.dropped_tokens_of)),
)
"""The metrics of a full evaluation, in order."""

SUBSET_STREAM = 2
"""Separates this random stream from others with the same seed."""


class Evaluation:
    """The texts that the models of a task are evaluated on."""

    def __init__(
        self,
        encodings: Encodings,
        split: TextSplit,
        *,
        batch_size: int,
        seed: int,
        convention: str | None = None,
    ) -> None:
        """Select the questions of the evaluation sets that belong to the splits; the seed determines subsets."""
        self.convention = convention
        self._encodings = encodings
        self._rows, self._texts = encodings.corpus.rows, encodings.texts
        self.batch_size = batch_size
        self._seed = seed
        held = validation_mask(len(split.test), encodings.encoder.config.validation)
        self._indices = {
            "retain": torch.from_numpy(split.retain),
            "forget": torch.from_numpy(split.forget),
            "duplicate": torch.from_numpy(split.duplicates),
            "test": torch.from_numpy(split.test[~held]),
        }
        self._validation = torch.from_numpy(split.test[held])
        self._learned = torch.cat([self._indices[name] for name in ("retain", "forget", "duplicate")])
        parts = {"retain": split.retain, "forget": split.forget}
        found = {}
        for name, choices in encodings.choices.items():
            belonging = None
            if name in parts:
                wanted, questions = set(choices.questions), ChosenTexts(self._rows.questions, parts[name])
                belonging = {question for question in questions if question in wanted}
            found[name] = choices.positions(belonging)
        self.asked = {name: positions for name, positions in found.items() if len(positions[0])}
        """Evaluation sets by name: indices of the questions that belong to the splits, and of their wrong answers."""

    @property
    def identity(self) -> str:
        """What the metrics of a model depend on besides its texts; empty by default."""
        parts = (("validation", self._encodings.encoder.config.validation), ("convention", self.convention))
        return "".join(f"{name} {value}" for name, value in parts if value)

    def measure(self, model: nn.Module, share: Share, subset: int | None) -> Measured:
        """Evaluate a model in eval mode, without gradients; see `LanguageTask.evaluate`."""
        scores = partial(self._scores, model, share)
        splits = {name: scores(self._texts, indices) for name, indices in self.measured(subset).items()}
        of_validation = scores(self._texts, self._drawn_validation(subset)) if len(self._validation) else None
        alternatives, generated, of_probes = {}, {}, Measures()
        if subset is None:
            alternatives = {name: self._alternatives(scores, name) for name in self.asked}
            generated = self._generated(model, share)
            of_probes = self._of_probes(model, scores, share)
        order: tuple[str, ...] = (*EVERY, *of_probes) if subset is None else CHEAP
        if subset is None and self.convention:
            order = (*order, *openunlearning_names.MEASURED)
        if of_validation is not None:
            order = (*order, VALIDATION_PROB)
        items = {names.FORGET_LOSSES: item_losses(splits["forget"]).tolist(), **forget_items(alternatives)}
        if subset is None and "test" in splits:
            items[names.TEST_LOSSES] = item_losses(splits["test"]).tolist()
        measures: Measures = {}
        if share.rank == 0 and subset is not None:
            measures = cheap_measures(splits)
        elif share.rank == 0:
            texts = self._answers()
            measures = all_measures(splits, texts=texts, generated=generated, alternatives=alternatives)
            measures |= {**self.counted(), **of_probes}
            if self.convention:
                measures |= openunlearning_measures(splits, alternatives, measures)
        if of_validation is not None and share.rank == 0:
            measures[VALIDATION_PROB] = mean_probability(of_validation)
        values = [measures[name] for name in order if measures]
        device = self._texts.device
        gathered = zip(order, from_first_rank(share, values, device), strict=True)
        per_item = {name: from_first_rank(share, items[name], device) for name in items}
        return Measured(measures or gathered, per_item)

    def _drawn_validation(self, subset: int | None) -> Tensor:
        """Return the validation texts, or a random subset of them, as indices of the corpus."""
        generator = np.random.default_rng((self._seed, SUBSET_STREAM))
        return self._validation[np.sort(generator.permutation(len(self._validation))[:subset])]

    def measured(self, subset: int | None = None) -> dict[str, Tensor]:
        """Return the texts that each split is evaluated on, as indices of the corpus (int64, CPU)."""
        found = {name: indices for name, indices in self._indices.items() if len(indices)}
        if subset is None:
            return found
        return {name: found[name][torch.from_numpy(drawn)] for name, drawn in self.drawn(subset).items()}

    def drawn(self, subset: int) -> dict[str, NDArray[np.int64]]:
        """Return the indices of a random subset of each split, the same at every evaluation."""
        sizes = {name: len(indices) for name, indices in self._indices.items() if len(indices)}
        generator = np.random.default_rng((self._seed, SUBSET_STREAM))
        return {name: np.sort(generator.permutation(size)[:subset]) for name, size in sizes.items()}

    def counted(self) -> Measures:
        """Return the numbers of used and dropped answer tokens of each split, as metrics."""
        return {
            of(name): float(counts[indices].sum())
            for name, indices in self._indices.items()
            for of, counts in (
                (language_names.tokens_of, self._texts.answers),
                (language_names.dropped_tokens_of, self._texts.dropped),
            )
        }

    @property
    def new_tokens(self) -> int:
        """The maximum length of a generated answer: as configured, or that of the longest answer that was learned."""
        configured = self._encodings.encoder.config.new_tokens
        return configured or int(self._texts.first_answers[self._learned].max())

    def _answers(self) -> dict[str, Sequence[str]]:
        """Return the true answers of each split as text."""
        return {
            name: ChosenTexts(self._rows.answers, indices.numpy())
            for name, indices in self.measured().items()
        }

    def _scores(self, model: nn.Module, share: Share, texts: Sequences, indices: Tensor) -> TokenScores:
        def forward(batch: Batch) -> Tensor:
            return answer_logits(model, batch)

        return answer_scores(forward, texts, indices, self.batch_size, share)

    def _alternatives(self, scores: Callable[[Sequences, Tensor], TokenScores], name: str) -> Alternatives:
        asked, wrong = self.asked[name]
        choices = self._encodings.choices[name]
        return Alternatives(
            scores(choices.right, asked), scores(choices.wrong, wrong), choices.counts[asked.numpy()]
        )

    def _of_probes(
        self, model: nn.Module, scores: Callable[[Sequences, Tensor], TokenScores], share: Share
    ) -> Measures:
        found = self._encodings
        return probe_measures(found.probes, model, scores, found.encoder, self.batch_size, share)

    def _generated(self, model: nn.Module, share: Share) -> dict[str, Generated]:
        """Return greedy answers to the first questions of each split and of the evaluation sets."""
        encoder = self._encodings.encoder
        config, decode = encoder.config, encoder.decode
        truths = self._answers()
        asked: dict[str, tuple[Sequences, Tensor, Sequence[str]]] = {
            name: (self._texts, at, truths[name]) for name, at in self.measured().items()
        }
        for name in set(self.asked) & set(EVALUATION_SETS):
            choices = self._encodings.choices[name]
            asked[name] = (choices.answers, self.asked[name][0], choices.truths)
        generated = {}
        for name, (texts, indices, true) in sorted(asked.items()):
            first = indices[: config.generated]
            tokens = greedy_answers(model, texts, first, self.batch_size, self.new_tokens, encoder.end, share)
            generated[name] = Generated([decode(row) for row in tokens], list(true[: len(first)]))
        return generated
