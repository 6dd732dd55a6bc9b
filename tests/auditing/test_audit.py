"""Audits of runs: the command, what is found again, other tasks."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from quick_digits import quick_run
from torch import nn

from hamu_ray import audit as command
from hamu_ray.auditing import attacks, jobs, relearning
from hamu_ray.auditing.evidence import unlearned_model
from hamu_ray.auditing.jobs import ModelJob, run_model_job
from hamu_ray.auditing.quantisation import quantised
from hamu_ray.auditing.subjects import subjects_of
from hamu_ray.config.run import RunConfig, StartConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.files import load_run
from hamu_ray.engine.seeds import seed_models
from hamu_ray.engine.state import changing_state
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.metrics.attacks.names import (
    ATTACK,
    ATTACKS,
    KLOM,
    KLOM_P95,
    LASTING,
    PARAPHRASED,
    ULIRA_AUC,
    ULIRA_TPR,
    WORDINGS,
)
from hamu_ray.pairing.group import Alone
from hamu_ray.results.audit.file import read_audit
from hamu_ray.results.audit.finding import REWORDED
from hamu_ray.results.folder import AUDIT_FILE
from hamu_ray.results.provenance import Interpolation, ModelIdentity, read_provenance, write_provenance
from tests.made_texts import LORA, text_run

BRIEF = {"epochs": 2, "batch_size": 400}


def unlearned(run: RunConfig, folder: Path) -> Path:
    unlearn(run, jobs.resident_of(run.storage.path), Alone(), folder, jobs.go_on)
    return folder


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All attacks on a run; then nothing is computed again, but what a change concerns."""
    run = quick_run(tmp_path, training=BRIEF, original={"seeds": 3}, reference={"seeds": 4})
    folder = unlearned(run, tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["audit", str(folder)])
    assert command.main() == 0
    printed = capsys.readouterr().out
    found = json.loads((folder / AUDIT_FILE).read_text())
    assert tuple(found["attacks"]) == tuple(name for name in ATTACKS if name not in WORDINGS)
    assert "NaN" not in json.dumps(found)
    assert {name for result in found["attacks"].values() for name in result["findings"]} == ATTACK.keys() - {
        "durability",
        "durable",
        *REWORDED,
    }
    assert "relative_test_p" in printed
    assert found["attacks"]["ulira"]["findings"]["ulira_auc"]["value"] is not None
    assert "is brought back than from R by" in printed

    def never(evidence: object) -> Any:
        raise AssertionError("it was computed again")

    monkeypatch.setattr(attacks, "FIND", dict.fromkeys(ATTACKS, never))
    assert command.main() == 0
    assert json.loads((folder / AUDIT_FILE).read_text()) == found
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["audit", str(folder), "--attacks", "lira", "--references", "3"])
    assert command.main() == 0
    again = json.loads((folder / AUDIT_FILE).read_text())["attacks"]
    assert again["lira"]["key"] != found["attacks"]["lira"]["key"]
    assert again["klom"] == found["attacks"]["klom"]


def test_another_model_or_a_damaged_file_is_attacked_again(tmp_path: Path) -> None:
    run = quick_run(tmp_path, training=BRIEF, reference={"seeds": 3})
    (subject,) = subjects_of(str(unlearned(run, tmp_path / "run")))
    first = run_model_job(ModelJob(subject, ("lira",)))
    place = tmp_path / "run" / AUDIT_FILE
    place.write_text(place.read_text().replace("lira_auc", "lira_acu"))
    assert not read_audit(tmp_path / "run", first.model).attacks
    again = run_model_job(ModelJob(subject, ("lira",)))
    assert str(again.findings) == str(first.findings)  # NaN equals itself as text
    unlearned(run.model_copy(update={"seed": 5}), tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "run" / "model.safetensors")
    second = run_model_job(ModelJob(subject, ("lira",)))
    assert second.model != first.model
    assert second.attacks["lira"].key != first.attacks["lira"].key


def test_a_run_again_with_other_hyperparameters_has_other_shadow_models(tmp_path: Path) -> None:
    """Both runs are in one folder, one after the other; the first one's shadow models stay as they are."""
    run = quick_run(tmp_path, training=BRIEF, original={"seeds": 3}, reference={"seeds": 3})
    audits, known = [], {}
    for rate in (1e-3, 1e-1):
        again = run.model_copy(update={"optimizer": run.optimizer.model_copy(update={"learning_rate": rate})})
        (subject,) = subjects_of(str(unlearned(again, tmp_path / "run")))
        audits.append(run_model_job(ModelJob(subject, ("ulira",))))
        found = {
            path: path.read_bytes() for path in (tmp_path / "run").glob("audit/seed-*/model.safetensors")
        }
        assert len(found) == len(known) + 2
        assert all(found[path] == content for path, content in known.items())
        known = found
    assert audits[0].attacks["ulira"].findings != audits[1].attacks["ulira"].findings


