"""Single texts: losses and probabilities of the true answers, activations, generated answers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.metrics.attacks.names import PARAPHRASE, PREFIX
from hamu_ray.metrics.text.memorization import item_losses
from hamu_ray.metrics.text.rouge import item_rouge_recalls
from hamu_ray.metrics.text.tokens import Floats, TokenScores
from hamu_ray.tasks.items import Columns, Places
from hamu_ray.tasks.language.data import Encodings
from hamu_ray.tasks.language.documents.paraphrases import Paraphrases, of_prefixes
from hamu_ray.tasks.language.documents.sequences import Batch, Sequences
from hamu_ray.tasks.language.documents.texts import ChosenTexts
from hamu_ray.tasks.language.encoding.token_file import encoded_sequences
from hamu_ray.tasks.language.scores import answer_logits, answer_scores, greedy_answers, grouped
from hamu_ray.tasks.layers import recorded
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import Share

LETTERS = 400
"""Maximum length of a text that is kept; longer ones end with an ellipsis."""


class _Whole:
    """The share of a process that computes everything."""

    rank, size = 0, 1

    def gather_rows(self, rows: Tensor) -> Tensor:
        return rows


WHOLE: Share = _Whole()


@dataclass(frozen=True, eq=False)
class TextItems:
    """The texts of a task's splits; see `hamu_ray.tasks.items.Items`."""

    encodings: Encodings
    splits: Mapping[str, Tensor]
    """Indices of each split's texts, int64 on the CPU."""
    batch_size: int
    autocast: Callable[[nn.Module], AbstractContextManager]
    new_tokens: int
    """Maximum length of a generated answer."""
    class_names: Sequence[str] = ()
    generates: bool = True

    @property
    def sizes(self) -> Mapping[str, int]:
        """Number of texts of each split."""
        return {name: len(indices) for name, indices in self.splits.items()}

    def values(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return mean losses in nats per token, their probabilities, and the fraction of tokens predicted right."""
        indices = self._indices(split, places)
        if not len(indices):
            return {}
        scores = self._scores(model, self.encodings.texts, indices)
        losses = item_losses(scores)
        return {
            "loss": losses,
            "probability": np.exp(-losses),
            "correct": scores.item_means(scores.correct.astype(np.float64)),
        }

    def activations(self, model: nn.Module, split: str, places: Places) -> Mapping[str, np.ndarray]:
        """Return the activations of each layer, averaged over the positions that predict the answer's tokens."""
        indices, texts = self._indices(split, places), self.encodings.texts
        batches: list[Batch] = []

        def of_answers(hidden: Tensor) -> Tensor:
            batch = batches[-1]
            items = hidden[batch.rows, batch.columns].float()
            count = int(batch.texts[-1]) + 1
            sums = items.new_zeros(count, items.shape[-1]).index_add_(0, batch.texts, items)
            return sums / torch.bincount(batch.texts, minlength=count)[:, None]

        order = grouped(texts, indices, self.batch_size)
        head = model.get_output_embeddings()  # type: ignore[operator]
        with (
            recorded(model, head, of_answers) as seen,
            eval_mode(model),
            torch.no_grad(),
            self.autocast(model),
        ):
            for chosen in order:
                batches.append(texts.batch(indices[chosen]))
                answer_logits(model, batches[-1])
        places_back = torch.cat(order).argsort() if order else torch.empty(0, dtype=torch.int64)
        return {name: torch.cat(parts)[places_back].numpy() for name, parts in seen.items()}

    @cached_property
    def _wordings(self) -> Mapping[str, Mapping[str, Paraphrases]]:
        corpus, forgotten = self.encodings.corpus, self.splits["forget"].numpy()
        given = {kind: one.of_examples(forgotten) for kind, one in corpus.paraphrases.items()}
        return {
            PARAPHRASE: {kind: one for kind, one in given.items() if len(one)},
            PREFIX: {k: one for k, one in of_prefixes(corpus.rows, forgotten).items() if self._has_room(one)},
        }

    def _has_room(self, wordings: Paraphrases) -> bool:
        """Whether each prompt leaves room for an answer: a prefix makes it longer than any that is trained on."""
        try:
            self._encoded(wordings)
        except ValueError:
            return False
        return True

    def _encoded(self, wordings: Paraphrases) -> Sequences:
        rows, device = wordings.rows, self.encodings.texts.device
        return encoded_sequences(self.encodings.encoder, rows.questions, rows.answers, device)

    def rewordings(self, attack: str) -> Mapping[str, str]:
        """Return the hash of other wordings of the texts to forget, by what they change: ``question`` or ``answer``."""
        return {kind: wordings.digest for kind, wordings in self._wordings[attack].items()}

    def rewording_losses(self, model: nn.Module, attack: str) -> Mapping[str, Floats]:
        """Return the mean loss of each wording's answer in nats per token that counts, float64 ``(wordings,)``."""
        found = {}
        for kind, wordings in self._wordings[attack].items():
            texts = self._encoded(wordings)
            scores = self._scores(model, texts, torch.arange(len(texts)))
            found[kind] = item_losses(scores.without_start(wordings.given))
        return found

    def _scores(self, model: nn.Module, texts: Sequences, indices: Tensor) -> TokenScores:
        with eval_mode(model), torch.no_grad(), self.autocast(model):
            return answer_scores(
                lambda batch: answer_logits(model, batch), texts, indices, self.batch_size, WHOLE
            )

    def contents(self, split: str, places: Places) -> Columns:
        """Return questions and true answers."""
        rows, at = self.encodings.corpus.rows, self._indices(split, places).numpy()
        return {
            name: [_shortened(text) for text in ChosenTexts(texts, at)]
            for name, texts in (("question", rows.questions), ("truth", rows.answers))
        }

    def answers(self, model: nn.Module, split: str, places: Places) -> Columns:
        """Return greedy answers, and the ROUGE-L recall of the true ones."""
        indices, encoder = self._indices(split, places), self.encodings.encoder
        if not len(indices):
            return {}
        with eval_mode(model), torch.no_grad(), self.autocast(model):
            tokens = greedy_answers(
                model, self.encodings.texts, indices, self.batch_size, self.new_tokens, encoder.end, WHOLE
            )
        answers = [encoder.decode(row) for row in tokens]
        truths = list(ChosenTexts(self.encodings.corpus.rows.answers, indices.numpy()))
        return {
            "answer": [_shortened(text) for text in answers],
            "rouge": item_rouge_recalls(answers, truths),
        }

    def _indices(self, split: str, places: Places) -> Tensor:
        return self.splits[split][torch.from_numpy(places)]


def _shortened(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
