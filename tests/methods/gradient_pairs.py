"""Difficult and random pairs of gradients, shared by the tests of all methods."""

import torch
from torch import Tensor

SHAPES = [torch.Size(shape) for shape in ((3, 4), (5,), (), (2, 2, 3))]

Pair = tuple[list[Tensor], list[Tensor]]


def normal(seed: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator) for shape in SHAPES]


def zeros() -> list[Tensor]:
    return [torch.zeros(shape) for shape in SHAPES]


def scaled(gradient: list[Tensor], scale: float) -> list[Tensor]:
    return [scale * part for part in gradient]


def flat(gradient: list[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in gradient])


def catalogue() -> dict[str, Pair]:
    r, f = normal(1), normal(2)
    one_block_gone = [r[0], torch.zeros_like(r[1]), *r[2:]], [f[0], f[1], torch.zeros_like(f[2]), f[3]]
    nearly = [a + 1e-4 * b for a, b in zip(r, f, strict=True)]
    return {
        "random": (r, f),
        "zero_retain": (zeros(), f),
        "zero_forget": (r, zeros()),
        "both_zero": (zeros(), zeros()),
        "zero_in_a_block": one_block_gone,
        "parallel": (r, scaled(r, 3.0)),
        "opposite": (r, scaled(r, -0.5)),
        "identical": (r, r),
        "nearly_parallel": (r, nearly),
        "nearly_opposite": (r, scaled(nearly, -1.0)),
        "huge": (scaled(r, 1e10), scaled(f, 1e10)),
        "enormous": (scaled(r, 1e15), scaled(f, 1e15)),
        "tiny": (scaled(r, 1e-10), scaled(f, 1e-10)),
        "minute": (scaled(r, 1e-20), scaled(f, 1e-20)),
        "minute_forget": (r, scaled(f, 1e-20)),
        "minute_retain": (scaled(r, 1e-20), f),
        "huge_against_tiny": (scaled(r, 1e10), scaled(f, 1e-10)),
        "huge_parallel": (scaled(r, 1e10), scaled(r, 3e10)),
    }
