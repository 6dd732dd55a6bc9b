"""Activations of a model's layers, recorded while it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MOST_LAYERS = 24
"""Maximum number of layers that are recorded; of deeper models, evenly spaced ones."""

PENULTIMATE = "penultimate"
"""The name of the output layer's input."""

Pool = Callable[[Tensor], Tensor]
"""Maps a layer's output to float ``(examples, features)``."""


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the model's blocks by name, in order: the members of its outermost lists and sequences of modules."""
    found: dict[str, nn.Module] = {}

    def walk(module: nn.Module, path: str) -> None:
        is_sequence = isinstance(module, nn.ModuleList | nn.Sequential)
        for name, child in module.named_children():
            inner = f"{path}.{name}" if path else name
            if is_sequence:
                found[inner] = child
            else:
                walk(child, inner)

    walk(model, "")
    return found


def block_at(model: nn.Module, layer: int | str) -> nn.Module:
    """Return a block of the model: by its number from 0, or the one at 7/32 of the depth for ``early``.

    Raises `ValueError`, in one line, if it has none with this number.
    """
    found = list(blocks_of(model).values())
    number = 7 * len(found) // 32 if isinstance(layer, str) else layer
    if number >= len(found):
        raise ValueError(
            f"method.layer: must be below {len(found)}, the number of the model's blocks, found {layer}"
        )
    return found[number]


@contextmanager
def outputs_of(module: nn.Module | None) -> Iterator[list[Tensor]]:
    """Within, record the outputs of a module, if there is one; of several outputs the first."""
    found: list[Tensor] = []
    if module is None:
        yield found
        return

    def record(_: nn.Module, __: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    hook = module.register_forward_hook(record)
    try:
        yield found
    finally:
        hook.remove()


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the model's blocks by name, evenly spaced ones of many.

    For a model without blocks, the modules that have parameters of their own.
    """
    found = blocks_of(model)
    if len(found) < 2:
        found = {
            name: module
            for name, module in model.named_modules()
            if any(True for _ in module.parameters(False))
        }
    names = list(found)
    chosen = sorted({round(place) for place in torch.linspace(0, len(names) - 1, MOST_LAYERS).tolist()})
    return {names[place]: found[names[place]] for place in chosen} if names else {}


@contextmanager
def recorded(model: nn.Module, head: nn.Module | None, pool: Pool) -> Iterator[dict[str, list[Tensor]]]:
    """Within this context, record the pooled output of each layer of a model, and the input of its output layer.

    Yields lists by layer, one tensor on the CPU per forward pass; the last is `PENULTIMATE`, if there is a ``head``.
    """
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str, value: Any) -> None:
        output = value[0] if isinstance(value, tuple) else value
        if isinstance(output, Tensor) and output.is_floating_point():
            seen.setdefault(name, []).append(pool(output).float().cpu())

    def after(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: keep(name, output)

    hooks = [module.register_forward_hook(after(name)) for name, module in layers_of(model).items()]
    if head is not None:
        hooks.append(head.register_forward_pre_hook(lambda module, inputs: keep(PENULTIMATE, inputs)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def last_linear(model: nn.Module) -> nn.Module | None:
    """Return the last linear layer, which computes the logits of a classifier; None if there is none."""
    return next((module for module in reversed(list(model.modules())) if isinstance(module, nn.Linear)), None)


def pooled(output: Tensor) -> Tensor:
    """Return one vector per example: means over positions ``(n, positions, features)`` or pixels ``(n, f, h, w)``."""
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    return output.mean(dim=1) if output.ndim == 3 else output.flatten(1)
