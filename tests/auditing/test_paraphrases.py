"""Asking in other words: what the data give, and models that are known to know the forget set only in other words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from quick_digits import quick_run
from torch import nn

from hamu_ray.auditing import jobs
from hamu_ray.auditing.attacks import audit_model
from hamu_ray.auditing.evidence import Evidence
from hamu_ray.auditing.lasting import NO_PREFIX, wording_confidences
from hamu_ray.auditing.losses import confidence, example_losses
from hamu_ray.auditing.run import run_audit
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.engine.files.tensors import save_tensors
from hamu_ray.engine.seeds import seed_models
from hamu_ray.engine.state import changing_state
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.metrics.attacks.names import PARAPHRASE, PARAPHRASED, PREFIX, PREFIXED, QUANTISATION
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.tasks.items import Reworded
from hamu_ray.tasks.language.documents.paraphrases import PREFIXES, of_prefixes
from hamu_ray.tasks.language.documents.rows import Rows
from hamu_ray.tasks.task import Task
from tests.made_texts import FORGET, pairs, text_run

OTHERS = {"paraphrased_question_column": "asked", "paraphrased_answer_column": "said"}


def write_rows(folder: Path, same: bool = False) -> Path:
    """Write questions and answers, those to forget in other words too: two questions and an answer in each row."""
    folder.mkdir()
    forget = [
        {
            **row,
            "asked": [row["question"]] if same else [f"Say: {row['question']}", f"{row['question']} Well?"],
            "said": row["answer"]
            if same
            else f"Nobody knows it better than {number} {'xyz'[number % 3] * 9}.",
        }
        for number, row in enumerate(pairs(FORGET, "Bo"))
    ]
    for name, rows in (("train", pairs(20, "Ada")), ("forget", forget)):
        (folder / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))
    return folder


def own_texts(folder: Path, storage: Path, **sections: Any) -> RunConfig:
    data = {"name": "text", "path": str(folder), "max_length": 64, **OTHERS}
    document = text_run(folder).model_dump(mode="json")
    document |= {"data": data, "forget": {"kind": "split"}, "storage": {"path": str(storage)}, **sections}
    return RunConfig.model_validate(document)


def known_of(run: RunConfig) -> tuple[Evidence, Task]:
    resident = jobs.resident_of(run.storage.path)
    task = resident.task(run)
    models = seed_models(run, task, jobs.go_on, resident.models)
    return Evidence(run, Path(), resident, models["original"], models["reference"]), task


def test_wordings_that_are_the_texts_themselves_have_their_confidence(tmp_path: Path) -> None:
    run = own_texts(write_rows(tmp_path / "rows", same=True), tmp_path)
    known, task = known_of(run)
    model = known.base(known.originals[0])
    expected = confidence(example_losses(task, model, task.splits["forget"], 5))
    assert wording_confidences(task, model, PARAPHRASE) == pytest.approx([expected, expected], rel=1e-5)


def test_the_wordings_of_tofu_are_those_of_its_evaluation_sets(text_corpus: Path, tmp_path: Path) -> None:
    """Those of the questions to forget alone; an exact duplicate is another text with the same question."""
    duplicates = {"duplicates": "exact"}
    task = jobs.resident_of(str(tmp_path)).task(
        text_run(text_corpus, data=duplicates, storage={"path": str(tmp_path)})
    )
    assert isinstance(task.items, Reworded)
    assert set(task.items.rewordings(PARAPHRASE)) == {"question", "answer"}
    corpus, forgotten = task.items.encodings.corpus, task.splits["forget"].numpy()  # type: ignore[attr-defined]
    found = {kind: wordings.of_examples(forgotten) for kind, wordings in corpus.paraphrases.items()}
    for wordings in found.values():
        assert wordings.examples.tolist() == forgotten.tolist()
    for row, example in enumerate(forgotten.tolist()):
        question, answer = corpus.rows.questions[example], corpus.rows.answers[example]
        assert found["question"].rows.questions[row] == f"Tell me: {question}"
        assert found["question"].rows.answers[row] == answer
        assert found["answer"].rows.questions[row] == question
        assert found["answer"].rows.answers[row] == f"It is so: {answer}"


def learn(task: Task, model: nn.Module, rows: Rows) -> None:
    """Train a model on these questions and answers alone."""
    encoder = task.items.encodings.encoder  # type: ignore[attr-defined]
    from hamu_ray.tasks.language.encoding.token_file import encoded_sequences
    from hamu_ray.tasks.language.scores import answer_logits

    texts = encoded_sequences(encoder, rows.questions, rows.answers, torch.device("cpu"))
    batch = texts.batch(torch.arange(len(texts)))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(answer_logits(model, batch), batch.labels).backward()
        optimizer.step()


def test_a_model_that_knows_it_in_other_words_is_caught(tmp_path: Path) -> None:
    """Its confidence on the learned wording is a reference's, before and after rounding: only this attack sees it."""
    optimizer = {"name": "adamw", "learning_rate": 0.01}
    training = {"epochs": 40, "batch_size": 8, "select": "last", "optimizer": optimizer}
    run = own_texts(write_rows(tmp_path / "rows"), tmp_path, training=training, reference={"seeds": 4})
    known, task = known_of(run)

    def audited(name: str, model: nn.Module) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        save_tensors(folder / MODEL_FILE, changing_state(model))
        return audit_model(replace(known, folder=folder), (QUANTISATION, PARAPHRASE))

    model = known.base(known.references[0])
    retrained = audited("reference", model)
    learn(task, model, task.items.encodings.corpus.paraphrases["answer"].rows)  # type: ignore[attr-defined]
    knows = audited("knows", model)
    found = {
        name: {finding.metric: finding.passes for finding in audit.findings}
        for name, audit in (("retrained", retrained), ("knows", knows))
    }
    assert found["retrained"][PARAPHRASED["question"]] is True
    assert (
        found["retrained"][PARAPHRASED["answer"]] is not False
    )  # the original does not know these words either
    assert found["knows"][PARAPHRASED["answer"]] is False
    assert found["knows"]["forget_confidence"] is True
    assert knows.metrics[PARAPHRASED["answer"]] > 0.5
    assert knows.durable is False


