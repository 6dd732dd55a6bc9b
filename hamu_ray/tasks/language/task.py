"""The language task: causal language models unlearn some of the answers that they learned."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from hamu_ray.config.task.language import TofuData
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.metrics import comparison, language_names, names
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.metrics.undefined import reasons
from hamu_ray.tasks.language.data import LanguageData
from hamu_ray.tasks.language.documents.corpus import ForgetText, split_corpus
from hamu_ray.tasks.language.documents.second import second_answers_of
from hamu_ray.tasks.language.documents.sequences import Batch, Sequences
from hamu_ray.tasks.language.encoding.token_file import encoded_sequences
from hamu_ray.tasks.language.evaluation import Evaluation
from hamu_ray.tasks.language.export import LOADING, exported
from hamu_ray.tasks.language.items import TextItems
from hamu_ray.tasks.language.measures import (
    TRUTH_RATIOS,
    compare_items,
    compare_measures,
    same_under_their_names,
)
from hamu_ray.tasks.language.models import Models
from hamu_ray.tasks.language.scores import answer_logits, grouped
from hamu_ray.tasks.language.teacher import FrozenModel, with_weights
from hamu_ray.tasks.layers import block_at, outputs_of
from hamu_ray.tasks.modes import eval_mode, is_sharded
from hamu_ray.tasks.task import Device, ExampleIdentity, Outputs, SecondAnswers, Share, Start, Teacher

logger = logging.getLogger(__name__)


class LanguageTask:
    """Texts with a forget set. Cheap to construct once the data contain the model's tokens."""

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
        convention: str | None = None,
    ) -> None:
        """Split the training texts.

        ``batch_size`` is used only for evaluation; the seed determines the split and the evaluation's draws;
        ``parameters`` are the parameters that base models train. Raises `ValueError` for a forget set that the data
        cannot provide, and for texts that do not fit the model.
        """
        self.data = data
        self.device = data.device
        self._encodings = data.encodings(forget, model)
        self._texts = self._encodings.texts
        split = split_corpus(self._encodings.corpus, forget, seed)
        self._kept, self._forget = torch.from_numpy(split.retain), torch.from_numpy(split.forget)
        self._duplicates = torch.from_numpy(split.duplicates)
        self._test = torch.from_numpy(split.test)
        self._model_config = model
        self._parameters = parameters
        self._models = Models(data, self._encodings, model, parameters)
        self._evaluation = Evaluation(
            self._encodings, split, batch_size=batch_size, seed=seed, convention=convention
        )
        self._reported: set[str] = set()
        self._second: Sequences | None = None

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Indices (int64, CPU, sorted) of the ``retain`` texts, duplicates included, and the ``forget`` texts."""
        return {"retain": torch.cat([self._kept, self._duplicates]), "forget": self._forget}

    @property
    def fingerprint(self) -> str:
        """Hash of all tokens, and thus of texts, template and tokenizer, and of the choice of test texts."""
        parts = [self._texts]
        for _, choices in sorted(self._encodings.choices.items()):
            parts += [choices.answers, choices.right, choices.wrong]
        parts += [probe.texts for _, probe in sorted(self._encodings.probes.items())]
        content = hashlib.sha256("".join(texts.digest for texts in parts).encode())
        content.update(self._test.numpy().data)
        # No training depends on it, but the metrics that are stored with a model do.
        content.update(self._evaluation.identity.encode())
        return content.hexdigest()

    def identities(self, examples: Tensor) -> Sequence[ExampleIdentity]:
        """Return the place of each text, and the SHA-256 of question, newline and answer in UTF-8.

        Of a text without a question it is the SHA-256 of the text alone.
        """
        corpus = self._encodings.corpus
        found = []
        for row in examples.tolist():
            question, answer = corpus.rows.questions[row], corpus.rows.answers[row]
            content = f"{question}\n{answer}" if question else answer
            found.append(ExampleIdentity(corpus.place(row), hashlib.sha256(content.encode()).hexdigest()))
        return found

    def build_model(self, seed: int, start: Start | None = None, device: Device = None) -> nn.Module:
        """Return a model for training: a new or pretrained one as a whole, or with an adapter.

        A pretrained base of adapters is loaded once per worker (again after it was sharded), so that the previously
        built model must not be used any more. If adapters are trained throughout, ``start`` is an adapter, or the base
        itself for a new adapter.
        """
        return self._models.build(seed, start, device or self.device)

    def unlearner(self, model: nn.Module, seed: int) -> nn.Module:
        """Return the model that unlearning changes: a fully trained model itself, or with a new adapter."""
        return self._models.unlearner(model, seed)

    def count(self, examples: Tensor) -> int:
        """Return the number of loss items: the answers' tokens."""
        return int(self._texts.answers[examples].sum())

    def second_answers(self, seed: int) -> SecondAnswers:
        """Return the second answers to the forget texts, behind the corpus's texts in the numbering of examples.

        Raises `ValueError`, in one line, if the data have none, or one leaves no room for its prompt.
        """
        encoder, rows = self._encodings.encoder, self._encodings.corpus.rows
        indices = self._forget.tolist()
        answers = second_answers_of(encoder.config, rows, indices, seed)
        questions = [rows.questions[index] for index in indices]
        self._second = encoded_sequences(encoder, questions, answers, self.device)

        def of(examples: Tensor) -> Tensor:
            return len(self._texts) + torch.searchsorted(self._forget, examples)

        return SecondAnswers(of, self._second.digest)

    def _batch(self, examples: Tensor) -> Batch:
        """Return texts, or second answers, as a batch."""
        first = len(self._texts)
        if self._second is not None and bool(examples.min() >= first):  # on the CPU: does not synchronise
            return self._second.batch(examples - first)
        return self._texts.batch(examples)

    def parts(self, examples: Tensor, size: int) -> Sequence[Tensor]:
        """Split examples into micro-batches of ``size`` windows, with texts of similar lengths together.

        A text is never split: one with more windows is its own micro-batch.
        """
        return [examples[places] for places in grouped(self._texts, examples, size)]

    def forward(self, model: nn.Module, examples: Tensor) -> Outputs:
        """Run the model on training texts without changing its mode; returns logits of the answer tokens only.

        ``examples`` is int64 ``(k,)``, on the CPU. Does not synchronise.
        """
        batch = self._batch(examples)
        with self._autocast(model):
            return Outputs(answer_logits(model, batch), batch.labels, batch.texts)

    def layer_forward(self, model: nn.Module, examples: Tensor, layer: int | str) -> Outputs:
        """Run the model on training texts; the outputs are a block's, at the places that predict answer tokens."""
        batch = self._batch(examples)
        with self._autocast(model), outputs_of(block_at(model, layer)) as outputs:
            answer_logits(model, batch)
        return Outputs(outputs[0][batch.rows, batch.columns], batch.labels, batch.texts)

    def layer_teacher(self, teacher: Teacher, layer: int | str) -> Teacher:
        """Return one of this task's teachers as a function to the outputs of a block."""
        assert isinstance(teacher, FrozenModel), "teachers are made by `teacher`"
        return replace(teacher, layer=layer)

    def teacher(self, model: nn.Module) -> Teacher:
        """Return a function from training texts to the current logits of this model, in eval mode.

        The logits are computed on access, by the same model with a copy of the weights that can change: an adapter or
        all of them. The function becomes invalid with the model.
        """
        frozen = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

        def answers(examples: Tensor, layer: int | str | None) -> Tensor:
            batch = self._batch(examples)
            block = None if layer is None else block_at(model, layer)
            with (
                eval_mode(model),
                torch.no_grad(),
                self._autocast(model),
                with_weights(model, frozen) as original,
                outputs_of(block) as outputs,
            ):
                logits = answer_logits(original, batch)
            return logits if block is None else outputs[0][batch.rows, batch.columns]

        return FrozenModel(answers)

    def evaluate(self, model: nn.Module, share: Share, *, subset: int | None = None) -> Measured:
        """Evaluate the model on all splits and evaluation sets, in eval mode, which is reset afterwards.

        With ``subset``, only metrics of the answers' probabilities are computed, on the same random texts of each split
        every time. Each rank runs its part of the texts; rank 0 computes the metrics for all.
        """
        with eval_mode(model), torch.no_grad(), self._autocast(model):
            measures = self._evaluation.measure(model, share, subset)
        if share.rank == 0:
            self._log_reasons(measures)
            self._log_dropped()
        return measures

    def compare(self, measures: Measures, original: Measures | None, reference: Measures | None) -> Measures:
        """Return the sweep's objectives and, in full, the metrics that compare the model with the reference.

        Without a reference the original's losses of test answers stand for its losses of the forget answers.
        """
        config = self._encodings.encoder.config
        utility = language_names.prob_of("test")
        if language_names.VALIDATION_PROB in measures:
            utility = language_names.VALIDATION_PROB
        if isinstance(config, TofuData) and config.utility == "model_utility" and self._evaluation.asked:
            utility = language_names.model_utility_of(geometric=False)
        compared = {
            **self._forget_quality(measures, original or {}, reference),
            **compare_measures(measures, reference, utility=utility),
        }
        items, known = (m.per_item if isinstance(m, Measured) else {} for m in (measures, reference))
        if any(name in items for name in TRUTH_RATIOS):
            compared |= compare_items(items, known)
        compared |= same_under_their_names(measures, compared)
        self._log_reasons(compared)
        return compared

    def _forget_quality(self, measures: Measures, original: Measures, reference: Measures | None) -> Measures:
        if reference is None:
            return {names.FORGET_QUALITY: comparison.forget_quality_without_reference(measures, original)}
        return comparison.measured_forget_quality(
            measures, reference, len(self._forget), lambda subset: self._evaluation.drawn(subset)["forget"]
        )

    def loading(self, model: nn.Module) -> str:
        """Return the Python code that loads this model from its folder."""
        return LOADING

    def export(self, model: nn.Module, base: str | None, state: Mapping[str, Tensor]) -> Mapping[str, bytes]:
        """Return the files that `transformers` or `peft` need in addition to the weights to load this model.

        The base of an adapter is the original if that was fully trained, and otherwise the pretrained model.
        """
        base = base if self._parameters == "all" else None
        return exported(model, self._encodings.encoder.tokenizer, base, state)

    @property
    def items(self) -> TextItems:
        """Return the texts of the splits, to look at single ones."""
        evaluation = self._evaluation
        every = evaluation.measured()
        splits: dict[str, Tensor] = {name: every[name] for name in names.SPLITS if name in every}
        return TextItems(
            self._encodings, splits, evaluation.batch_size, self._autocast, evaluation.new_tokens
        )

    def _autocast(self, model: nn.Module) -> torch.autocast:
        low_precision = self._model_config.precision == "bfloat16"
        # Autocast's cache would keep what a sharded model has gathered.
        cached = not is_sharded(model)
        return torch.autocast(self.device.type, torch.bfloat16, low_precision, cached)

    def _log_reasons(self, measures: Measures) -> None:
        """Log once per task why metrics are undefined, one line per reason."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in reasons(measures).items():
            by_reason.setdefault(reason, []).append(name)
        for reason, undefined in by_reason.items():
            if reason not in self._reported:
                self._reported.add(reason)
                logger.warning("not defined, as %s: %s", reason, ", ".join(undefined))

    def _log_dropped(self) -> None:
        """Log once per task how many tokens are dropped."""
        counted = self._evaluation.counted()
        lines = []
        for split in language_names.SPLITS:
            used, dropped = (
                counted[of(split)] for of in (language_names.tokens_of, language_names.dropped_tokens_of)
            )
            if dropped:
                lines.append(f"{dropped:.0f} of {used + dropped:.0f} {split} tokens")
        message = f"data.max_length truncates {', '.join(lines)}; set data.windows to use them"
        if lines and message not in self._reported:
            self._reported.add(message)
            logger.warning(message)
