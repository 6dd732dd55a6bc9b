"""The model between the points of a front, on a sweep's folder with real runs on the digits."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from hamu_ray import select
from hamu_ray.certificate.evidence import read_evidence
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.files.tensors import load_tensors
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import (
    CARD_FILE,
    INTERPOLATED,
    MODEL_FILE,
    MODELS,
    TRIALS,
    read_outcome,
    read_records,
    read_reports,
    write_record,
)
from hamu_ray.results.outcome import Verdict
from hamu_ray.results.provenance import labels_in, read_provenance
from hamu_ray.results.trial import TrialRecord
from tests.runs import small_run

RATES = (0.06, 0.15)
"""Of a trial that forgets a little, and of one that forgets more and keeps less."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


def made_sweep(storage: Path, name: str, rates: Sequence[float] = RATES, **sections: object) -> Path:
    """A sweep's folder with a real run for each learning rate."""
    folder = storage / "sweeps" / f"{name}-20260101-120000"
    space = {"optimizer.learning_rate": {"choice": list(rates)}}
    config = SweepConfig.model_validate(
        small_run(storage, space=space, method={"name": "gdiff", "constraint_ratio": None}, **sections)
    )
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True))
    )
    resident = Resident(storage, torch.device("cpu"))
    for number, rate in enumerate(rates):
        parameters = {"optimizer.learning_rate": rate}
        run = config.resolve(parameters)
        place = folder / TRIALS / f"{number:04d}"
        outcome = unlearn(run, resident, Alone(), place, lambda report: Verdict.GO_ON)
        bases = {report.phase: dict(report.measures) for report in read_reports(place)[:2]}
        record = TrialRecord(
            place.name,
            outcome.status,
            parameters,
            run.model_dump(mode="json"),
            dict(outcome.measures),
            **bases,
            reason=outcome.reason,
            model_path=str(place / MODEL_FILE),
            steps=outcome.steps,
            unlearning_seconds=outcome.seconds,
            evaluation_seconds=outcome.evaluation_seconds,
            gradient_computations=float(outcome.gradient_computations),
        )
        write_record(folder, record)
    return folder


@pytest.fixture(scope="module")
def sweep(storage: Path) -> Path:
    return made_sweep(storage, "small")


FLOOR = 0.935


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["select", *arguments])
    return select.main()


def interpolated(sweep, monkeypatch, capsys, *bounds: str) -> dict:
    assert run(monkeypatch, str(sweep), "--interpolate", "--json", *bounds) == 0
    return json.loads(capsys.readouterr().out)


def test_the_model_is_on_the_floor_and_a_complete_run(sweep, monkeypatch, capsys):
    assert run(monkeypatch, str(sweep), "--json", "--min", f"retain_utility={FLOOR}") == 0
    plain = json.loads(capsys.readouterr().out)
    found = interpolated(sweep, monkeypatch, capsys, "--min", f"retain_utility={FLOOR}")
    assert 0 <= found["measures"]["retain_utility"] - FLOOR <= 0.002
    assert found["measures"]["forget_quality"] > plain["measures"]["forget_quality"]
    assert found["interpolation"]["instead"] == plain["trial"] == "0000"
    assert found["interpolation"]["evaluations"] <= 24
    assert found["measures"].keys() == plain["measures"].keys(), "all metrics"
    assert found["interpolation"]["met_by"] == found["measures"]["retain_utility"] - FLOOR

    folder, at = Path(found["model"]).parent, found["interpolation"]["at"]
    assert folder.parent == sweep / INTERPOLATED
    outcome, provenance = read_outcome(folder), read_provenance(folder)
    assert outcome is not None
    assert outcome.measures == found["measures"]
    assert provenance is not None
    assert provenance.interpolation is not None
    assert provenance.interpolation.at == at
    assert f"{at:g} of the way" in (folder / CARD_FILE).read_text()
    assert "interpolation" in labels_in(folder)
    ends = [load_tensors(Path(end.place))[0] for end in provenance.interpolation.ends]
    weights = load_tensors(folder / MODEL_FILE)[0]
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.lerp(ends[0][name], ends[1][name], at))
    assert read_evidence(folder).provenance == provenance, "a certificate can be made of it"


def test_the_same_command_gives_the_same_model(sweep, monkeypatch, capsys):
    bound = ("--min", f"retain_utility={FLOOR}")
    first = interpolated(sweep, monkeypatch, capsys, *bound)
    content = Path(first["model"]).read_bytes()
    assert run(monkeypatch, str(sweep), "--interpolate", *bound) == 0
    text = capsys.readouterr().out
    assert Path(first["model"]).read_bytes() == content
    assert f"select {sweep} --min retain_utility={FLOOR} --interpolate\n" in text
    assert f"point    {first['trial']} lr 0.15: meets retain_utility >= {FLOOR}\n" in text
    assert f"model    {first['model']}\n" in text
    assert "instead  of trial 0000 lr 0.06" in text
    assert "bound  " not in text, "it is met closely"


