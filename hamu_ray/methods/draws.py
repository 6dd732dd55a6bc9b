"""Random numbers of examples: pure functions of a seed and an index, without a generator's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor, device

_INCREMENT, _FIRST, _SECOND = (
    number - (1 << 64) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)  # as signed integers, which wrap around in the same way


def mixed(values: Tensor) -> Tensor:
    """Return a well distributed random number for each integer, int64 of all 64 bits, of any shape and device.

    The same number for the same integer; it does not synchronise.

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014: SplitMix64.
    """
    found = values * _INCREMENT + _INCREMENT
    found = (found ^ _shifted(found, 30)) * _FIRST
    found = (found ^ _shifted(found, 27)) * _SECOND
    return found ^ _shifted(found, 31)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shift right, filling with zeros."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def seeds_of(examples: Tensor, seed: int, device: device) -> Tensor:
    """Return a seed for each example on a device, ``(k,)`` int64; it depends on its index and the run's seed alone.

    ``examples`` are indices on the CPU, int64 ``(k,)``. Does not synchronise.
    """
    found = mixed(examples ^ mixed(torch.full_like(examples, seed)))
    return (found.pin_memory() if device.type == "cuda" else found).to(device, non_blocking=True)


def uniform(seed: int, count: int, device: device) -> Tensor:
    """Return numbers in 0..1 on a device, ``(count,)`` float64: a function of the seed. Does not synchronise."""
    places = torch.arange(count, device=device)
    found = mixed(places ^ mixed(torch.full_like(places, seed)))
    return (found & ((1 << 53) - 1)).double() / (1 << 53)


def drawn(seeds: Tensor, streams: Tensor, below: int) -> Tensor:
    """Return a uniformly drawn integer in ``0..below - 1`` for each pair of a seed and a stream, int64 ``(k,)``."""
    return (mixed(seeds ^ mixed(streams)) & ((1 << 62) - 1)) % below
