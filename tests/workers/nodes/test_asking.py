"""Processes whose import fails, as while Ray unpacks a job's files: another process imports again."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

MODULE = """
from pathlib import Path

left = Path(__file__).with_name("failures")
failures = int(left.read_text())
if failures:
    left.write_text(str(failures - 1))
    raise ImportError("half unpacked")


def answer(number):
    return number + 1


class Actor:
    def answer(self, number):
        return number + 1
"""


@pytest.fixture
def unpacked(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that this process has imported, and that fails in other processes as often as its file says."""
    (tmp_path / "half_unpacked.py").write_text(MODULE)
    (tmp_path / "failures").write_text("0")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("half_unpacked")
    del sys.modules["half_unpacked"]


def fails(module: ModuleType, times: int) -> dict[str, dict[str, str]]:
    """Let the next imports fail; return the environment in which processes find the module."""
    folder = Path(str(module.__file__)).parent
    (folder / "failures").write_text(str(times))
    return {"env_vars": {"PYTHONPATH": str(folder)}}


def test_another_process_imports_again(unpacked: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from hamu_ray.workers.nodes.asking import ATTEMPTS, ask_node
    from hamu_ray.workers.nodes.capacity import usable_nodes
    from hamu_ray.workers.nodes.shared_storage import cause_of

    (node,) = usable_nodes()
    remote = ray.remote

    def in_environment(**options: int) -> object:
        return remote(**options, runtime_env=environment)

    monkeypatch.setattr(ray, "remote", in_environment)
    environment = fails(unpacked, 2)
    assert ray.get(ask_node(node["NodeID"], unpacked.answer, 1)) == 2
    environment = fails(unpacked, ATTEMPTS)
    with pytest.raises(ray.exceptions.RayTaskError) as error:
        ray.get(ask_node(node["NodeID"], unpacked.answer, 1))
    assert cause_of(error.value) == "its process cannot import the project: ImportError: half unpacked"


def test_an_actor_is_created_again(unpacked: ModuleType) -> None:
    import ray

    from hamu_ray.workers.nodes.asking import start_ready

    environment = fails(unpacked, 2)
    actor = start_ready(ray.remote(unpacked.Actor).options(num_cpus=0, runtime_env=environment).remote)
    assert ray.get(actor.answer.remote(1)) == 2
    ray.kill(actor)