def test_a_pushed_card_names_the_ends_without_paths(sweep, storage, monkeypatch, capsys):
    bound = ("--min", f"retain_utility={FLOOR}")
    assert run(monkeypatch, str(sweep), "--interpolate", *bound, "--push", "me/mixed", "--dry-run") == 0
    card = (sweep / "hub" / "me--mixed" / CARD_FILE).read_text()
    assert "the model between the points of the front" in card
    assert str(storage) not in card
    assert sweep.name not in card
    assert "of the way from model" in card


def test_without_the_option_nothing_speaks_of_it(sweep, monkeypatch, capsys):
    bound = ("--min", f"retain_utility={FLOOR}")
    assert run(monkeypatch, str(sweep), "--json", *bound) == 0
    assert "interpolation" not in json.loads(capsys.readouterr().out)
    assert run(monkeypatch, str(sweep), *bound) == 0
    text = capsys.readouterr().out
    assert f"trial    0000 lr 0.06: meets retain_utility >= {FLOOR}\n" in text
    assert "python -m hamu_ray.unlearn" in text
    assert "between" not in text


def test_statistics_of_batchnorm_that_moved_are_estimated(storage, monkeypatch, capsys):
    """Those of the trial are spoiled by its forget batches, so that the metrics jump at its end of the line."""
    sweep = made_sweep(storage, "moving", [0.3], model={"freeze_batchnorm": False})
    bound = ("--min", "retain_utility=0.925", "--interpolate")
    assert run(monkeypatch, str(sweep), *bound, "--json") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["interpolation"]["instead"] is None
    assert found["interpolation"]["met_by"] == found["measures"]["retain_utility"] - 0.925 > 0.002
    assert "none of the evaluated models on this line meets it by 0.002 or less" in printed.err
    provenance = read_provenance(Path(found["model"]).parent)
    assert provenance is not None
    assert provenance.interpolation is not None
    ends = [load_tensors(Path(end.place))[0] for end in provenance.interpolation.ends]
    weights = load_tensors(Path(found["model"]))[0]
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            on_line = torch.lerp(ends[0][name], ends[1][name], found["interpolation"]["at"])
            moved = name.endswith(("running_mean", "running_var"))
            assert torch.allclose(tensor, on_line, rtol=1e-4, atol=1e-6) != moved, name


def test_trials_behind_one_that_misses_a_constraint_on_another_metric_are_compared(
    storage, monkeypatch, capsys
):
    """It dominates them on the front without bounds, from which the lines start."""
    sweep = made_sweep(storage, "constrained", search={"constraints": {"test_accuracy": {"min": 0.6}}})
    values = [(0.99, 0.92, 0.5), (0.9, 0.91, 0.9)]
    for record, (quality, utility, accuracy) in zip(read_records(sweep), values, strict=True):
        changed = {"forget_quality": quality, "retain_utility": utility, "test_accuracy": accuracy}
        write_record(sweep, replace(record, measures={**record.measures, **changed}))
    assert run(monkeypatch, str(sweep), "--interpolate", "--min", "retain_utility=0.9") == 0
    text = capsys.readouterr().out
    assert "evaluated on 1 line that crosses the bound" in text
    assert "no model is better than the trials" in text
    assert "trial    0001" in text


def test_a_line_whose_ends_each_meet_another_of_two_bounds_is_searched(sweep, monkeypatch, capsys):
    first, second = (record.measures for record in read_records(sweep))
    quality = 0.7 * first["forget_quality"] + 0.3 * second["forget_quality"]
    bounds = {"forget_quality": quality, "retain_utility": FLOOR}
    options = [text for metric, value in bounds.items() for text in ("--min", f"{metric}={value!r}")]
    assert run(monkeypatch, str(sweep), *options) == 1, "no trial meets both"
    capsys.readouterr()
    found = interpolated(sweep, monkeypatch, capsys, *options)
    assert all(found["measures"][metric] >= value for metric, value in bounds.items())


def test_base_models_that_are_gone_are_trained_with_a_word(storage, sweep, monkeypatch, capsys):
    shutil.move(storage / MODELS, storage / "elsewhere")
    assert run(monkeypatch, str(sweep), "--interpolate", "--min", f"retain_utility={FLOOR}") == 0
    text = capsys.readouterr().out
    assert text.count("training the original model (") == 1
    assert text.count("training the reference model (") == 1


def test_trials_without_a_model_are_left_out(storage, monkeypatch, capsys):
    sweep = made_sweep(storage, "lost")
    for left, record in enumerate(read_records(sweep)):
        write_record(sweep, replace(record, model_path=""))
        if left == 0:
            assert run(monkeypatch, str(sweep), "--interpolate", "--min", f"retain_utility={FLOOR}") == 0
            assert f"left out trial {record.trial_id}: its model was not kept" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--interpolate needs models, and those of its front were not kept"):
        run(monkeypatch, str(sweep), "--interpolate", "--min", f"retain_utility={FLOOR}")


def test_mistakes(sweep, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="--interpolate: give the bound"):
        run(monkeypatch, str(sweep), "--interpolate")
    with pytest.raises(SystemExit):
        run(monkeypatch, str(sweep), "--interpolate", "--confirm", "2", "--min", "retain_utility=0.9")
    assert run(monkeypatch, str(sweep), "--interpolate", "--min", "retain_utility=0.999") == 1
    assert "no point of the front meets" in capsys.readouterr().out