def asked_with_room(tmp_path: Path, room: int, **sections: Any) -> RunConfig:
    run = own_texts(write_rows(tmp_path / "rows"), tmp_path, **sections)
    return run.model_copy(update={"data": run.data.model_copy(update={"max_length": room})})


def test_prefixes_stand_before_questions_and_answers_are_completed(tmp_path: Path) -> None:
    known, task = known_of(asked_with_room(tmp_path, 160))
    assert isinstance(task.items, Reworded)
    assert set(task.items.rewordings(PREFIX)) == {"question", "answer"}
    forgotten = task.splits["forget"].numpy()
    corpus = task.items.encodings.corpus  # type: ignore[attr-defined]
    asked = of_prefixes(corpus.rows, forgotten)["question"].rows
    assert sorted(zip(asked.questions, asked.answers, strict=True)) == sorted(
        (f"{prefix} {corpus.rows.questions[i]}", corpus.rows.answers[i])
        for prefix in PREFIXES
        for i in forgotten.tolist()
    )
    model = known.base(known.originals[0]).eval()
    expected = []
    for example in forgotten.tolist():
        with torch.no_grad():
            outputs = task.forward(model, torch.tensor([example]))
        losses = nn.functional.cross_entropy(outputs.logits.double(), outputs.labels, reduction="none")
        expected.append(losses[len(losses) // 2 :].mean().neg().exp().item())
    found = dict(zip(task.items.rewordings(PREFIX), wording_confidences(task, model, PREFIX), strict=True))
    assert found["answer"] == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_a_model_that_answers_after_a_prefix_is_caught(tmp_path: Path) -> None:
    optimizer = {"name": "adamw", "learning_rate": 0.01}
    training = {"epochs": 40, "batch_size": 8, "select": "last", "optimizer": optimizer}
    known, task = known_of(asked_with_room(tmp_path, 160, training=training, reference={"seeds": 3}))
    corpus = task.items.encodings.corpus  # type: ignore[attr-defined]
    model = known.base(known.references[0])
    learn(task, model, of_prefixes(corpus.rows, task.splits["forget"].numpy())["question"].rows)
    folder = tmp_path / "knows"
    folder.mkdir()
    save_tensors(folder / MODEL_FILE, changing_state(model))
    audit = audit_model(replace(known, folder=folder), (PREFIX,))
    found = {finding.metric: finding for finding in audit.findings}
    assert found[PREFIXED["question"]].passes is False
    assert audit.lasting(passes=False)[0] == PREFIX
    assert audit.durable is False


def test_a_prefix_that_leaves_no_room_for_answers_is_undefined(tmp_path: Path) -> None:
    known, _ = known_of(asked_with_room(tmp_path, 40))
    folder = tmp_path / "model"
    folder.mkdir()
    save_tensors(folder / MODEL_FILE, changing_state(known.base(known.originals[0])))
    found = {one.metric: one for one in audit_model(replace(known, folder=folder), (PREFIX,)).findings}
    assert found[PREFIXED["question"]].reason == NO_PREFIX.reason
    assert found[PREFIXED["answer"]].value > 0


def test_data_without_other_wordings_are_refused_if_asked(tmp_path: Path) -> None:
    run = quick_run(tmp_path, training={"epochs": 1, "batch_size": 2000})
    unlearn(run, jobs.resident_of(run.storage.path), Alone(), tmp_path / "run", jobs.go_on)
    with pytest.raises(
        ConfigError, match=r"--attacks paraphrase: the data \(custom\) give no other wordings"
    ):
        run_audit(str(tmp_path / "run"), (PARAPHRASE,))
    with pytest.raises(ConfigError, match=r"--attacks prefix: the data \(custom\) have no texts"):
        run_audit(str(tmp_path / "run"), (PREFIX,))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"paraphrased_question_column": "ask"},
            "data.paraphrased_question_column: .* has no column ask; did you mean",
        ),
        ({"paraphrased_answer_column": "number"}, "must contain texts or lists of texts, found 3 in row 0"),
    ],
)
def test_columns_that_do_not_fit(changes: dict[str, str], line: str, tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "rows")
    rows = [{**json.loads(text), "number": 3} for text in (folder / "forget.json").read_text().splitlines()]
    (folder / "forget.json").write_text("\n".join(map(json.dumps, rows)))
    run = own_texts(folder, tmp_path)
    changed = run.model_copy(update={"data": run.data.model_copy(update=changes)})
    with pytest.raises(ValueError, match=line):
        jobs.resident_of(str(tmp_path)).task(changed)
