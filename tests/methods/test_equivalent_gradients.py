"""The public function."""

import pytest
import torch
from gradient_pairs import flat, normal

from hamu_ray.methods import METHODS, equivalent_gradients


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_are_like_the_inputs(name, dtype):
    r, f = ([part.to(dtype) for part in normal(seed)] for seed in (1, 2))
    before = [part.clone() for part in r]
    gradients, _ = equivalent_gradients(name, r, f, lr=1e-3, constraint_ratio=0.5)
    assert all(g.dtype == dtype and g.shape == x.shape for g, x in zip(gradients, r, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(r, before, strict=True))
    assert not any(g.requires_grad for g in gradients)


def test_sgd_turns_them_into_the_step():
    r, f = normal(1), normal(2)
    gradients, decision = equivalent_gradients("hamu-q", r, f, lr=1e-2, constraint_ratio=0.5)
    parameters = [torch.nn.Parameter(torch.zeros_like(part)) for part in r]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    torch.optim.SGD(parameters, lr=1e-2).step()
    gained = sum((part * p.detach()).sum() for part, p in zip(f, parameters, strict=True))
    assert gained >= decision.constraint.total * (1 - 1e-5)


def test_memory_order_and_graph_do_not_matter():
    r, f = [torch.randn(4, 3).t()], [torch.randn(3, 4).requires_grad_()]
    gradients, _ = equivalent_gradients("gdiff", r, f, lr=1.0)
    torch.testing.assert_close(gradients[0], 0.5 * r[0] - 0.5 * f[0].detach())


@pytest.mark.parametrize("name", METHODS)
def test_clipping_comes_first(name):
    r, f = normal(1, 3.0), normal(2, 0.1)
    options = dict(lr=1e-3, constraint_ratio=0.5)
    clipped = [[part * min(1.0, 1 / (flat(g).norm().item() + 1e-6)) for part in g] for g in (r, f)]
    expected, _ = equivalent_gradients(name, *clipped, **options)
    actual, _ = equivalent_gradients(name, r, f, clip_norm=1.0, **options)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "default"), [("hamu-q", 0.25), ("hamu-u", 0.8)])
def test_the_constraint_has_the_method_s_default(name, default):
    steps = [
        equivalent_gradients(name, normal(1), normal(2), lr=1e-3, **options)[0]
        for options in ({}, {"constraint_ratio": None}, {"constraint_fraction": default})
    ]
    assert all(torch.equal(flat(step), flat(steps[0])) for step in steps[1:])


@pytest.mark.parametrize("name", ["gdiff", "pcgrad"])
def test_the_retain_weight_moves_the_step(name):
    r, f = [torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 2.0])]  # no conflict between r and -f
    gradients, _ = equivalent_gradients(name, r, f, lr=1.0, retain_weight=0.8)
    torch.testing.assert_close(gradients[0], torch.tensor([0.8 + 0.2, -0.4]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": "gdiff", "retain_weight": 1.5},
            "retain_weight must be a finite number at least 0 and at most 1",
        ),
        ({"method": "hamu"}, "method must be one of"),
        ({"retain": []}, "at least one, found 0 and 4"),
        ({"forget": normal(2)[:3]}, "found 4 and 3"),
        (
            {"forget": [part.reshape(-1) for part in normal(2)]},
            r"retain\[0\] and forget\[0\] must have the same shape",
        ),
        ({"forget": [part.double() for part in normal(2)]}, r"forget\[0\] must have the dtype"),
        ({"constraint": 1.0}, "give one of constraint, constraint_ratio, constraint_fraction, found"),
        ({"lr": 0.0}, "lr must be a finite number above 0"),
        ({"radius": "auto"}, "radius must be"),
        ({"radius": -1.0}, "radius must be"),
        ({"granularity": "layer"}, "granularity must be"),
    ],
)
def test_wrong_input_is_named(change, message):
    arguments = dict(method="hamu-q", retain=normal(1), forget=normal(2), lr=1e-3, constraint_ratio=0.5)
    with pytest.raises(ValueError, match=message):
        equivalent_gradients(**{**arguments, **change})


def test_methods_that_differ_in_their_losses_alone_are_documented_as_that():
    """Given the same gradients they are gdiff; the docstring says so, and which losses the caller differentiates."""
    same = [name for name in METHODS if METHODS[name].weighting is METHODS["gdiff"].weighting]
    assert same == ["gdiff", "kl", "npo", "simnpo", "dpo", "salun", "rmu", "bad-teacher", "jensun"]
    steps = [
        equivalent_gradients(name, normal(1), normal(2), lr=1e-3, retain_weight=0.3)[0]
        for name in [*same, "scrub"]
    ]
    for step in steps[1:]:
        assert all(torch.equal(one, other) for one, other in zip(step, steps[0], strict=True))
    documented = " ".join((equivalent_gradients.__doc__ or "").split())
    names = [f'``"{name}"``' for name in same[1:]]
    sentence = f'{", ".join(names[:-1])} and {names[-1]} use the weighting of ``"gdiff"``'
    assert sentence in documented
    assert "with gradients of the cross-entropy they equal gdiff" in documented
    assert "pass the gradients of ``METHODS[method].retain`` and ``.forget``" in documented


@pytest.mark.parametrize("name", ["constrain", "trust_region", "target", "remaining"])
def test_unknown_options_are_refused(name):
    with pytest.raises(TypeError, match=f"unknown option {name}"):
        equivalent_gradients("hamu-q", normal(1), normal(2), lr=1e-3, **{name: 0.5})
