"""How many requests a trial costs MLflow's server, counted on the way to it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.key_paths import flatten
from hamu_ray.results.trial import Status
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tracking.requests import Batch
from tests.mlflow_gate import Gate, gated
from tests.runs import small_run

TRIALS, EVALUATIONS, STEPS = 4, 5, 16
"""Of each trial: evaluations, and steps between them."""
FILES = ("run.yaml", "provenance.json", "outcome.json", "hardness.npz")


def log_trial(outbox: Outbox, name: str, folder: Path) -> None:
    """Record a trial as the driver does."""
    run = RunConfig.model_validate(small_run(folder)).model_dump(mode="json")
    outbox.start_trial(name, "sweep", "hamu-q 0.1", flatten(run), {"status": "running", "sweep": "sweep"})
    for evaluation in range(EVALUATIONS):
        at = evaluation * STEPS
        outbox.log_metrics(name, {f"metric_{number}": at / 100 for number in range(12)}, at)
        steps = list(range(at + 1, at + STEPS + 1))
        outbox.log_history(name, {f"step_{number}": [float(s) for s in steps] for number in range(9)}, steps)
    outbox.log_metrics(name, {"trial_seconds": 9.0, "unlearning_seconds": 8.0}, EVALUATIONS * STEPS)
    (folder / name).mkdir(parents=True)
    for file in FILES:
        (folder / name / file).write_text(file)
    outbox.log_files(name, [folder / name / file for file in FILES])
    outbox.log_data(name, {"name": "digits"}, {"forget": {"digest": "0a1b", "examples": 3}})
    outbox.finish(name, Status.FINISHED, "all steps", {"on_front": "false", "node": "a"})


def requests_of_a_trial(gate: Gate, folder: Path) -> Counter[str]:
    """Deliver trials one after another, as far as each has ended, and count the requests of the last ones."""
    tracker = MlflowTracker.open(gate.uri, folder.name, folder)
    outbox = Outbox(folder / "sweep")
    delivery = Delivery(folder / "sweep", tracker, tracker.store)
    outbox.start_sweep("sweep", {"seed": 1})
    log_trial(outbox, "0000", folder / "files")
    delivery.send()
    gate.passed.clear()
    for number in range(1, TRIALS):
        log_trial(outbox, f"{number:04d}", folder / "files")
        delivery.send()
    return Counter(path.rpartition("/")[2] for path in gate.passed if "/mlflow-artifacts/" not in path)


@pytest.mark.timeout(300)
def test_a_trial_costs_few_requests(server: str, client: Any, tmp_path: Path) -> None:
    with gated(server) as gate:
        requests = requests_of_a_trial(gate, tmp_path)
        files = len(gate.passed) - requests.total()
    trials = TRIALS - 1
    assert files == trials * len(FILES)
    parameters = len(flatten(RunConfig.model_validate(small_run(tmp_path)).model_dump(mode="json")))
    batches = -(-parameters // 100)  # MLflow takes 100 parameters at once
    assert requests == {
        "create": trials,
        "log-batch": trials * batches,
        "log-inputs": trials,
        "update": trials,
    }
    tracker = MlflowTracker.open(gate.server, tmp_path.name, tmp_path)
    runs = client.search_runs([tracker.experiment_id], "tags.kind = 'trial'")
    assert len(runs) == TRIALS
    for run in runs:
        assert len(run.data.params) > 50
        assert run.data.tags["status"] == "finished"
        assert run.data.metrics["trial_seconds"] == 9.0
        history = client.get_metric_history(run.info.run_id, "step_0")
        assert sorted(metric.step for metric in history) == list(range(1, EVALUATIONS * STEPS + 1))


def test_parameters_are_not_lost_with_the_driver(server: str, client: Any, tmp_path: Path) -> None:
    """It died after it created a run, before it logged anything."""
    outbox = Outbox(tmp_path / "sweep")
    outbox.start_sweep("sweep", {"seed": 1})
    outbox.start_trial("0000", "sweep", "first", {"optimizer.learning_rate": 0.1})
    with gated(server) as gate:
        gate.refused["log-batch"] = 403
        tracker = MlflowTracker.open(gate.uri, "died", tmp_path)
        with pytest.raises(MlflowException):
            Delivery(tmp_path / "sweep", tracker, tracker.store).send()
        gate.refused = {}
        tracker = MlflowTracker.open(gate.uri, "died", tmp_path)
        Delivery(tmp_path / "sweep", tracker, tracker.store).send()
    runs = client.search_runs([tracker.experiment_id])
    assert sorted(list(run.data.params) for run in runs) == [["optimizer.learning_rate"], ["seed"]]


def test_a_large_batch_is_several_requests_within_the_limits() -> None:
    batch = Batch()
    metrics = [Metric(f"m{number}", 1.0, 0, 0) for number in range(2500)]
    batch.add(metrics, {str(number): "" for number in range(150)}, {"a": "1"})
    batch.add(tags={"a": "2"})
    requests = list(batch.requests())
    assert [sum(map(len, request.values())) for request in requests] == [1000, 1000, 651]
    assert [len(request["params"]) for request in requests] == [100, 50, 0]
    assert [tag.value for tag in requests[0]["tags"]] == ["2"]
    assert [metric for request in requests for metric in request["metrics"]] == metrics
