"""What is said of errors on other nodes."""

import pytest
import torch
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError

from hamu_ray.workers.nodes.shared_storage import cause_of
from hamu_ray.workers.worker import gpu_problem


def test_a_remote_error_shows_its_cause() -> None:
    trace = "Traceback (most recent call last):\n  File ...\nModuleNotFoundError: No module named 'hamu_ray'"
    cause = ModuleNotFoundError("No module named 'hamu_ray'\nmore")
    error = RayTaskError(
        "_reply_on_node", trace, cause, proctitle="ray::_reply_on_node()", pid=1, ip="10.0.0.1"
    )
    assert "ray::" in str(error).splitlines()[0], "Ray's first line names the process alone"
    assert cause_of(error) == "ModuleNotFoundError: No module named 'hamu_ray'"


def test_an_error_of_ray_itself_shows_its_last_line() -> None:
    error = RuntimeEnvSetupError("unpacking failed\nOSError: No space left on device")
    assert cause_of(error) == "Failed to set up runtime environment.: OSError: No space left on device"
    assert cause_of(RayError("one line")) == "one line"
    assert cause_of(RayError()) == "RayError"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU can be used")
def test_a_gpu_that_torch_cannot_use_is_one_line() -> None:
    assert gpu_problem([], "10.0.0.1/a") == ""
    line = gpu_problem(["0"], "10.0.0.1/a")
    assert line.startswith("workers.gpus: node 10.0.0.1/a has a GPU that torch ")
    assert line.count("\n") == 0
    assert "driver" in line
