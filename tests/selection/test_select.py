"""The command that selects a point of a front, on a sweep's folder."""

import argparse
import json
import sys
from pathlib import Path

import pytest
import yaml

from hamu_ray import select
from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import REPORTS_FILE, TRIALS, read_records, write_record
from hamu_ray.results.outcome import Report, dump_reports
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.selection.confirm import SUFFIX, confirming_sweep
from hamu_ray.selection.confirmation import check_seeds
from hamu_ray.tracking.outbox import Outbox
from tests.runs import small_run

POINTS = [(0.2, 0.99), (0.6, 0.95), (0.9, 0.8), (0.99, 0.5), (0.5, 0.5)]
"""The last is not on the front."""
COLLAPSED = (1.0, 0.999)
REFERENCE = {"forget_quality": 1.0, "retain_utility": 0.98}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweeps" / "small-20260101-120000"
    space = {"optimizer.learning_rate": {"loguniform": [1e-3, 1e-1]}, "seed": {"grid": [41, 42]}}
    config = SweepConfig.model_validate(small_run(tmp_path, space=space))
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True))
    )
    for i, (quality, utility) in enumerate([*POINTS, COLLAPSED]):
        parameters = {"optimizer.learning_rate": 0.01 * (i + 1), "seed": 41 + i % 2}
        name = f"{i:04d}"
        place = folder / TRIALS / name
        record = TrialRecord(
            name,
            Status.FINISHED if i < len(POINTS) else Status.COLLAPSED,
            parameters,
            config.resolve(parameters).model_dump(mode="json"),
            {"forget_quality": quality, "retain_utility": utility},
            original={"forget_quality": 0.0, "retain_utility": 1.0},
            reference=REFERENCE,
            reason="all steps taken",
            model_path=str(place / "model.safetensors"),
            steps=6,
            steps_outside_guarantee=i,
        )
        write_record(folder, record)
        history = {"gradient_cosine": [0.5, -0.25 - i / 100], "forget_norm": [1.0, 1.0]}
        (place / REPORTS_FILE).write_bytes(
            dump_reports([Report("unlearning", 6, 6, history=history, history_steps=[5, 6])])
        )
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["select", *arguments])
    return select.main()


@pytest.mark.parametrize(
    ("bounds", "trial"),
    [
        (["--min-retain-utility", "0.9"], "0001"),
        (["--min-retain-utility", "0.8"], "0002"),
        (["--min-forget-quality", "0.5"], "0001"),
        (["--min", "forget_quality=0.95"], "0003"),
        (["--min-forget-quality", "0.5", "--min-retain-utility", "0.9"], "0001"),
        ([], "0002"),
    ],
)
def test_the_point_that_meets_the_bound(sweep, bounds, trial, monkeypatch, capsys):
    assert run(monkeypatch, str(sweep), "--json", *bounds) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["trial"] == trial
    assert document["configuration"] == str(sweep / TRIALS / trial / "run.yaml")
    assert document["reference"] == REFERENCE
    assert document["hardness"] == {"gradient_cosine": pytest.approx(-0.25 - int(trial) / 100)}
    near = {other["trial"] for other in document["neighbours"]}
    assert near == {f"{i:04d}" for i in (int(trial) - 1, int(trial) + 1) if 0 <= i < 4}


def test_what_a_person_reads(sweep, monkeypatch, capsys):
    assert run(monkeypatch, str(sweep), "--min-retain-utility", "0.9") == 0
    text = capsys.readouterr().out
    for words in (
        "0001 lr 0.02 seed 42: meets retain_utility >= 0.9",
        "promise  not guaranteed: 1 of 6 steps outside the method's guarantee",
        "model.safetensors",
        "python -m hamu_ray.unlearn",
        "next     trial 0002 lr 0.03 seed 41: gains 0.3000 forget_quality, pays 0.1500 retain_utility",
        "next     trial 0000 lr 0.01 seed 41: pays 0.4000 forget_quality, gains 0.0400 retain_utility",
        "hardness gradient cosine -0.2600 at the last step",
    ):
        assert words in text
    assert "gap to it" in text


