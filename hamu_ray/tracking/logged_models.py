"""Models of a sweep in MLflow: listed with their metrics, and in the registry. Nothing is pickled."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MODEL_TYPE = "unlearned"
"""The type by which MLflow finds models of ours among others."""


def log(
    client: "MlflowClient",
    run: "Run",
    name: str,
    step: int,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
) -> None:
    """List a model that a run made at a step, once, with its metrics; set its tags.

    MLflow has metrics of models in the history of their run, too. Those that are the run's last values have their time:
    of two such values it keeps one. Others are of a model on the run's way, measured again: they have the time of the
    run's start, so that what the run itself logged at the step counts as the later, and a second listing adds none.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    name = re.sub(r"""[/:.%"']""", "_", name)  # MLflow rejects these
    experiment, run_id = run.info.experiment_id, run.info.run_id
    condition = f"name = '{name}' AND source_run_id = '{run_id}'"
    for model in client.search_logged_models([experiment], filter_string=condition):
        if model.status == "READY":
            client.set_logged_model_tags(model.model_id, dict(tags))
            return
        client.delete_logged_model(model.model_id)  # its listing broke off
    model = client.create_logged_model(experiment, name, run_id, dict(tags), model_type=MODEL_TYPE)
    last = {(one.key, one.step, repr(one.value)): one.timestamp for one in run.to_proto().data.metrics}
    values = []
    for key, value in metrics.items():
        at = last.get((key, step, repr(value)), run.info.start_time)
        values.append(Metric(key, value, at, step, model_id=model.model_id, run_id=run_id))
    client.log_batch(run_id, metrics=values)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    client.finalize_logged_model(model.model_id, "READY")


def register(client: "MlflowClient", name: str, run_id: str, folder: str, tags: Mapping[str, str]) -> str:
    """Register a folder of a run's artifacts as a version of a model, once; return the version.

    The source must be within the run's artifacts, because servers accept no other.
    """
    _make_model(client, name)
    for version in client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"):
        return str(version.version)
    source = f"runs:/{run_id}/{folder}"
    return str(client.create_model_version(name, source, run_id, dict(tags)).version)


def _make_model(client: "MlflowClient", name: str) -> None:
    """Create the registered model unless it exists. Another process may create it at the same time."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException:
        client.get_registered_model(name)  # raises if the reason is a different one
