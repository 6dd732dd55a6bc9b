"""Check with marker files that all nodes see the same storage, which paths and host names do not show."""

from uuid import uuid4

import ray

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.storage import StoragePath, storage_path, write_atomically
from hamu_ray.workers.nodes.asking import ask_node
from hamu_ray.workers.nodes.capacity import usable_nodes

ANSWER_SECONDS = 600.0
"""Time limit for a node to install a job's environment, start a process and respond."""

FAILED_IMPORT = "failed to import on the worker"
"""In the message of Ray's error for a function whose module a process could not import; its last line has the cause."""

REMEDY = "give a folder that all nodes share, or a URL such as s3://bucket/runs, with --set storage.path=PATH"


def write_marker(place: StoragePath) -> str:
    """Write a random marker to a file and return it."""
    marker = uuid4().hex
    write_atomically(place, marker.encode())
    return marker


def sees_marker(place: StoragePath, marker: str) -> bool:
    """Return whether this process can read the marker that another process wrote to a file."""
    try:
        return place.read_text() == marker
    except OSError:
        return False


def not_shared(storage: str, node: str) -> str:
    """Return the error message for a node that does not see the storage of the others."""
    return f"storage.path: node {node} does not see the files that other nodes write to {storage}; {REMEDY}"


def cause_of(error: ray.exceptions.RayError) -> str:
    """Return the cause of a remote error in one line, instead of the process that Ray's first line names."""
    if isinstance(error, ray.exceptions.RayTaskError) and error.cause is not None:
        cause = str(error.cause).strip()
        if FAILED_IMPORT in cause:
            return f"its process cannot import the project: {cause.splitlines()[-1].strip()}"
        return f"{type(error.cause).__name__}: {cause}".splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join(dict.fromkeys([lines[0], lines[-1]])) if lines else type(error).__name__


def check_shared(storage: str) -> None:
    """Check that every node can read what this process writes to the storage, and vice versa.

    Raises:
        ConfigError: A node cannot use the storage, or sees a different one under the same path.
    """
    nodes = usable_nodes()
    if len(nodes) == 1:
        return
    folder = storage_path(storage) / f".shared-{uuid4().hex}"
    replies = {node["NodeID"]: uuid4().hex for node in nodes}
    marker = write_marker(folder / "driver")
    try:
        tasks = [
            ask_node(
                node["NodeID"], _reply_on_node, str(folder), marker, node["NodeID"], replies[node["NodeID"]]
            )
            for node in nodes
        ]
        for node, task in zip(nodes, tasks, strict=True):
            name = f"{node['NodeManagerAddress']}/{node['NodeID']}"
            try:
                problem = ray.get(task, timeout=ANSWER_SECONDS)
            except ray.exceptions.RayError as error:
                if node["NodeID"] not in {other["NodeID"] for other in usable_nodes()}:
                    continue  # the node has left the cluster
                problem = cause_of(error)
            if problem:
                raise ConfigError(f"storage.path: node {name} cannot use {storage}: {problem}; {REMEDY}")
            if not sees_marker(folder / node["NodeID"], replies[node["NodeID"]]):
                raise ConfigError(not_shared(storage, name))
    finally:
        for name in ("driver", *replies):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _reply_on_node(folder: str, marker: str, node: str, reply: str) -> str | None:
    """On a node, write a reply if the driver's marker exists; return an error if the storage cannot be used."""
    try:
        place = storage_path(folder)
        if sees_marker(place / "driver", marker):
            write_atomically(place / node, reply.encode())
    except Exception as error:  # fsspec's file systems raise different types
        return f"{type(error).__name__}: {error}"
    return None
