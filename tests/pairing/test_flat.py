import pytest
import torch
from torch import nn

from hamu_ray.pairing.flat import FlatParameters


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)
    ).to(memory_format=torch.channels_last)


def test_the_model_computes_with_the_flat_values() -> None:
    model, images = small_model().eval(), torch.randn(2, 3, 8, 8)
    before = model(images)
    flat = FlatParameters(model)
    assert torch.equal(model(images), before)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        flat.values.zero_()
    assert torch.equal(model(images), torch.zeros_like(before))


def test_backward_fills_the_buffer_as_autograd_would() -> None:
    model, images = small_model(), torch.randn(2, 3, 8, 8)
    expected = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    flat = FlatParameters(model)
    gradient = flat.gradient()
    for _ in range(2):  # the second time into a used buffer
        gradient.reset()
        loss = model(images).square().sum()
        loss.backward()
        gradient.add_loss(loss)
    for parameter, exact in zip(flat.parameters, expected, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.untyped_storage().data_ptr() == gradient.buffer.untyped_storage().data_ptr()
        torch.testing.assert_close(parameter.grad, exact)
    torch.testing.assert_close(gradient.buffer[-1], loss.detach())


def test_frozen_and_tied_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    assert FlatParameters(model).names == ["0.weight", "1.bias"]


def test_a_parameter_with_gaps_in_memory_leaves_its_neighbours_alone() -> None:
    """Every second column of a larger tensor, and a transposed one, between two ordinary ones."""
    model = nn.ParameterList(
        [
            torch.randn(3),
            torch.randn(4, 6)[:, ::2],
            torch.randn(2, 5).t(),
            torch.randn(2, 2, 2),
            torch.randn(7),
        ]
    )
    before = [parameter.detach().clone() for parameter in model]
    flat = FlatParameters(model)
    assert all(torch.equal(parameter, value) for parameter, value in zip(model, before, strict=True))
    assert model[2].stride() == (1, 5), "a dense parameter keeps its memory order"
    gradient = flat.gradient()
    gradient.reset()
    (loss,) = (sum((i * parameter).sum() for i, parameter in enumerate(model, start=1)),)
    loss.backward()
    assert sorted(gradient.buffer[:-1].tolist()) == sorted(
        float(i) for i, parameter in enumerate(model, start=1) for _ in range(parameter.numel())
    )


def test_a_parameter_whose_elements_share_memory_is_refused() -> None:
    model = nn.ParameterList([torch.randn(3), torch.randn(1, 4).expand(3, 4)])
    with pytest.raises(ValueError, match=r"parameter 1 of shape \(3, 4\).*clone"):
        FlatParameters(model)
