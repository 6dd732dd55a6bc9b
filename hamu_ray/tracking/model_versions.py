"""Models of a sweep in MLflow's model registry. Files stay what they are: nothing is pickled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register(client: "MlflowClient", name: str, run_id: str, folder: str, tags: Mapping[str, str]) -> str:
    """Make a folder of a run's artifacts a version of a registered model, once; return the version.

    The source lies within the run's artifacts, since servers take no other.
    """
    _make_model(client, name)
    for version in client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"):
        return str(version.version)
    source = f"runs:/{run_id}/{folder}"
    return str(client.create_model_version(name, source, run_id, dict(tags)).version)


def _make_model(client: "MlflowClient", name: str) -> None:
    """Make the registered model unless it is there. Another process may make it at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException:
        client.get_registered_model(name)  # raises where it is another reason
