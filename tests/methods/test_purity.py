"""What `hamu_ray.methods` must not use, except for its adapter to torchjd: other libraries, and synchronisation."""

import ast
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from gradient_pairs import SHAPES, flat, normal

import hamu_ray.methods
from hamu_ray.methods import (
    FORGET_OBJECTIVES,
    METHODS,
    Blocks,
    Context,
    Predictions,
    agreement,
    clip_gram,
    combine,
    forget_objective,
    gram_matrix,
    next_scale,
    promised_changes,
)
from hamu_ray.methods.objectives import kl_to_original

FILES = sorted(Path(hamu_ray.methods.__file__).parent.rglob("*.py"))
ADAPTER = "torchjd_weightings.py"
PURE = [path for path in FILES if path.name != ADAPTER]
WAITING_METHODS = {"item", "tolist", "cpu", "numpy", "nonzero", "synchronize"}
WAITING_CALLS = {"float", "bool", "int"}


def waiting_calls(path: Path) -> tuple[set[str], set[str]]:
    """Return the synchronising calls in a file: methods, and functions."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    methods = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    functions = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    return methods & WAITING_METHODS, functions & WAITING_CALLS


def imported(path: Path) -> set[str]:
    """Return the packages that a file imports, without the standard library."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names.add(module.split(".")[0])
            assert not module.startswith("hamu_ray.") or f"{module}.".startswith("hamu_ray.methods.")
    return names - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_nothing_waits_for_the_device(path):
    assert waiting_calls(path) == (set(), set())


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_imports_are_torch_and_the_standard_library(path):
    assert imported(path) <= {"torch", "hamu_ray"}


def test_the_adapter_copies_all_blocks_to_the_host_at_once():
    (path,) = set(FILES) - set(PURE)
    assert waiting_calls(path) == ({"cpu"}, set())
    assert path.read_text().count(".cpu()") == 1
    assert imported(path) == {"torch", "hamu_ray", "torchjd"}


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
@pytest.mark.parametrize("split", ["grad_norm", "exact"])
@pytest.mark.parametrize("name", METHODS)
def test_a_whole_step_never_synchronises_but_for_torchjd(name, split):
    blocks = Blocks.from_shapes(SHAPES, "tensor")
    retain, forget = flat(normal(1)).cuda(), flat(normal(2)).cuda()
    rate = torch.tensor(1e-3, device="cuda")
    scale = torch.ones((), dtype=torch.float64, device="cuda")
    losses, options = torch.ones(2, device="cuda"), {"constraint_ratio": 0.5, "constraint_split": split}
    record = METHODS[name].hyperparameters.of({**options, "infeasible": "best_effort"})
    state = METHODS[name].initial_state(record, scale.device)

    def step() -> dict[str, torch.Tensor]:
        gram, scales = clip_gram(gram_matrix(retain, forget, blocks), 1.0)
        context = Context(lr=rate, hyperparameters=record, losses=losses, state=state)
        decision = METHODS[name].weighting(gram, context).scaled(scale)
        combine(decision.weights * scales, retain, forget, blocks)
        promised = promised_changes(gram, decision.weights, rate)
        found = {**decision.totals(), "finite": decision.finite, "blocks": decision.per_block}
        if decision.constraint is not None:
            agreed = agreement(promised, promised, promised, gram, decision.constraint)
            found |= {"scale": next_scale(scale, agreed), "within": decision.within_guarantee}
            found |= {"criterion": decision.exact_criterion_met}
        return found

    step()  # copies the index tensors to the device
    torch.cuda.synchronize()
    waits = pytest.raises(RuntimeError, match="synchronizing") if name.startswith("jd-") else nullcontext()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with waits:
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [*FORGET_OBJECTIVES, "kl_to_original"])
def test_a_loss_never_synchronises_and_repeats_itself(name):
    objective = kl_to_original if name == "kl_to_original" else forget_objective(name)
    logits, original = torch.randn(2, 500, 50, device="cuda").unbind(0)
    examples = torch.arange(500, device="cuda") // 9
    labels = examples % 50

    def gradient() -> torch.Tensor:
        leaf = logits.clone().requires_grad_()
        objective.loss(Predictions(leaf, labels, examples, 56, original)).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    first = gradient()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = gradient()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first, again)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu_and_repeats_itself():
    blocks = Blocks((5, 3_000_000, 0, 2_000_001))
    retain, forget = torch.randn(2, blocks.total).unbind(0)
    expected = gram_matrix(retain, forget, blocks)
    actual = gram_matrix(retain.cuda(), forget.cuda(), blocks)
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-11, atol=1e-6)
    assert torch.equal(actual, gram_matrix(retain.cuda(), forget.cuda(), blocks))
