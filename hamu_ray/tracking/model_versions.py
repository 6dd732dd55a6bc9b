"""Models of a sweep in MLflow's model registry. Files are registered unchanged: nothing is pickled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
