"""A sweep with rungs in real processes, killed while trials wait at rungs, and resumed."""

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hamu_ray.config.sources.files import load_run, load_sweep
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import CHECKPOINTS, MODEL_FILE, OUTBOX_FILE, RUN_FILE, read_records
from hamu_ray.results.outcome import Status, Verdict
from hamu_ray.results.reader import read_outbox
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.search.promotions import Promotions
from tests.sweep_processes import log_of, start, wait_until, write_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

RUNGS, STEPS, SAMPLES = (6, 12), 18, 4


def same_as_alone(record: TrialRecord, storage: Path, folder: Path) -> bool:
    """Whether a trial's weights and metrics are bitwise those of a single run up to its last step, from the start."""
    place = Path(record.model_path).parent
    run = load_run(place / RUN_FILE)
    pauses = (record.steps,) if record.status is Status.PRUNED else ()
    resident = Resident(storage, torch.device("cpu"))
    outcome = unlearn(run, resident, Alone(), folder, lambda report: Verdict.GO_ON, pauses)
    found, expected = load_file(place / MODEL_FILE), load_file(folder / MODEL_FILE)
    return (
        found.keys() == expected.keys()
        and all(torch.equal(found[name], expected[name]) for name in expected)
        and record.measures == pytest.approx(outcome.measures, abs=0, rel=0, nan_ok=True)
    )


def test_killed_while_trials_wait_every_trial_is_there_once(tmp_path: Path) -> None:
    search = {
        "samples": SAMPLES,
        "concurrent": 2,
        "scheduler": {"kind": "rungs", "reduction": 2, "steps": list(RUNGS)},
    }
    space = write_space(
        tmp_path,
        str(tmp_path / "runs"),
        search,
        workers={"count": 1, "cpus": 0.5},
        duration={"steps": STEPS},
        checkpoint={"every_steps": 4},
        evaluation={"every_steps": 3, "subset": 100},
        batch={"retain": 16, "forget": 16},
    )
    sweeps = tmp_path / "runs" / "sweeps"
    driver = start(space)
    wait_until(lambda: waiting(sweeps) >= 2, driver, space)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    (folder,) = sweeps.iterdir()
    before = {record.trial_id: record for record in read_records(folder)}
    assert start(space, "--resume").wait(timeout=900) == 0, log_of(space).read_text()

    records = read_records(folder)
    assert [record.trial_id for record in records] == [f"{number:04d}" for number in range(2 * SAMPLES)]
    assert before.items() <= {record.trial_id: record for record in records}.items()
    runs = read_outbox(folder)
    for record in records:
        assert (record.status, record.steps) in {(Status.FINISHED, STEPS)} | {
            (Status.PRUNED, step) for step in RUNGS
        }
        assert runs[record.trial_id].tags["status"] == record.status
        assert set(RUNGS) & set(range(record.steps + 1)) <= record.curve.keys()
        assert not (Path(record.model_path).parent / CHECKPOINTS).exists()
        assert same_as_alone(record, tmp_path / "runs", tmp_path / "alone" / record.trial_id)
    for method in ("hamu-q", "gdiff"):
        steps = sorted(r.steps for r in records if r.parameters["method.name"] == method)
        assert steps[-1] == STEPS
        assert steps[0] == RUNGS[0], "not all are continued"
    assert not Promotions(plan_sweep(load_sweep(space), folder)).waiting


def waiting(sweeps: Path) -> int:
    """The number of trials that wait at a rung."""
    logs = list(sweeps.glob(f"*/{OUTBOX_FILE}"))
    return sum(bool(run.tags.get("paused_at")) for run in read_outbox(logs[0].parent).values()) if logs else 0
