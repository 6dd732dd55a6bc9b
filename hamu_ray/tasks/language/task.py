"""The language task: causal language models that are to forget some of the answers that they learned."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from hamu_ray.config.language import LanguageModelConfig, TofuData
from hamu_ray.metrics import language_names
from hamu_ray.metrics.language_names import EVALUATION_SETS
from hamu_ray.metrics.tofu import Alternatives
from hamu_ray.metrics.tokens import TokenScores
from hamu_ray.metrics.undefined import reasons
from hamu_ray.tasks.language.corpus import ForgetText, split_corpus
from hamu_ray.tasks.language.data import Batch, LanguageData, Sequences
from hamu_ray.tasks.language.export import exported
from hamu_ray.tasks.language.measures import (
    ALL,
    CHEAP,
    MEANS,
    Generated,
    all_measures,
    cheap_measures,
    compare_items,
    compare_measures,
    forget_items,
)
from hamu_ray.tasks.language.models import answer_logits, build_language_model, with_adapter
from hamu_ray.tasks.language.scores import answer_scores, by_length, eval_mode, greedy_answers
from hamu_ray.tasks.task import Measured, Measures, Outputs, Share, Teacher

logger = logging.getLogger(__name__)

ITEMS = tuple(language_names.truth_ratio_of("forget", geometric=geometric) for geometric in MEANS)
"""What `forget_items` holds where there are wrong answers to the forget set's questions."""

SUBSET_STREAM = 2
"""Keeps the draw of the evaluation's subset apart from others that start from the same seed."""


