"""Whether the storage is one and the same seen from every node: by what is written there, not by the nodes' names."""

from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hamu_ray.config.files import ConfigError
from hamu_ray.storage import StoragePath, storage_path, write_atomically
from hamu_ray.workers.capacity import usable_nodes

ANSWER_SECONDS = 600.0
"""How long a node may take to install what a job brings along, start a process and answer."""

REMEDY = "give a folder that all nodes share, or a URL such as s3://bucket/runs, with --set storage.path=PATH"


def write_marker(place: StoragePath) -> str:
    """Write something that is nowhere else, and return it."""
    sign = uuid4().hex
    write_atomically(place, sign.encode())
    return sign


def sees(place: StoragePath, sign: str) -> bool:
    """Whether this process reads at a place what another wrote there."""
    try:
        return place.read_text() == sign
    except OSError:
        return False


def unseen(storage: str, node: str) -> str:
    """Return the complaint about a node whose storage is another than the driver's."""
    return f"storage.path: node {node} does not see in {storage} what other nodes write there; {REMEDY}"


def check_shared(storage: str) -> None:
    """Check that every node reads in the storage what this process writes, and the other way round.

    Raises:
        ConfigError: Some node has a storage of its own.
    """
    nodes = usable_nodes()
    if len(nodes) == 1:
        return
    folder = storage_path(storage) / f".shared-{uuid4().hex}"
    signs = {node["NodeID"]: uuid4().hex for node in nodes}
    sign = write_marker(folder / "driver")
    try:
        asked = [
            ray.remote(_answer)
            .options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            )
            .remote(str(folder), sign, node["NodeID"], signs[node["NodeID"]])
            for node in nodes
        ]
        for node, answer in zip(nodes, asked, strict=True):
            name = f"{node['NodeManagerAddress']}/{node['NodeID']}"
            try:
                problem = ray.get(answer, timeout=ANSWER_SECONDS)
            except ray.exceptions.RayError as error:
                if node["NodeID"] not in {other["NodeID"] for other in usable_nodes()}:
                    continue  # it left
                problem = str(error).splitlines()[0]
            if problem:
                raise ConfigError(f"storage.path: node {name} cannot use {storage}: {problem}; {REMEDY}")
            if not sees(folder / node["NodeID"], signs[node["NodeID"]]):
                raise ConfigError(unseen(storage, name))
    finally:
        for name in ("driver", *signs):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _answer(folder: str, sign: str, node: str, answer: str) -> str | None:
    """On a node: return why the storage cannot be used; leave no answer where the driver's sign is not there."""
    try:
        place = storage_path(folder)
        if sees(place / "driver", sign):
            write_atomically(place / node, answer.encode())
    except Exception as error:  # each of fsspec's file systems raises its own
        return f"{type(error).__name__}: {error}"
    return None
