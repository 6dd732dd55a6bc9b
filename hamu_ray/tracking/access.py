"""Access to an experiment of an MLflow store: finding or creating it, checking that it can be written, and refusals.

A server with accounts refuses what a user may not do. This is told apart from a server that does not respond: waiting
does not help, a permission does.
"""

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.document import first_line
from hamu_ray.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
"""MLflow's environment variables with an account."""

DENIALS = {"PERMISSION_DENIED": 403, "UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401}
"""MLflow's codes of errors that say that an account is missing or may not do something."""

CHECK = "write check"
"""Name and kind of the run that is written to see whether it can be, and deleted."""

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The tag by which MLflow's UI shows an experiment as one about training, not about generative AI."""


def find_or_create(client: "MlflowClient", name: str, artifacts: Path | None) -> str:
    """Return the experiment's id. Another process may create it at the same time."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifacts.as_uri() if artifacts else None, KIND))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise error
    if found.lifecycle_stage != "active":
        remedy = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise ValueError(f"it was deleted; use another name, or:  {remedy}")
    return str(found.experiment_id)


def write_and_delete(client: "MlflowClient", experiment_id: str) -> None:
    """Write a run with a metric, and delete it; raises what MLflow raises.

    Who may write runs need not be allowed to delete them: the run then stays, and is written again the next time.
    """
    left = client.search_runs([experiment_id], f"tags.kind = '{CHECK}'", max_results=1)
    tags = {"kind": CHECK}
    run = (left[0] if left else client.create_run(experiment_id, tags=tags, run_name=CHECK)).info.run_id
    client.log_metric(run, "check", 1.0)
    client.set_terminated(run)
    try:
        client.delete_run(run)
    except Exception as error:  # mlflow and requests raise many unrelated types
        if denial(error) != 403:
            raise


def denial(error: BaseException) -> int | None:
    """Return the HTTP status of an error that refuses access, 401 or 403; None for other errors."""
    status = getattr(getattr(error, "response", None), "status_code", None)  # of files
    return status if status in DENIALS.values() else DENIALS.get(getattr(error, "error_code", None) or "")


def cannot(do: str, experiment: str, uri: str, error: Exception) -> ValueError:
    """Return an error with one line on why an experiment cannot be used, and the remedy if access is refused."""
    where = f"MLflow experiment {experiment!r} in {store.shown(uri)}"
    user = os.environ.get(USER)
    match denial(error):
        case 401:
            account = f"the account of {USER} and {PASSWORD}" if user else "requests without an account"
            return ValueError(f"cannot {do} {where}: the server refuses {account} (401); set both variables")
        case 403:
            return ValueError(
                f"cannot {do} {where}: the server refuses it to {user or 'this user'} (403); ask for the permission "
                "EDIT on the experiment, or set tracking.experiment to one of your own"
            )
    return ValueError(f"cannot {do} {where}: {without_credentials(first_line(error))}")


def user_name() -> str:
    """Return the name of this process's user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())