class LanguageTask:
    """Texts with a forget set. Cheap to construct once the data hold the model's tokens."""

    teacher_outlives_model = False

    def __init__(
        self,
        data: LanguageData,
        *,
        forget: ForgetText,
        model: LanguageModelConfig,
        batch_size: int,
        seed: int,
        parameters: Literal["all", "lora"] = "all",
    ) -> None:
        """Split the training texts.

        ``batch_size`` is of evaluation alone; the seed decides the split and the evaluation's draws;
        ``parameters`` are those that base models are trained with. Raises `ValueError` for a forget set that the
        data cannot give, and texts that do not fit the model.
        """
        self.data = data
        self.device = data.device
        self._encodings = data.encodings(forget, model)
        self._corpus = self._encodings.corpus
        self._train = self._encodings.train
        split = split_corpus(self._corpus, forget, seed)
        self._kept, self._forget = torch.from_numpy(split.retain), torch.from_numpy(split.forget)
        self._duplicates = torch.from_numpy(split.duplicates)
        questions = self._corpus.train.questions
        parts = {"retain": split.retain, "forget": split.forget}
        belonging = {name: {questions[at] for at in numbers} for name, numbers in parts.items()}
        found = {
            name: choices.positions(belonging.get(name)) for name, choices in self._encodings.choices.items()
        }
        self._asked = {name: positions for name, positions in found.items() if len(positions[0])}
        self._model_config = model
        self._parameters = parameters
        self._batch_size = batch_size
        self._seed = seed
        self._reported: set[str] = set()

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Positions (int64, CPU, sorted) of the ``retain`` texts, duplicates included, and the ``forget`` texts."""
        return {"retain": torch.cat([self._kept, self._duplicates]), "forget": self._forget}

    @property
    def fingerprint(self) -> str:
        """Hash of all tokens, and so of texts, template and tokenizer."""
        parts = [self._train, self._encodings.test]
        for _, choices in sorted(self._encodings.choices.items()):
            parts += [choices.answers, choices.right, choices.wrong]
        return hashlib.sha256("".join(texts.digest for texts in parts).encode()).hexdigest()

    def build_model(self, seed: int) -> nn.Module:
        """Return a model to be trained as configured: a fresh or pretrained one whole, or an adapter on one.

        A pretrained base with an adapter is loaded once a worker: the model that was built before is not to be
        used any more.
        """
        if self._parameters == "all":
            return self._built(seed)
        assert self._model_config.lora is not None
        key = ("base", self._model_config.model_dump_json(exclude={"lora"}))
        base = self.data.resident.get(key)
        if base is None:
            base = self._built(seed, frozen=True)
        self.data.resident[key] = with_adapter(base, self._model_config.lora, seed)
        return self.data.resident[key]

    def unlearner(self, model: nn.Module, seed: int) -> nn.Module:
        """Return the model that unlearning changes: of one trained whole, the same or with a fresh adapter."""
        if self._parameters == "all" and self._model_config.lora is not None:
            return with_adapter(model, self._model_config.lora, seed)
        return model

    def count(self, examples: Tensor) -> int:
        """Return the number of loss items: the answers' tokens."""
        return int(self._train.answers[examples].sum())

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        """Split examples into micro-batches of ``size``, texts of like lengths together."""
        return examples[by_length(self._train, examples)].split(size)

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        """Run the model on training texts in its own mode; logits are of the answers' tokens alone.

        ``examples`` is int64 ``(k,)``, on the CPU. Nothing waits for a GPU.
        """
        batch = self._train.batch(examples)
        with self._autocast():
            return Outputs(answer_logits(model, batch), batch.labels, batch.rows)

    def teacher(self, model: nn.Module) -> Teacher:
        """Return a function from training texts to the logits of this model as it is now, in eval mode.

        The logits are computed when they are asked for, by this same model with a copy of the weights that can
        change, be it an adapter or all of them. It ends with the model.
        """
        frozen = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        original = _WithWeights(model, frozen)

        def answers(examples: Tensor) -> Tensor:
            batch = self._train.batch(examples)
            with eval_mode(model), torch.no_grad(), self._autocast():
                return answer_logits(original, batch)

        return answers

    def evaluate(self, model: nn.Module, share: Share, *, subset: int | None = None) -> Measured:
        """Measure the model on all splits and evaluation sets, in eval mode, which is undone afterwards.

        With ``subset`` only what the answers' probabilities tell, on the same draw of so many texts per split each
        time. Each rank runs its part of the texts; rank 0 computes the measures for all.
        """
        with eval_mode(model), torch.no_grad(), self._autocast():
            scores = partial(self._scores, model, share)
            splits = {name: scores(texts, at) for name, (texts, at) in self._measured(subset).items()}
            alternatives, generated = {}, {}
            if subset is None:
                alternatives = {name: self._alternatives(scores, name) for name in self._asked}
                generated = self._generated(model, share)
        if share.rank > 0:
            return self._told(share, CHEAP if subset is not None else ALL, None)
        if subset is not None:
            return self._told(share, CHEAP, Measured(cheap_measures(splits)))
        measures = all_measures(splits, texts=self._answers(), generated=generated, alternatives=alternatives)
        return self._told(share, ALL, Measured(measures, forget_items(alternatives)))

    def compare(self, measures: Measures, original: Measures | None, reference: Measures | None) -> Measures:
        """Return the sweep's two objectives, and in full what tells the model from the reference.

        Raises `ValueError` without a reference. The original is not needed here.
        """
        if reference is None:
            raise ValueError("reference: a language model cannot be judged without one")
        config = self._encodings.encoder.config
        utility = language_names.prob_of("retain")
        if isinstance(config, TofuData) and config.utility == "model_utility" and self._asked:
            utility = language_names.model_utility_of(geometric=False)
        compared = compare_measures(measures, reference, utility=utility)
        if isinstance(measures, Measured) and isinstance(reference, Measured) and measures.per_item:
            compared |= compare_items(measures.per_item, reference.per_item)
        self._log_reasons(compared)
        return compared

    def export(self, model: nn.Module, base: str | None) -> Mapping[str, bytes]:
        """Return the files that `transformers` or `peft` need beside the weights to load this model as theirs.

        An adapter rests on the original where that was trained whole, and else on the pretrained model.
        """
        base = base if self._parameters == "all" else None
        return exported(model, self._encodings.encoder.tokenizer, base)

    def _built(self, seed: int, *, frozen: bool = False) -> nn.Module:
        encoder = self._encodings.encoder
        return build_language_model(self._model_config, encoder, seed, self.device, frozen=frozen)

    def _autocast(self) -> torch.autocast:
        low_precision = self._model_config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=low_precision)

    def _measured(self, subset: int | None = None) -> dict[str, tuple[Sequences, Tensor]]:
        """Return where each split's texts are found and their positions there."""
        found = {
            "retain": (self._train, self._kept),
            "forget": (self._train, self._forget),
            "test": (self._encodings.test, torch.arange(len(self._encodings.test))),
        }
        if len(self._duplicates):
            found["duplicate"] = (self._train, self._duplicates)
        if subset is None:
            return found
        generator = np.random.default_rng((self._seed, SUBSET_STREAM))
        drawn = {name: np.sort(generator.permutation(len(at))[:subset]) for name, (_, at) in found.items()}
        return {name: (texts, at[torch.from_numpy(drawn[name])]) for name, (texts, at) in found.items()}

    def _answers(self) -> dict[str, list[str]]:
        """Return the true answers of each split as text."""
        sources = {"test": self._corpus.test.answers}
        return {
            name: [sources.get(name, self._corpus.train.answers)[at] for at in numbers.tolist()]
            for name, (_, numbers) in self._measured().items()
        }

    def _scores(self, model: nn.Module, share: Share, texts: Sequences, numbers: Tensor) -> TokenScores:
        def forward(batch: Batch) -> Tensor:
            return answer_logits(model, batch)

        return answer_scores(forward, texts, numbers, self._batch_size, share)

    def _alternatives(self, scores: Callable[[Sequences, Tensor], TokenScores], name: str) -> Alternatives:
        asked, wrong = self._asked[name]
        choices = self._encodings.choices[name]
        return Alternatives(
            scores(choices.right, asked), scores(choices.wrong, wrong), choices.counts[asked.numpy()]
        )

    def _generated(self, model: nn.Module, share: Share) -> dict[str, Generated]:
        """Return greedy answers to the first questions of each split, and to those of the evaluation sets."""
        config, decode = self._encodings.encoder.config, self._encodings.encoder.decode
        new_tokens = config.new_tokens or int(self._train.answers.max())
        truths = self._answers()
        asked = {name: (*found, truths[name]) for name, found in self._measured().items()}
        for name in set(self._asked) & set(EVALUATION_SETS):
            choices = self._encodings.choices[name]
            asked[name] = (choices.answers, self._asked[name][0], list(choices.truths))
        generated = {}
        for name, (texts, numbers, true) in sorted(asked.items()):
            first = numbers[: config.generated]
            tokens = greedy_answers(model, texts, first, self._batch_size, new_tokens, share)
            generated[name] = Generated([decode(row) for row in tokens], true[: len(first)])
        return generated

    def _told(self, share: Share, order: Sequence[str], measured: Measured | None) -> Measured:
        """Return rank 0's measures on every rank: the same bits, and values of single items with them."""
        per_item = measured.per_item if measured else {}
        names = ITEMS if order is ALL and "forget" in self._asked else ()
        rows = [[measured[name] for name in order]] if measured else np.empty((0, len(order)))
        told = share.gather_rows(torch.as_tensor(np.asarray(rows, dtype=np.float64), device=self.device))
        if names:
            items = (
                [per_item[name] for name in names]
                if measured
                else np.empty((0, len(self._asked["forget"][0])))
            )
            told_items = share.gather_rows(
                torch.as_tensor(np.asarray(items, dtype=np.float64), device=self.device)
            )
            per_item = dict(zip(names, told_items.tolist(), strict=True))
        if measured is None:
            return Measured(zip(order, told[0].tolist(), strict=True), per_item)
        self._log_reasons(measured)
        return Measured(measured, per_item)

    def _log_reasons(self, measures: Measures) -> None:
        """Say once per task why measures are not defined: one line for a reason."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in reasons(measures).items():
            by_reason.setdefault(reason, []).append(name)
        for reason, undefined in by_reason.items():
            if reason not in self._reported:
                self._reported.add(reason)
                logger.warning("not defined, as %s: %s", reason, ", ".join(undefined))


class _WithWeights:
    """A model that computes with other weights than its own."""

    def __init__(self, model: Any, weights: dict[str, Tensor]) -> None:
        self._model, self._weights = model, weights

    def __call__(self, **inputs: Any) -> Any:
        return functional_call(self._model, self._weights, (), inputs)

    def get_output_embeddings(self) -> nn.Module:
        return self._model.get_output_embeddings()