def test_shadow_models_of_a_run_that_started_at_another_come_from_other_originals(tmp_path: Path) -> None:
    """The earlier run is repeated from each original too."""
    first = quick_run(tmp_path, training=BRIEF, original={"seeds": 3}, reference={"seeds": 3})
    start = StartConfig(path=str(unlearned(first, tmp_path / "first")))
    (subject,) = subjects_of(str(unlearned(first.model_copy(update={"start": start}), tmp_path / "second")))
    run_model_job(ModelJob(subject, ("ulira",)))
    shadows = [load_run(str(path)) for path in (tmp_path / "second").glob("audit/seed-*/run.yaml")]
    later = [run for run in shadows if run.start is not None]
    assert len(shadows) == 4
    assert len(later) == 2
    for run in later:
        assert run.start is not None
        earlier = load_run(f"{run.start.path}/run.yaml")
        assert (earlier.start, earlier.original.path) == (None, run.original.path)


def test_a_model_between_two_others_has_no_shadow_models(tmp_path: Path) -> None:
    """A run with other seeds makes another of its ends, and not the model."""
    run = quick_run(tmp_path, training=BRIEF, original={"seeds": 3}, reference={"seeds": 4})
    folder = unlearned(run, tmp_path / "run")
    provenance = read_provenance(folder)
    assert provenance is not None
    ends = [provenance.original, ModelIdentity("elsewhere", "0" * 64)]
    write_provenance(folder, replace(provenance, interpolation=Interpolation(0.5, ends)))
    (subject,) = subjects_of(str(folder))
    found = run_model_job(ModelJob(subject, ("lira", "ulira", "klom")))
    assert not list(folder.glob("audit/seed-*"))
    reasons = {finding.metric: finding.reason for finding in found.findings}
    assert all("between two others" in reasons[name] for name in (ULIRA_AUC, ULIRA_TPR, KLOM_P95))
    assert "between two others" not in reasons["lira_auc"]


def test_a_run_without_a_reference_says_so(tmp_path: Path) -> None:
    run = RunConfig.model_validate(
        {
            "storage": {"path": str(tmp_path)},
            "forget": {"kind": "random", "share": 0.1},
            "training": {"epochs": 1, "batch_size": 2000, "select": "last"},
            "reference": {"source": "none"},
            "duration": {"steps": 1},
            "workers": {"count": 1},
        }
    )
    (subject,) = subjects_of(str(unlearned(run, tmp_path / "run")))
    audit = run_model_job(ModelJob(subject, tuple(name for name in ATTACKS if name not in LASTING)))
    assert {finding.reason for finding in audit.findings} == {"there is no reference"}
    assert not audit.metrics
    assert audit.durable is None


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"lora": LORA}},
        {"model": {"lora": LORA}, "training": {"parameters": "lora"}},
    ],
    ids=["all", "lora on an original trained whole", "lora throughout"],
)
def test_language_models(
    sections: dict[str, Any],
    tmp_path: Path,
    text_corpus: Path,
    text_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also with adapters, which are merged to be rounded and are as before afterwards."""
    monkeypatch.setattr(relearning, "STEPS", 3)
    if "training" in sections:
        sections = {**sections, "model": {**sections["model"], "name": str(text_checkpoint)}}
    run = text_run(text_corpus, storage={"path": str(tmp_path)}, reference={"seeds": 2}, **sections)
    folder = unlearned(run, tmp_path / "run")
    (subject,) = subjects_of(str(folder))
    audit = run_model_job(ModelJob(subject, tuple(name for name in ATTACKS if name != KLOM)))
    assert {
        "lira_auc",
        "rmia_auc",
        "relative_test_p",
        "relearning_area",
        "forget_confidence_4_bit",
    } <= audit.metrics.keys()
    assert set(PARAPHRASED.values()) <= audit.metrics.keys()
    assert len(audit.attacks["relearning"].curves) == 3
    resident = jobs.resident_of(subject.run.storage.path)
    task = resident.task(subject.run)
    original = seed_models(subject.run, task, jobs.go_on, resident.models)["original"][0]
    model = unlearned_model(subject.run, task, original, folder)

    def logits(one: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return task.forward(one.eval(), task.splits["forget"][:3]).logits.clone()

    before, weights = logits(model), {name: t.clone() for name, t in changing_state(model).items()}
    with quantised(model, 4):
        assert not torch.equal(logits(model), before)
    assert torch.equal(logits(model), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in changing_state(model).items())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--attacks", "lirra", "x"], "--attacks lirra: there is no attack lirra; did you mean lira?"),
        (["--attacks", ",", "x"], "--attacks: give some of lira, ulira, rmia"),
        (["nothing"], "nothing: neither a sweep's folder"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["audit", *arguments])
    with pytest.raises(ConfigError, match=line.split(";")[0]) as error:
        command.main()
    assert line in str(error.value)


def test_a_number_of_seeds_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = quick_run(tmp_path, training=BRIEF)
    folder = unlearned(run, tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["audit", str(folder), "--references", "0"])
    with pytest.raises(ConfigError, match=r"reference\.seeds"):
        command.main()
