"""Results of an audit of a sweep: in MLflow, and in the report made from either source."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from hamu_ray.auditing.delivery import deliver
from hamu_ray.auditing.run import show
from hamu_ray.auditing.subjects import Subject, subjects_of
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.metrics.attacks.spread import FRACTION, spread
from hamu_ray.reports.analysis.problems import problems_of
from hamu_ray.reports.page.audits import audit_table
from hamu_ray.results.audit.file import load_audit, read_audit, write_audit
from hamu_ray.results.audit.finding import (
    DECIDES_DURABLE,
    TOLERANCE,
    AttackResult,
    Audit,
    Finding,
    audit_of,
    durability,
    durable,
)
from hamu_ray.results.durable.sealed import write_sealed
from hamu_ray.results.folder import AUDIT_FILE, REFUSED_FILE, RUN_FILE, TRIALS
from hamu_ray.results.outcome import StepPoint
from hamu_ray.results.pareto.table import front_table
from hamu_ray.results.reader import read_sweep
from hamu_ray.selection.answer import decide
from hamu_ray.terminal.console import Console
from hamu_ray.tracking.reader import MlflowReader
from tests.made_store import fill, made_record, points, sweep_config, uri_of

SPACE = {"method.name": {"grid": ["hamu-q", "ga"]}, "optimizer.learning_rate": {"grid": [0.03]}}


def made_audit(passes: bool | None = True) -> Audit:
    among = spread([0.4, 0.5, 0.55])
    decided = ("relearning_area", "forget_confidence_8_bit", "forget_confidence_4_bit")
    findings = [Finding(name, 0.5, 0.9, among, passes) for name in decided]
    findings.append(Finding("lira_auc", float("nan"), reason="there is <b>no</b> reference"))
    return Audit(
        "0" * 64, {"relearning": AttackResult("relearning", "key", tuple(findings), 1.5, {"model": [0.1]})}
    )


def test_an_audit_survives_its_file(tmp_path: Path) -> None:
    audit = made_audit()
    write_audit(tmp_path, audit)
    found = read_audit(tmp_path, audit.model)
    assert str(found) == str(audit)  # NaN equals itself as text
    assert not read_audit(tmp_path, "1" * 64).attacks
    assert audit.metrics["durable"] == audit.metrics["durability"] == 1.0
    assert "lira_auc" not in audit.metrics


def test_verdicts_by_earlier_rules_are_not_shown(tmp_path: Path) -> None:
    """Its numbers are; an audit of an earlier version does not say by which rules it was judged."""
    audit = made_audit()
    document = audit.as_document()
    del document["attacks"]["relearning"]["verdicts"]
    write_sealed(tmp_path / AUDIT_FILE, document)
    found = read_audit(tmp_path, audit.model)
    assert str(load_audit((tmp_path / AUDIT_FILE).read_bytes(), AUDIT_FILE)) == str(found)
    assert (audit.durable, found.durable, found.deciding) == (True, None, [])
    assert found.durability == audit.durability
    (*decided, _) = found.findings
    assert {(one.value, one.verdict, one.reason) for one in decided} == {
        (0.5, "\N{EN DASH}", "judged by the rules of an earlier version; run the audit again")
    }
    assert audit_of(document).durable is True, "a certificate keeps what it signs"


@pytest.mark.parametrize(("passes", "expected"), [(True, True), (False, False), (None, None)])
def test_durable(passes: bool | None, expected: bool | None) -> None:
    findings = made_audit(passes).findings
    assert durable(findings) is expected
    assert durable(findings[1:]) is (False if expected is False else None)


def test_attacks_that_show_nothing_decide_nothing() -> None:
    among = spread([0.4, 0.5, 0.55])
    area, *confidences = (Finding(name, 0.5, 0.9, among, True) for name in DECIDES_DURABLE)
    confidences = [replace(one, original=0.5) for one in confidences]
    results = {
        name: AttackResult(name, "key", tuple(found), 1.0, {})
        for name, found in (("relearning", [area]), ("quantisation", confidences))
    }
    audit = Audit("0" * 64, results)
    assert (audit.durable, audit.deciding) == (True, ["relearning"])


def lasting(value: float, original: float, references: list[float], name: str = "relearning_area") -> Finding:
    return Finding(name, value, original, spread(references), None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.2, 1.0), (0.1, 1.0), (0.6, 0.5), (1.0, 0.0), (1.5, 0.0), (float("nan"), None)],
)
def test_durability_is_the_place_between_the_reference_and_the_original(
    value: float, expected: float | None
) -> None:
    others = [lasting(0.2, 0.6, [0.2], f"forget_confidence_{bits}_bit") for bits in (8, 4)]
    found = durability([lasting(value, 1.0, [0.2]), *others])
    assert found == pytest.approx(expected) if expected is not None else math.isnan(found)
    assert math.isnan(durability(others))


def test_durability_takes_the_worst_attack_that_can_show_something() -> None:
    known = [
        lasting(0.2, 1.0, [0.2]),
        *(lasting(0.3, 0.3, [0.3], f"forget_confidence_{b}_bit") for b in (8, 4)),
    ]
    assert durability(known) == 1.0  # rounding shows nothing, as the original knows no more than a reference
    reworded = lasting(0.4, 0.6, [0.2, 0.2], "paraphrased_answer_confidence")
    assert durability([*known, reworded]) == pytest.approx(0.5)
    assert math.isnan(durability(replace(finding, original=0.2) for finding in known))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50)
def test_a_durable_model_has_a_durability_of_1(
    references: list[float], value: float, original: float
) -> None:
    among = spread(references, FRACTION)
    names = ("relearning_area", "forget_confidence_8_bit", "forget_confidence_4_bit")
    findings = [Finding(name, value, original, among, among.reaches(value, TOLERANCE)) for name in names]
    found = durability(findings)
    assert math.isnan(found) or (found == 1.0) is durable(findings)


def test_an_undefined_wording_does_not_count() -> None:
    known = [lasting(0.2, 1.0, [0.2], name) for name in DECIDES_DURABLE]
    assert durability([*known, Finding("paraphrased_question_confidence", float("nan"))]) == 1.0


@pytest.mark.parametrize("passes", [True, False])
def test_the_line_names_the_attacks_that_decide(
    passes: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wordings that the data lack decide nothing, nor does rounding that brings nothing back where relearning does."""
    made = made_audit(passes)
    area, *rounded, _ = made.attacks["relearning"].findings
    wording = Finding("paraphrased_answer_confidence", float("nan"), reason="the data give none")
    audit = Audit(
        made.model,
        {
            "relearning": AttackResult("relearning", "1", (area,), 1.0, {}),
            "quantisation": AttackResult(
                "quantisation", "2", tuple(replace(one, passes=True) for one in rounded), 1.0, {}
            ),
            "paraphrase": AttackResult("paraphrase", "3", (wording,), 1.0, {}),
        },
    )
    run = RunConfig.model_validate({"storage": {"path": str(tmp_path)}})
    show(Subject("run", "", str(tmp_path), run), audit, Console())
    last = capsys.readouterr().out.split("durability")[-1]
    assert ("R by relearning, quantisation" if passes else "R by relearning") in " ".join(last.split())
    assert ("quantisation" in last) is passes
    assert "paraphrase" not in last


