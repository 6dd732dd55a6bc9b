"""Published corpora of documents: their splits as passages, and what their benchmarks ask. Needs no torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from hamu_ray.config.task.corpora import CorpusSection, MuseData, WmdpData
from hamu_ray.metrics.benchmark_names import (
    KNOWMEM_FORGET,
    KNOWMEM_RETAIN,
    MUSE_AUC,
    VERBMEM_FORGET,
    WMDP_ACCURACY,
)
from hamu_ray.tasks.language.documents.rows import Rows, load_rows, load_split, reached
from hamu_ray.tasks.language.documents.texts import Texts

if TYPE_CHECKING:
    from datasets import Dataset

WORD = re.compile(r"\S+\s*")

LETTERS = "ABCD"

TOPICS = {"bio": "biology", "cyber": "cybersecurity"}
"""WMDP's domains in the words of its prompt, that of the LM Evaluation Harness."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Prompts with answers that models are only evaluated on; the prompt is the whole text before an answer."""

    kind: Literal["continuations", "answers", "texts", "options"]
    """`continuations` and `answers` (to questions) are generated and compared; `texts` attacked; `options` compared by
    their likelihoods."""
    rows: Rows
    new_tokens: int = 0
    """Maximum length of generated answers in tokens."""
    members: int = 0
    """Number of texts, the first ones, that the model may have been trained on."""
    right: tuple[int, ...] = ()
    """The right option of each question, of `LETTERS`."""


@dataclass(frozen=True, eq=False)
class Published:
    """A published corpus."""

    retain: tuple["Dataset", ...]
    """Passages to retain."""
    forget: "Dataset"
    """Passages to forget."""
    test: "Dataset | None"
    """Passages that nobody was trained on; None holds out some of the retain set."""
    probes: Mapping[str, Probe]
    """What is measured in addition, by metric."""


def published(config: CorpusSection) -> Published:
    """Load a published corpus; raises `ValueError` with one line that names the key and the remedy."""
    if isinstance(config, MuseData):
        return _muse(config)
    assert isinstance(config, WmdpData)
    return _wmdp(config)


def passages(text: str, words: int) -> list[str]:
    """Cut a text into parts of at most this many words, without the white space around them."""
    found = WORD.findall(text)
    return ["".join(found[start : start + words]).strip() for start in range(0, len(found), words)]


def _muse(config: MuseData) -> Published:
    def part(split: str, key: str = "path") -> "Dataset":
        return _passages(config, load_split(config, "raw", split, key))

    def rows(subset: str, split: str, question: str | None, answer: str) -> Rows:
        columns = {"question_column": question, "answer_column": answer}
        return load_rows(config.model_copy(update=columns), subset, split, "path")

    def questions(split: str) -> Probe:
        found = {name: rows("knowmem", name, "question", "answer") for name in (split, f"{split}_icl")}
        shots = found[f"{split}_icl"]
        start = "".join(f"{_asked(q)} {a}\n\n" for q, a in zip(shots.questions, shots.answers, strict=True))
        prompts = Texts.of(f"{start}{_asked(question)}" for question in found[split].questions)
        return Probe("answers", Rows(prompts, found[split].answers), new_tokens=32)

    forgotten, held = (rows("privleak", split, None, "text") for split in ("forget", "holdout"))
    probes = {
        VERBMEM_FORGET: Probe("continuations", rows("verbmem", "forget", "prompt", "gt"), new_tokens=128),
        KNOWMEM_FORGET: questions("forget_qa"),
        KNOWMEM_RETAIN: questions("retain_qa"),
        MUSE_AUC: Probe("texts", forgotten + held, members=len(forgotten)),
    }
    retained = tuple(part(split, "retain_splits") for split in config.retain_splits)
    return Published(retained, part("forget"), part("holdout"), probes)


def _asked(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def _wmdp(config: WmdpData) -> Published:
    def corpus(name: str) -> "Dataset":
        return _passages(config, load_split(config, f"{config.domain}-{name}-corpus", "train", "domain"))

    if config.forget_path is None:
        forgotten = corpus("forget")
    else:
        own = config.model_copy(update={"path": config.forget_path})
        forgotten = _passages(own, load_split(own, None, "train", "forget_path"))
    asked = config.model_copy(update={"path": config.questions_path})
    questions = load_split(asked, f"wmdp-{config.domain}", "test", "questions_path")
    return Published((corpus("retain"),), forgotten, None, {WMDP_ACCURACY: _options(config, questions)})


def _options(config: WmdpData, questions: "Dataset") -> Probe:
    """Return every option of every question: the letters after the question and its options."""
    head = f"The following are multiple choice questions (with answers) about {TOPICS[config.domain]}.\n\n"
    missing = {"question", "choices", "answer"} - set(questions.column_names)
    if missing:
        raise ValueError(f"data.questions_path: {config.questions_path} has no column {min(missing)}")
    prompts: list[str] = []
    answers: list[str] = []
    right: list[int] = []
    for row, asked in enumerate(questions):
        options = asked["choices"] or ()
        if not isinstance(asked["question"], str):
            raise ValueError(f"data.questions_path: row {row} of {config.questions_path} has no question")
        if len(options) != len(LETTERS) or asked["answer"] not in range(len(LETTERS)):
            raise ValueError(
                f"data.questions_path: row {row} of {config.questions_path} needs {len(LETTERS)} choices and the "
                f"index of the right one as answer, found {len(options)} and {asked['answer']}"
            )
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
        prompt = "\n".join([head + asked["question"].strip(), *lines, "Answer:"])
        prompts += [prompt] * len(LETTERS)
        answers += LETTERS
        right.append(asked["answer"])
    return Probe("options", Rows(Texts.of(prompts), Texts.of(answers)), right=tuple(right))


def _passages(config: CorpusSection, documents: "Dataset") -> "Dataset":
    """Return documents as passages, one per row."""
    column = config.answer_column
    if column not in documents.column_names:
        raise ValueError(
            f"data.answer_column: {config.path} has no column {column}; it has {', '.join(documents.column_names)}"
        )
    for row, text in enumerate(documents[column]):
        if not isinstance(text, str):
            raise ValueError(
                f"data.answer_column: {column} of {config.path} must contain texts, found {text!r:.40} in row {row}"
            )
    cut = partial(_cut, column=column, words=config.passage_words)
    with reached(config):  # without a progress bar for local files
        found = documents.map(cut, batched=True, remove_columns=documents.column_names)
    if len(found) == 0:
        raise ValueError(f"data.path: the texts of {config.path} ({documents.split}) are empty")
    return found


def _cut(rows: Mapping[str, Sequence[str]], *, column: str, words: int) -> dict[str, list[str]]:
    return {column: [part for text in rows[column] for part in passages(text, words)]}
