"""The forget set of a text data set, and its overlap with other sets. Needs no torch."""

import hashlib
from pathlib import Path

from hamu_ray.config.task.language import TextSection
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.tasks.forecast import SHOWN, Forecast, Side, allowed, shortened
from hamu_ray.tasks.language.documents.corpus import Corpus, ForgetText, TextSplit, load_corpus, split_corpus
from hamu_ray.tasks.language.documents.texts import AT_ONCE, ChosenTexts
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer
from hamu_ray.tasks.overlap import text_matches
from hamu_ray.tasks.request import Indices
from hamu_ray.tasks.validation import VALIDATION, validation_mask


def forecast_language(
    config: TextSection, forget: ForgetText, seed: int, model: LanguageModelConfig, cache: Path | None
) -> Forecast:
    """Return what a run with these sections will forget, retain and test; loads texts and tokenizer.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    corpus = load_corpus(config, forget)
    split = split_corpus(corpus, forget, seed)
    encoder = Encoder(load_tokenizer(model, corpus.texts, cache), config)
    held = validation_mask(len(split.test), config.validation)
    parts = {
        "forget": split.forget,
        "retain": split.retain,
        "test": split.test[~held],
        VALIDATION: split.test[held],
        "duplicate": split.duplicates,
    }
    content = hashlib.sha256()
    for index in split.forget.tolist():
        content.update(repr((corpus.rows.questions[index], corpus.rows.answers[index])).encode())
    return Forecast(
        unit="texts",
        splits={name: _side(corpus, encoder, indices) for name, indices in parts.items() if len(indices)},
        first=[
            f"{corpus.place(index)}: {shortened(_text(corpus, index))}"
            for index in split.forget[:SHOWN].tolist()
        ],
        digest=content.hexdigest(),
        overlaps=overlaps(corpus, split) if allowed(forget) else (),
    )


def overlaps(corpus: Corpus, split: TextSplit) -> list[str]:
    """Return a line for each retain or test text that equals, or nearly equals, a text of the forget set.

    Duplicates that the configuration adds to the retain set are intended and not reported.
    """
    others = [*split.retain.tolist(), *split.test.tolist()]
    forgotten = split.forget.tolist()
    matches = text_matches(
        [_text(corpus, index) for index in forgotten], (_text(corpus, index) for index in others)
    )
    lines = []
    for match in matches:
        same = "equals" if match.similarity == 1 else f"is {match.similarity:.0%} similar to"
        part = "retain" if match.other < len(split.retain) else "test"
        forget, other = corpus.place(forgotten[match.forget]), corpus.place(others[match.other])
        lines.append(f"{other} ({part}) {same} {forget}")
    return lines


def _text(corpus: Corpus, index: int) -> str:
    question, answer = corpus.rows.questions[index], corpus.rows.answers[index]
    return f"{question} {answer}" if question else answer


def _side(corpus: Corpus, encoder: Encoder, indices: Indices) -> Side:
    tokens = dropped = 0
    for start in range(0, len(indices), AT_ONCE):
        part, rows = indices[start : start + AT_ONCE], corpus.rows
        for encoded in encoder.encode(ChosenTexts(rows.questions, part), ChosenTexts(rows.answers, part)):
            tokens += len(encoded.answer)
            dropped += encoded.dropped
    return Side(len(indices), tokens, dropped)