def test_tracking_and_report(tmp_path: Path) -> None:
    name = "made-20260101-120000"
    fill(
        tmp_path,
        sweep_config(SPACE, storage={"path": str(tmp_path)}, tracking={"experiment": "audits"}),
        name=name,
        experiment="audits",
    )
    folder = tmp_path / "sweeps" / name
    front = [trial.trial_id for trial in read_sweep(folder).summary.front]
    write_audit(folder / TRIALS / front[0], made_audit())
    deliver(folder, {front[0]: made_audit()}, Console())

    (sweep,) = MlflowReader.open(uri_of(tmp_path), tmp_path).sweeps(name=name)
    run = MlflowClient(tracking_uri=uri_of(tmp_path)).get_run(sweep.source.run_id(front[0]))
    assert run.data.metrics["relearning_area"] == 0.5
    assert run.data.metrics["durable"] == 1.0
    assert run.data.metrics["durability"] == pytest.approx(made_audit().durability)
    assert (run.data.tags["durable"], run.data.tags["durable_by"]) == ("true", "relearning")
    assert all("relearning_area" not in trial.measures for trial in sweep.trials)
    for source in (sweep, read_sweep(folder)):
        known = {t.trial_id: t.measures["durability"] for t in source.trials if "durability" in t.measures}
        assert known == {front[0]: pytest.approx(made_audit().durability)}
        assert "durability" in front_table(source.summary).header
        (problem,) = problems_of([source])
        table = audit_table(problem)
        assert table is not None
        (row,) = table.rows
        assert (row.durable, row.deciding) == ("yes", "relearning")
        assert row.durability == pytest.approx(made_audit().durability)
        assert row.group.record.trial_id.endswith(front[0])
        assert [cell.text for cell in row.cells] == ["\N{EN DASH}", "0.5000", "0.5000", "0.5000"]
    page = (folder / "report.html").read_text()
    assert page.count('id="p0-audit"') == 1
    assert "<td>yes<small>by relearning</small></td>" in page
    assert page.count('aria-label="Durability against ') == 2
    rows = list(csv.DictReader((folder / "front.csv").open()))
    assert {row["trial_id"]: row["durability"] for row in rows if row["durability"]}.keys() == {front[0]}
    assert "there is &lt;b&gt;no&lt;/b&gt; reference" in page
    (folder / TRIALS / front[0] / AUDIT_FILE).write_text("{}")
    (problem,) = problems_of([read_sweep(folder)])
    assert audit_table(problem) is None