def constrain(sweep: Path, constraints: dict) -> None:
    path = sweep / "sweep.yaml"
    document = yaml.safe_load(path.read_text())
    document["search"] = {**document.get("search", {}), "constraints": constraints}
    path.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("constraints", "bounds", "trial"),
    [
        ({"retain_utility": {"min": 0.9}}, [], "0001"),
        ({"retain_utility": {"max": 0.9}}, [], "0003"),
        ({"retain_utility": {"min": 0.9}}, ["--min-forget-quality", "0.1"], "0001"),
        ({"retain_utility": {"min": 0.9}}, ["--min-retain-utility", "0.4"], "0003"),
        ({"retain_utility": {"min": 0.6, "max": 0.9}}, ["--min-retain-utility", "0.8"], "0002"),
        ({"retain_utility": {"max": 0.75}}, ["--min-retain-utility", "0.7"], None),
        ({"retain_utility": {"min": 0.9}}, ["--min-forget-quality", "0.9"], None),
        ({"retain_utility": {"min": 0.995}}, [], None),
        ({"mia_auc": {"max": 0.5}}, [], None),
    ],
)
def test_the_constraints_of_the_search_are_the_floor(sweep, constraints, bounds, trial, monkeypatch, capsys):
    """A bound on the same side of the same metric replaces them."""
    constrain(sweep, constraints)
    assert run(monkeypatch, str(sweep), "--json", *bounds) == (trial is None)
    captured = capsys.readouterr()
    if trial is None:
        assert "no point of the front meets" in captured.err
        assert next(iter(constraints)) in captured.err
    else:
        assert json.loads(captured.out)["trial"] == trial


def test_no_point_meets_the_bound(sweep, monkeypatch, capsys):
    assert run(monkeypatch, str(sweep), "--min-retain-utility", "0.995") == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "no point of the front meets retain_utility >= 0.995" in line
    assert "trial 0000" in line
    assert "retain_utility 0.99" in line


def test_a_bound_on_what_an_audit_found(sweep, monkeypatch, capsys):
    """The best in the other objectives of those that are as durable; what was not audited is not."""
    with pytest.raises(ConfigError, match="no model of this sweep was audited; run"):
        run(monkeypatch, str(sweep), "--min", "durability=0.5")
    outbox = Outbox(sweep)
    for trial, durability in {"0000": 0.9, "0001": 0.8, "0002": 0.1}.items():
        outbox.log_metrics(trial, {"durability": durability})
    assert (
        run(monkeypatch, str(sweep), "--min", "durability=0.5", "--min-retain-utility", "0.9", "--json") == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["trial"] == "0001"
    assert found["measures"]["durability"] == 0.8
    assert found["bounds"] == {"durability": 0.5, "retain_utility": 0.9}
    assert run(monkeypatch, str(sweep), "--min", "durability=0.95") == 1
    assert "the nearest is trial 0000" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--max durability: more of it is better"):
        run(monkeypatch, str(sweep), "--max", "durability=0.5")
    for option in (["--confirm", "2"], ["--interpolate"]):
        with pytest.raises(ConfigError, match="only audited models have it"):
            run(monkeypatch, str(sweep), "--min", "durability=0.5", *option)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max", "retain_utility=0.9"], "more of it is better; give --min retain_utility=0.9"),
        (["--min", "retain_utilty=0.9"], "did you mean retain_utility"),
        (["--min", "retain_utility"], "give METRIC=VALUE"),
        (["--min", "retain_utility=0.9", "--min-retain-utility", "0.8"], "give one finite number"),
        (["--seeds", "44,x"], "whole numbers"),
        (["--seeds", "43,42"], "has already used 42; use another, such as 43"),
        (["--confirm", "0"], "1 or more"),
    ],
)
def test_mistakes(sweep, arguments, words, monkeypatch):
    with pytest.raises(ConfigError, match=words):
        run(monkeypatch, str(sweep), *arguments)


def test_the_newest_sweep_is_the_default(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no sweep in runs/sweeps"):
        run(monkeypatch)
    with pytest.raises(ConfigError, match="not a sweep's folder"):
        run(monkeypatch, "elsewhere")
    (tmp_path / "runs").symlink_to(tmp_path)
    assert run(monkeypatch) == 0
    assert "sweep    runs/sweeps/small-20260101-120000" in capsys.readouterr().out


def test_a_confirming_sweep_is_the_trial_with_other_seeds(sweep):
    config = load_sweep(sweep / "sweep.yaml")
    record = read_records(sweep)[1]
    again = confirming_sweep(config, record, check_seeds(3, None, {41, 42}))
    assert again.name == config.name + SUFFIX
    runs = [again.resolve(cell) for cell in again.cells()]
    assert [each.seed for each in runs] == [43, 44, 45]
    expected = {**record.configuration, "name": again.name}
    for each in runs:
        assert {**each.model_dump(mode="json"), "seed": record.configuration["seed"]} == expected


def test_the_options_stay():
    actions = [
        action for action in select.make_parser()._actions if not isinstance(action, argparse._HelpAction)
    ]
    names = {name for action in actions for name in action.option_strings or [action.dest]}
    assert names == {
        *("sweep", "--min-forget-quality", "--min-retain-utility", "--min", "--max", "--interpolate"),
        *("--confirm", "--seeds", "--push", "--dry-run", "--json"),
    }
