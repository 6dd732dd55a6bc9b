"""What `hamu_ray.doctor --cluster` finds out about the running cluster: Ray, its nodes, their GPUs and the storage."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import ray

from hamu_ray.config.sources.document import first_line
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.results.wording import counted
from hamu_ray.storage import storage_path
from hamu_ray.workers.cluster import join_or_start
from hamu_ray.workers.nodes.asking import ask_node
from hamu_ray.workers.nodes.capacity import usable_nodes
from hamu_ray.workers.nodes.shared_storage import cause_of, check_shared, sees_marker, write_marker
from hamu_ray.workers.ray_private import pending_nodes, running_cluster

NODE_SECONDS = 120.0
"""Time limit for a node to start a process and respond."""

TORCH = """
import json, torch
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": torch.cuda.device_count()}))
"""


def check_up(storage: str) -> Iterator[Finding]:
    """Yield a finding for Ray, for each node and for the storage, as they are known. Starts no cluster."""
    address = os.environ.get("RAY_ADDRESS") or running_cluster()
    if address in (None, "local"):
        missing = "RAY_ADDRESS=local starts a cluster" if address else "no cluster runs on this machine"
        remedy = "set RAY_ADDRESS to the address of one, or submit this command with `ray job submit`"
        yield Finding("ray", f"{missing}; {remedy}", True)
        return
    try:
        join_or_start(lambda _: None)
    except ConfigError as error:
        yield Finding("ray", first_line(error), True)
        return
    try:
        yield ray_finding(address)
        yield from node_findings()
        yield storage_finding(storage)
    finally:
        ray.shutdown()


def ray_finding(address: str) -> Finding:
    """Describe the cluster."""
    requires_token = os.environ.get("RAY_AUTH_MODE") == "token"
    scales = pending_nodes() is not None
    text = ", ".join(
        [
            f"{ray.__version__} at {address}",
            "requires a token"
            if requires_token
            else "requires no token: whoever reaches its ports can run code in it",
            "adds nodes when trials wait" if scales else "has a fixed number of nodes",
        ]
    )
    return Finding("ray", text)


def node_findings() -> Iterator[Finding]:
    """Describe each node: its resources, and whether torch can use its GPUs."""
    nodes = usable_nodes()
    tasks = [ask_node(node["NodeID"], look) for node in nodes]
    for node, task in zip(nodes, tasks, strict=True):
        name, resources = f"{node['NodeManagerAddress']}/{node['NodeID'][-6:]}", node["Resources"]
        size = f"{name}: {resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
        try:
            found = ray.get(task, timeout=NODE_SECONDS)
        except ray.exceptions.RayError as error:
            yield Finding("node", f"{size}; {cause_of(error)}", True)
            continue
        yield describe_node(size, resources.get("GPU", 0), found)


def describe_node(size: str, gpus: float, found: dict[str, Any]) -> Finding:
    """Describe a node from what `look` returned there."""
    if "error" in found:
        return Finding("node", f"{size}; torch cannot be loaded: {found['error']}", True)
    driver = f", driver {found['driver']}" if found["driver"] else ""
    text = f"{size}; torch {found['torch']} for CUDA {found['cuda']}{driver}"
    if found["gpus"] < gpus:
        return Finding(
            "node", f"{text}: torch can use {found['gpus']} of the GPUs; update the driver or torch", True
        )
    return Finding("node", text)


def look() -> dict[str, Any]:
    """On a node, return versions of torch, CUDA and driver, and how many GPUs torch can use."""
    environment = {name: text for name, text in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    ended = subprocess.run(
        [sys.executable, "-c", TORCH], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        return {"error": (ended.stderr.strip().splitlines() or ["it ended without a message"])[-1]}
    return {**json.loads(ended.stdout), "driver": driver_version()}


def driver_version() -> str:
    """Return the version of this machine's NVIDIA driver; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    ended = subprocess.run(query, capture_output=True, text=True, check=False)
    return ended.stdout.split("\n")[0].strip() if ended.returncode == 0 else ""


def storage_finding(storage: str) -> Finding:
    """Write and read files of the storage from every node."""
    try:
        place = storage_path(storage) / ".doctor"
        try:
            if not sees_marker(place, write_marker(place)):
                return Finding("storage", f"{storage}: what is written is not read back", True)
        finally:
            with suppress(OSError):
                place.unlink(missing_ok=True)
        check_shared(storage)
    except Exception as error:  # fsspec's file systems raise many unrelated types
        return Finding("storage", first_line(error), True)
    return Finding("storage", f"{storage}: written and read by {counted(len(usable_nodes()), 'node')}")