def test_an_audited_point_on_the_way_of_a_trial(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    name = "made-20260101-120000"
    config = sweep_config(SPACE, storage={"path": str(tmp_path)}, tracking={"experiment": "audits"})
    folder = tmp_path / "sweeps" / name
    records = [made_record(i, config, point, folder) for i, point in enumerate(points(config))]
    best = StepPoint(4, {**records[0].measures, "forget_quality": 1.0, "retain_utility": 1.0})
    records[0] = replace(records[0], points=[best])
    place = folder / TRIALS / "0000@4"
    place.mkdir(parents=True)
    (place / RUN_FILE).write_text(yaml.safe_dump(records[0].candidates[1].configuration))
    fill(tmp_path, config, name=name, experiment="audits", records=records)
    assert [trial.trial_id for trial in read_sweep(folder).summary.front] == ["0000@4"]
    write_audit(place, made_audit())
    deliver(folder, {"0000@4": made_audit()}, Console())

    assert not (folder / REFUSED_FILE).exists()
    (sweep,) = MlflowReader.open(uri_of(tmp_path), tmp_path).sweeps(name=name)
    for source in (sweep, read_sweep(folder)):
        assert [trial.trial_id for trial in source.trials] == [record.trial_id for record in records]
        durabilities = {t.trial_id: t.measures.get("durability") for t in source.summary.candidates}
        assert {name for name, value in durabilities.items() if value is not None} == {"0000@4"}
        (problem,) = problems_of([source])
        table = audit_table(problem)
        assert table is not None
        assert [row.durable for row in table.rows] == ["yes"]
    assert decide(folder, [("min", "durability", 0.5)]) == 0
    assert "0000@4" in capsys.readouterr().out


def test_a_front_point_without_its_model_is_one_line(tmp_path: Path) -> None:
    fill(tmp_path, sweep_config(SPACE), name="made-1", experiment="gone")
    with pytest.raises(ConfigError, match=r"has no model\.safetensors; run \d+ again"):
        subjects_of(str(tmp_path / "sweeps" / "made-1"))
