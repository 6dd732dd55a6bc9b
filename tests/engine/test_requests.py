"""Deletion requests from a customer's YAML file to the delivered folder, as a user would run them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from cheap_runs import done

from hamu_ray.config.sources.files import load_run
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.resident import Resident
from hamu_ray.preflight import check_run, forecast_lines, forecasts_of

RECORDS, OF_ACME = 500, 50

WORDS = (Path(__file__).parents[2] / "README.md").read_text().split()

RUN = """
name: acme
data: {name: text, path: customers, question_column: question, answer_column: answer, max_length: 192, generated: 4}
forget: {kind: where, column: customer, equals: ACME}
model: {hidden_size: 16, layers: 1, heads: 2, vocabulary: 300}
training: {epochs: 1}
duration: {steps: 2}
evaluation: {every_steps: 100, batch_size: 100}
workers: {count: 1}
"""


def customers(folder: Path) -> list[dict[str, Any]]:
    """Write 500 records, 50 of them of one customer, as a JSON lines file."""
    draw = random.Random(0)
    records = [
        {
            "customer": "ACME" if number % (RECORDS // OF_ACME) == 3 else f"Customer {number}",
            "question": f"What did order {number} hold?",
            "answer": " ".join(draw.choices(WORDS, k=8)),
        }
        for number in range(RECORDS)
    ]
    folder.mkdir()
    (folder / "train.json").write_text("\n".join(map(json.dumps, records)))
    return records


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    return tmp_path


def test_one_customers_records_and_no_others_are_forgotten(prepared: Path) -> None:
    records = customers(prepared / "customers")
    (prepared / "run.yaml").write_text(RUN)
    run = load_run("run.yaml")
    check_run(run, "run.yaml")
    lines = list(forecast_lines(forecasts_of([run], "run.yaml")))
    assert lines[0] == "forget set kind=where column=customer equals=ACME"
    assert [line.split(" texts")[0].split() for line in lines[1:4]] == [
        ["forget", "50"],
        ["retain", "405"],
        ["test", "45"],
    ]
    resident = Resident(prepared / "runs", torch.device("cpu"))
    task: Any = resident.task(run)
    rows = task._encodings.corpus.rows
    of_acme = {record["question"] for record in records if record["customer"] == "ACME"}
    parts = {**task.splits, "test": task._test}
    asked = {name: {rows.questions[at] for at in numbers.tolist()} for name, numbers in parts.items()}
    assert asked["forget"] == of_acme
    assert len(parts["forget"]) == OF_ACME
    assert asked["retain"] | asked["test"] == {record["question"] for record in records} - of_acme
    assert not asked["retain"] & asked["test"]
    ended = done(run, resident, prepared / "run")
    measures = ended.outcome.measures
    tokens = int(task._texts.answers[task.splits["forget"]].sum())
    assert f"50 texts, {tokens} answer tokens" in lines[1]
    assert (measures["forget_tokens"], measures["forget_dropped_tokens"]) == (tokens, 0)


def test_a_document_of_4000_tokens_is_wholly_unlearned(
    prepared: Path, text_corpus: Path, text_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With an adapter on a checkpoint; plain peft gives the run's outputs from the folder alone."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    draw = random.Random(1)
    documents = [{"id": "long", "text": " ".join(draw.choices(WORDS, k=1500))}]
    documents += [{"id": f"d{number}", "text": " ".join(draw.choices(WORDS, k=9))} for number in range(20)]
    (prepared / "documents").mkdir()
    (prepared / "documents" / "train.json").write_text("\n".join(map(json.dumps, documents)))
    (prepared / "ids.txt").write_text("long\n")
    (prepared / "run.yaml").write_text(
        f"""
data:
  name: text
  path: documents
  question_column: null
  answer_column: text
  windows: {{length: 64, stride: 48}}
  generated: 2
forget: {{kind: ids, path: ids.txt}}
model: {{name: {text_checkpoint}, lora: {{rank: 2, dropout: 0.0}}}}
training: {{parameters: lora, epochs: 1}}
optimizer: {{learning_rate: 0.5}}
duration: {{steps: 2}}
evaluation: {{every_steps: 100, batch_size: 50}}
workers: {{count: 1}}
"""
    )
    run = load_run("run.yaml")
    check_run(run, "run.yaml")
    resident = Resident(prepared / "runs", torch.device("cpu"))
    task: Any = resident.task(run)
    tokenizer = AutoTokenizer.from_pretrained(text_checkpoint)
    everything = tokenizer(documents[0]["text"], add_special_tokens=False)["input_ids"]
    assert len(everything) > 4000
    (long,) = task.splits["forget"].tolist()
    outputs = task.forward(task.build_model(0), torch.tensor([long]))
    assert outputs.labels.tolist() == [*everything, tokenizer.eos_token_id]
    assert outputs.examples.tolist() == [0] * task.count(torch.tensor([long]))
    ended = done(run, resident, prepared / "run")
    assert ended.outcome.measures["forget_tokens"] == len(everything) + 1
    assert ended.outcome.measures["forget_dropped_tokens"] == 0

    loaded = AutoPeftModelForCausalLM.from_pretrained(prepared / "run").eval()
    model = task.build_model(0)
    load_model(model, prepared / "run" / "model.safetensors")
    texts = torch.tensor([long, 0])
    expected = task.forward(model.eval(), texts).logits
    batch = task._texts.batch(texts)
    with torch.no_grad():
        found = loaded(input_ids=batch.tokens).logits[batch.rows, batch.columns]
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    assert max(tensor.abs().max() for name, tensor in ended.weights.items() if "lora_B" in name) > 1e-4

    cut = load_run("run.yaml", ["data.windows=null", "data.max_length=64"])
    dropped = [
        line for line in forecast_lines(forecasts_of([cut], "run.yaml")) if line.startswith("forget  ")
    ]
    assert dropped == [
        f"forget     1 texts, 63 answer tokens; {len(everything) - 62} more are truncated by "
        "data.max_length; set data.windows to use them"
    ]
    shortened = done(cut, resident, prepared / "cut")
    assert shortened.outcome.measures["forget_dropped_tokens"] == len(everything) - 62
    assert f"{len(everything) - 62} of {len(everything) + 1} forget tokens" in caplog.text
