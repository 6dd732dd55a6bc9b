"""Location, availability and UI address of an MLflow store. Needs no mlflow."""

import os
import shlex
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit, urlunsplit
from urllib.request import urlopen
from uuid import uuid4

from filelock import FileLock

from hamu_ray.config.sources.credentials import without_credentials

PROBE_SECONDS = 2.0
UI_PORT = 5000
SQLITE = "sqlite:///"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
"""Environment variables of mlflow, unless set: no telemetry, no output, failure within a minute."""
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def quieten() -> None:
    """Set the environment variables in `QUIET`, before mlflow is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def store_uri(uri: str | None, storage_path: Path) -> str:
    """Return the given URI, or `MLFLOW_TRACKING_URI`, or that of a SQLite file in the storage path."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{storage_path / 'mlflow.db'}"
    return uri.rstrip("/")


def is_server(uri: str) -> bool:
    """Whether the store is a server, which manages its own artifact location."""
    return uri.startswith(("http://", "https://", "databricks"))


def shown(uri: str) -> str:
    """Return the URI without credentials."""
    return without_credentials(uri)


def probe(uri: str) -> None:
    """Check within seconds that a store responds and can be written; mlflow itself would retry for minutes.

    Raises:
        ValueError: It does not; one line.
    """
    try:
        if uri.startswith(("http://", "https://")):
            _probe_server(uri)
        elif uri.startswith(SQLITE):
            _probe_sqlite(sqlite_file(uri))
        elif host := urlsplit(uri).hostname:
            dialect = urlsplit(uri).scheme.partition("+")[0]
            if port := urlsplit(uri).port or DATABASE_PORTS.get(dialect):
                socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except (OSError, HTTPException, sqlite3.Error) as error:
        reason = str(getattr(error, "reason", "") or error)
        remedy = (
            "give another file" if uri.startswith(SQLITE) else "start it, or give no URI to use a SQLite file"
        )
        raise ValueError(f"cannot use the MLflow store {shown(uri)}: {reason}; {remedy}") from error


@contextmanager
def made_by_one(uri: str) -> Iterator[None]:
    """Lock a SQLite store while it is opened: two processes that create its tables at the same time would fail."""
    if not uri.startswith(SQLITE):
        yield
        return
    with FileLock(f"{sqlite_file(uri)}.lock"):
        yield


LAYOUT = {"workflowType": "machine_learning"}
"""The query that opens a page of MLflow's UI as one about training; a new browser starts with generative AI."""


def ui_address(uri: str) -> str:
    """Return the address of the UI: a server, or what `ui_command` starts."""
    return f"{_without_user(uri)}/" if is_server(uri) else f"http://127.0.0.1:{_free_port()}/"


def ui_command(uri: str, experiment_id: str) -> str:
    """Return the shell command that opens the MLflow UI on a store: a server's page, or a local UI."""
    if is_server(uri):
        page = f"{_without_user(uri)}/#/experiments/{experiment_id}/runs?{urlencode(LAYOUT)}"
        return shlex.join([sys.executable, "-m", "webbrowser", page])
    mlflow = "mlflow" if shutil.which("mlflow") else str(Path(sys.executable).with_name("mlflow"))
    # A URI with credentials comes from that variable; no other source allows them.
    store = shlex.quote(uri) if shown(uri) == uri else '"$MLFLOW_TRACKING_URI"'
    return f"{shlex.quote(mlflow)} ui --backend-store-uri {store} --port {_free_port()}"


def _without_user(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def sqlite_file(uri: str) -> Path:
    """Return the file of a SQLite store."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def is_missing(uri: str) -> bool:
    """Whether the store is a SQLite file that does not exist yet."""
    return uri.startswith(SQLITE) and not sqlite_file(uri).exists()


def _probe_server(uri: str) -> None:
    try:
        urlopen(f"{_without_user(uri)}/health", timeout=PROBE_SECONDS).close()
    except HTTPError as error:  # it responds; mlflow handles authentication
        if error.code >= 500:
            raise URLError(f"it answers {error.code} {error.reason}") from error


def _probe_sqlite(file: Path) -> None:
    """Lock a SQLite file; if there is none, another one in its folder, which is removed again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        other = file.with_name(f".{file.name}.{uuid4().hex}")
        try:
            _lock(other)
        finally:
            other.unlink(missing_ok=True)
        return
    _lock(file)


def _lock(file: Path) -> None:
    connection = sqlite3.connect(file, timeout=PROBE_SECONDS)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # another process is writing it, so it can be written
            raise
    finally:
        connection.close()


def _free_port() -> int:
    for port in range(UI_PORT, UI_PORT + 100):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) != 0:
                return port
    return UI_PORT
