"""What `hamu_ray.methods` keeps out: other libraries, and anything that waits for the device."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gradient_pairs import SHAPES, flat, normal

import hamu_ray.methods
from hamu_ray.methods import METHODS, Blocks, StepSettings, clip_gram, combine, gram_matrix

FILES = sorted(Path(hamu_ray.methods.__file__).parent.glob("*.py"))
WAITING_METHODS = {"item", "tolist", "cpu", "numpy", "nonzero", "synchronize"}
WAITING_CALLS = {"float", "bool", "int"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_waits_for_the_device(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    methods = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    functions = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert not methods & WAITING_METHODS
    assert not functions & WAITING_CALLS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports_are_torch_and_the_standard_library(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names.add(module.split(".")[0])
            assert not module.startswith("hamu_ray.") or module.startswith("hamu_ray.methods.")
    assert names - set(sys.stdlib_module_names) <= {"torch", "hamu_ray"}


def test_importing_loads_no_framework():
    code = (
        "import sys, hamu_ray.methods;"
        "unwanted = {'ray', 'mlflow', 'optuna', 'pydantic', 'torchjd', 'hamu_ray.config'};"
        "print(sorted(unwanted & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_a_whole_step_never_synchronises(name):
    blocks = Blocks.from_shapes(SHAPES, "tensor")
    retain, forget = flat(normal(1)).cuda(), flat(normal(2)).cuda()
    rate = torch.tensor(1e-3, device="cuda")

    def step() -> dict[str, torch.Tensor]:
        gram, scales = clip_gram(gram_matrix(retain, forget, blocks), 1.0)
        decision = METHODS[name].weighting(gram, rate, StepSettings(constraint_ratio=0.5))
        combine(decision.weights * scales, retain, forget, blocks)
        return {**decision.totals(), "finite": decision.finite, "blocks": decision.per_block}

    step()  # The index tensors reach the device.
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu_and_repeats_itself():
    blocks = Blocks((5, 3_000_000, 0, 2_000_001))
    retain, forget = torch.randn(2, blocks.total).unbind(0)
    expected = gram_matrix(retain, forget, blocks)
    actual = gram_matrix(retain.cuda(), forget.cuda(), blocks)
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-11, atol=1e-6)
    assert torch.equal(actual, gram_matrix(retain.cuda(), forget.cuda(), blocks))
