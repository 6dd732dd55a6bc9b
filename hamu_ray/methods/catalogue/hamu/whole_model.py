"""The split of the constraint over blocks with the least cost: one Lagrange multiplier for the whole model.

HAMU's problem for the whole model, with gradients r and f of every block i and its radius R,

    minimise  sum_i r_i.d_i   subject to   sum_i f_i.d_i >= B   and   |d_i| <= R_i  for every i

has the solution ``d_i(mu) = -R_i (r_i - mu f_i) / |r_i - mu f_i|`` with one multiplier mu >= 0 for all blocks. With the
unit vectors u = r/|r| and v = f/|f|, the cosine c and sine s of the angle between them, and x = mu |f|/|r|, the block's
gain as a fraction of its available gain is

    q(mu) = f.d / (R |f|) = (x - c) / sqrt((x - c)^2 + s^2)

which is non-decreasing in mu, from -c (the descent of r alone) to 1 (the ascent of f alone). The problem is thus to
find q for every block, its quota; HAMU's closed form (see `hamu_ray.methods.catalogue.hamu.weighting`) then gives the
block's step. mu is found by repeated sectioning: the sum of the gains is evaluated at many values of mu at once, and
the search continues between the neighbours that enclose the required sum. Interpolation between the quotas at the ends
of the last, narrow interval, with one ratio for all blocks, meets the required sum exactly. If nearly colinear blocks
jump from -1 to 1 within the interval, the interpolation distributes the jump; elsewhere the two ends nearly coincide.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor


_SECTIONS = 128
"""Number of intervals that a search interval is divided into; all their ends are evaluated at once."""
_ROUNDS = 5
_LOG_RANGE = 256.0
"""The multiplier is searched between exp(-256) and exp(256), a wider range than the ratios of float32 gradients. The
last interval is ``2 * 256 / 128^5 = 1.5e-8`` wide relative to mu, and interpolation costs at most a quarter of that
times ``mu * (difference of the gains) <= 2 sum_i R_i |r_i|`` more than the optimum.
"""
_START = math.exp(-_LOG_RANGE)
"""The low end of the whole range; it represents zero."""
_LEAST_NORM = 1e-200
_RATIOS = (1e-150, 1e150)
"""Range of |f|/|r|; zero gradients are clamped to its ends. Products with the multiplier stay finite."""
_LEAST = 1e-300
"""Replaces zero in denominators."""


@lru_cache(maxsize=8)
def _factors(device: torch.device) -> tuple[Tensor, ...]:
    """Return the factors on the low end of the interval in every round ``(tried, 1)``, and in the last step."""
    width = 2 * _LOG_RANGE
    steps = torch.arange(1, _SECTIONS, dtype=torch.float64).unsqueeze(-1)
    factors = []
    for _ in range(_ROUNDS):
        width /= _SECTIONS
        factors.append(torch.exp(width * steps))
    # A hundredth wider, so that rounding of the products cannot exclude a jump at the upper end.
    ends = torch.exp(1.01 * width * torch.arange(2, dtype=torch.float64).unsqueeze(-1))
    return tuple(factor.to(device) for factor in (*factors, ends))


def norm_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the ratio of two norms ``(blocks,)``, clamped if one of them is zero."""
    ratio = numerator.clamp(min=_LEAST_NORM) / denominator.clamp(min=_LEAST_NORM)
    return ratio.clamp(*_RATIOS)


def least_cost_quotas(
    ratio: Tensor, cosine: Tensor, sine: Tensor, available: Tensor, needed: Tensor
) -> Tensor:
    """Return every block's quota in each of several problems over the same blocks.

    Args:
        ratio: |f|/|r| of every block in every problem, ``(problems, blocks)`` float64; see `norm_ratio`.
        cosine: Cosine of the angle between the block's gradients ``(blocks,)``.
        sine: Sine of the same angle, not negative.
        available: R |f| ``(problems, blocks)``.
        needed: B of each problem ``(problems,)``, in the same units.

    Returns:
        ``(problems, blocks)`` float64 in -cosine..1. ``sum(quota * available)`` is B, or more if the descent of r alone
        gains more. If B exceeds what is available, all quotas are almost 1. Does not synchronise; the result is
        deterministic.
    """
    *factors, ends = _factors(available.device)
    turned, sine, ratio, column = -cosine, sine.clamp(min=_LEAST), ratio.unsqueeze(1), available.unsqueeze(2)
    needed = needed.view(-1, 1, 1)
    low = torch.full_like(needed, _START)
    for factor in factors:
        tried = low * factor
        ahead = torch.addcmul(turned, tried, ratio)
        gains = torch.bmm(ahead.div_(torch.hypot(ahead, sine)), column)
        low = torch.where(gains < needed, tried, low).amax(1, keepdim=True)
    tried = low * ends
    ahead = torch.addcmul(turned, tried, ratio)
    quotas = torch.where(tried <= _START, turned, ahead.div_(torch.hypot(ahead, sine)))
    lowest, highest = torch.bmm(quotas, column).unbind(1)
    part = (needed.squeeze(1) - lowest) / (highest - lowest).clamp(min=_LEAST)
    cheap, dear = quotas.unbind(1)
    return torch.lerp(cheap, dear, part.clamp(0.0, 1.0))


def cost_of_quotas(quotas: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Return ``r.d / (R |r|)`` of the cheapest steps of length R that gain the quotas, with the quotas' shape."""
    return cosine * quotas - sine * (1 - quotas.square()).clamp(min=0.0).sqrt()
