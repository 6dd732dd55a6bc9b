"""Requests to stop a trial: an empty file each, in a folder of the sweep's."""

from pathlib import Path

STOPPING = "stopping"
"""In the sweep's folder: the trials that are to be stopped, an empty file each; the driver reads them."""


def request_stop(sweep: Path, trial: str) -> None:
    """Ask the driver of a sweep to stop a trial."""
    (sweep / STOPPING).mkdir(exist_ok=True)
    (sweep / STOPPING / trial).touch()


def stop_requests(sweep: Path) -> set[str]:
    """Return the trials that the driver of a sweep is asked to stop."""
    return {path.name for path in (sweep / STOPPING).glob("*")}


def remove_stop_request(sweep: Path, trial: str) -> None:
    """Remove a request that is fulfilled."""
    (sweep / STOPPING / trial).unlink(missing_ok=True)
