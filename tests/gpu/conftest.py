"""What the tests of `scripts/gpu_check` share."""

import time
from pathlib import Path

import pytest
import torch

from scripts.gpu.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """This machine's CPU, with time enough."""
    return Machine(torch.device("cpu"), tmp_path, time.monotonic() + 600)
