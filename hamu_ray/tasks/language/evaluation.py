"""Measuring a language model on splits and evaluation sets, over all workers."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.metrics import language_names
from hamu_ray.metrics.language_names import EVALUATION_SETS, SPLITS
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.metrics.tofu import Alternatives
from hamu_ray.metrics.tokens import TokenScores
from hamu_ray.tasks.language.corpus import TextSplit
from hamu_ray.tasks.language.data import Encodings
from hamu_ray.tasks.language.measures import (
    ALL,
    CHEAP,
    MEANS,
    Generated,
    all_measures,
    cheap_measures,
    forget_items,
)
from hamu_ray.tasks.language.scores import answer_logits, answer_scores, greedy_answers
from hamu_ray.tasks.language.sequences import Batch, Sequences
from hamu_ray.tasks.task import Share

ITEMS = tuple(language_names.truth_ratio_of("forget", geometric=geometric) for geometric in MEANS)
"""What `forget_items` holds where there are wrong answers to the forget set's questions."""

EVERY = (
    *ALL,
    *(of(name) for name in SPLITS for of in (language_names.tokens_of, language_names.dropped_tokens_of)),
)
"""What a full evaluation measures, in order."""

SUBSET_STREAM = 2
"""Keeps the draw of the evaluation's subset apart from others that start from the same seed."""


class Evaluation:
    """The texts that the models of a task are measured on."""

    def __init__(self, encodings: Encodings, split: TextSplit, *, batch_size: int, seed: int) -> None:
        """Find the questions of the evaluation sets that the splits hold; the seed decides on subsets."""
        self._encodings = encodings
        self._rows, self._texts = encodings.corpus.rows, encodings.texts
        self._batch_size = batch_size
        self._seed = seed
        self._numbers = {
            "retain": torch.from_numpy(split.retain),
            "forget": torch.from_numpy(split.forget),
            "duplicate": torch.from_numpy(split.duplicates),
            "test": torch.from_numpy(split.test),
        }
        questions = self._rows.questions
        self._learned = torch.cat([self._numbers[name] for name in ("retain", "forget", "duplicate")])
        parts = {"retain": split.retain, "forget": split.forget}
        belonging = {name: {questions[at] for at in numbers} for name, numbers in parts.items()}
        found = {name: choices.positions(belonging.get(name)) for name, choices in encodings.choices.items()}
        self.asked = {name: positions for name, positions in found.items() if len(positions[0])}
        """Evaluation sets by name: where their questions and wrong answers are that the splits hold."""

    def measure(self, model: nn.Module, share: Share, subset: int | None) -> Measured:
        """Measure a model in eval mode, without gradients: as `LanguageTask.evaluate` says."""
        scores = partial(self._scores, model, share)
        splits = {name: scores(self._texts, numbers) for name, numbers in self.measured(subset).items()}
        alternatives, generated = {}, {}
        if subset is None:
            alternatives = {name: self._alternatives(scores, name) for name in self.asked}
            generated = self._generated(model, share)
        if share.rank > 0:
            return self._gathered(share, CHEAP if subset is not None else EVERY, None)
        if subset is not None:
            return self._gathered(share, CHEAP, Measured(cheap_measures(splits)))
        measures = all_measures(splits, texts=self._answers(), generated=generated, alternatives=alternatives)
        return self._gathered(
            share, EVERY, Measured({**measures, **self.counted()}, forget_items(alternatives))
        )

    def measured(self, subset: int | None = None) -> dict[str, Tensor]:
        """Return the texts that each split is measured on, as indices of the corpus (int64, CPU)."""
        found = {name: numbers for name, numbers in self._numbers.items() if len(numbers)}
        if subset is None:
            return found
        generator = np.random.default_rng((self._seed, SUBSET_STREAM))
        drawn = {name: np.sort(generator.permutation(len(at))[:subset]) for name, at in found.items()}
        return {name: at[torch.from_numpy(drawn[name])] for name, at in found.items()}

    def counted(self) -> Measures:
        """Return how many answer tokens each split has, and how many no window holds, as measures."""
        return {
            of(name): float(counts[numbers].sum())
            for name, numbers in self._numbers.items()
            for of, counts in (
                (language_names.tokens_of, self._texts.answers),
                (language_names.dropped_tokens_of, self._texts.dropped),
            )
        }

    def _answers(self) -> dict[str, list[str]]:
        """Return the true answers of each split as text."""
        return {
            name: [self._rows.answers[at] for at in numbers.tolist()]
            for name, numbers in self.measured().items()
        }

    def _scores(self, model: nn.Module, share: Share, texts: Sequences, numbers: Tensor) -> TokenScores:
        def forward(batch: Batch) -> Tensor:
            return answer_logits(model, batch)

        return answer_scores(forward, texts, numbers, self._batch_size, share)

    def _alternatives(self, scores: Callable[[Sequences, Tensor], TokenScores], name: str) -> Alternatives:
        asked, wrong = self.asked[name]
        choices = self._encodings.choices[name]
        return Alternatives(
            scores(choices.right, asked), scores(choices.wrong, wrong), choices.counts[asked.numpy()]
        )

    def _generated(self, model: nn.Module, share: Share) -> dict[str, Generated]:
        """Return greedy answers to the first questions of each split, and to those of the evaluation sets."""
        encoder = self._encodings.encoder
        config, decode = encoder.config, encoder.decode
        new_tokens = config.new_tokens or int(self._texts.first_answers[self._learned].max())
        truths = self._answers()
        asked = {name: (self._texts, at, truths[name]) for name, at in self.measured().items()}
        for name in set(self.asked) & set(EVALUATION_SETS):
            choices = self._encodings.choices[name]
            asked[name] = (choices.answers, self.asked[name][0], list(choices.truths))
        generated = {}
        for name, (texts, numbers, true) in sorted(asked.items()):
            first = numbers[: config.generated]
            tokens = greedy_answers(model, texts, first, self._batch_size, new_tokens, encoder.end, share)
            generated[name] = Generated([decode(row) for row in tokens], true[: len(first)])
        return generated

    def _gathered(self, share: Share, order: Sequence[str], measured: Measured | None) -> Measured:
        """Return rank 0's measures on every rank: the same bits, and values of single items with them."""
        per_item = measured.per_item if measured else {}
        names = ITEMS if order is EVERY and "forget" in self.asked else ()
        rows = [[measured[name] for name in order]] if measured else np.empty((0, len(order)))
        gathered = share.gather_rows(
            torch.as_tensor(np.asarray(rows, dtype=np.float64), device=self._texts.tokens.device)
        )
        if names:
            items = (
                [per_item[name] for name in names]
                if measured
                else np.empty((0, len(self.asked["forget"][0])))
            )
            gathered_items = share.gather_rows(
                torch.as_tensor(np.asarray(items, dtype=np.float64), device=self._texts.tokens.device)
            )
            per_item = dict(zip(names, gathered_items.tolist(), strict=True))
        if measured is None:
            return Measured(zip(order, gathered[0].tolist(), strict=True), per_item)
        return Measured(measured, per_item)
