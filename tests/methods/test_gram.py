"""The two passes over the parameters, and clipping without a pass."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.methods import Blocks, clip_gram, combine, gram_matrix
from hamu_ray.methods.gram import _CHUNK_ELEMENTS, _TILE_ELEMENTS

CHUNK = _CHUNK_ELEMENTS["cpu"]
LENGTHS = [
    (7,),
    (3, 0, 5),
    (0, 4, 0),
    (_TILE_ELEMENTS, _TILE_ELEMENTS + 1, 1),
    (10, CHUNK, 3, 2 * CHUNK + 17, 0, 5),
    (CHUNK,),
]


def pair(total: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(total)
    return torch.randn(2, total, generator=generator).to(dtype).unbind(0)


def by_definition(r: torch.Tensor, f: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    pairs = [
        torch.stack(views) for views in zip(r.double().split(lengths), f.double().split(lengths), strict=True)
    ]
    return torch.stack([both @ both.T for both in pairs])


@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: str(len(lengths)))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gram_is_that_of_each_block(lengths, dtype):
    r, f = pair(sum(lengths), dtype)
    gram = gram_matrix(r, f, Blocks(lengths))
    assert gram.dtype == torch.float64
    torch.testing.assert_close(gram, by_definition(r, f, lengths), rtol=1e-12, atol=1e-10)


def test_gram_entries_are_accumulated_in_float64():
    r = torch.full((100_000,), 1 / 3)
    expected = len(r) * (1 / 3 + (r[0].double() - 1 / 3)) ** 2
    gram = gram_matrix(r, r, Blocks((len(r),)))
    torch.testing.assert_close(gram, expected.expand(1, 2, 2), rtol=1e-13, atol=0)


def test_gram_is_deterministic():
    r, f = pair(3 * CHUNK)
    blocks = Blocks((CHUNK + 3, 2 * CHUNK - 3))
    assert torch.equal(gram_matrix(r, f, blocks), gram_matrix(r, f, blocks))


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    cuts=st.lists(st.floats(0, 1), max_size=4),
)
def test_segments_sum_to_the_whole(lengths, cuts):
    blocks = Blocks(tuple(lengths))
    r, f = pair(blocks.total)
    bounds = [0, *sorted(round(cut * blocks.total) for cut in cuts), blocks.total]
    segments = [(a, b, blocks.segment(a, b)) for a, b in pairwise(bounds)]
    assert all(part.total == b - a and part.count == blocks.count for a, b, part in segments)
    partial = sum(gram_matrix(r[a:b], f[a:b], part) for a, b, part in segments)
    torch.testing.assert_close(partial, gram_matrix(r, f, blocks), rtol=1e-12, atol=1e-12)
    weights = torch.randn(blocks.count, 2, dtype=torch.float64)
    parts = torch.cat([combine(weights, r[a:b], f[a:b], part) for a, b, part in segments])
    assert torch.equal(parts, combine(weights, r, f, blocks))


def test_model_granularity_is_one_block():
    shapes = [torch.Size((2, 3)), torch.Size(()), torch.Size((0, 4)), torch.Size((5,))]
    assert Blocks.from_shapes(shapes, "tensor").lengths == (6, 1, 0, 5)
    assert Blocks.from_shapes(shapes, "model").lengths == (12,)


@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: str(len(lengths)))
def test_combine_weighs_each_block(lengths):
    blocks = Blocks(lengths)
    r, f = pair(blocks.total)
    weights = torch.randn(blocks.count, 2, dtype=torch.float64)
    parts = zip(weights, r.split(lengths), f.split(lengths), strict=True)
    expected = torch.cat([(a * x.double() + b * y.double()).float() for (a, b), x, y in parts])
    torch.testing.assert_close(combine(weights, r, f, blocks), expected, rtol=1e-7, atol=0)
    out = r.clone()
    assert combine(weights, out, f, blocks, out=out) is out
    torch.testing.assert_close(out, expected, rtol=1e-7, atol=0)


def test_combine_holds_weights_beyond_float32():
    r, f = torch.zeros(3), torch.full((3,), 1e-20)
    result = combine(torch.tensor([[0.0, 1e45]], dtype=torch.float64), r, f, Blocks((3,)))
    torch.testing.assert_close(result, torch.full((3,), 1e25))


def test_combine_does_not_hide_what_is_not_finite():
    r, f = torch.tensor([1.0, float("nan")]), torch.tensor([float("inf"), 1.0])
    result = combine(torch.tensor([[1.0, 0.0]], dtype=torch.float64), r, f, Blocks((2,)))
    assert result.isnan().all()


@pytest.mark.parametrize("max_norm", [None, 1e-3, 1.0, 1e6])
def test_clipping_is_that_of_torch(max_norm):
    blocks = Blocks((5, 20, 1))
    r, f = pair(blocks.total)
    r, f = r.double(), 3 * f.double()
    clipped = []
    for flat in (r, f):
        parameter = torch.nn.Parameter(flat.clone())
        parameter.grad = flat.clone()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_([parameter], max_norm)
        clipped.append(parameter.grad)
    gram, scales = clip_gram(gram_matrix(r, f, blocks), max_norm)
    torch.testing.assert_close(gram, gram_matrix(*clipped, blocks), rtol=1e-12, atol=0)
    weights = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(
        combine(weights * scales, r, f, blocks), combine(weights, *clipped, blocks), rtol=1e-12, atol=1e-14
    )


def test_errors_name_the_remedy():
    blocks = Blocks((4,))
    flat = torch.zeros(4)
    with pytest.raises(ValueError, match=r"retain must be a flat .* 4 elements.* \(5,\)"):
        gram_matrix(torch.zeros(5), flat, blocks)
    with pytest.raises(ValueError, match=r"forget must be a flat .*int64"):
        gram_matrix(flat, flat.long(), blocks)
    with pytest.raises(ValueError, match=r"weights must have shape \(1, 2\), found \(2,\)"):
        combine(torch.zeros(2), flat, flat, blocks)
    with pytest.raises(ValueError, match="out must have shape"):
        combine(torch.zeros(1, 2), flat, flat, blocks, out=torch.zeros(3))
    with pytest.raises(ValueError, match=r"segment must lie within 0\.\.4"):
        blocks.segment(2, 5)
    with pytest.raises(ValueError, match="max_norm must be above 0"):
        clip_gram(torch.zeros(1, 2, 2), 0.0)
    with pytest.raises(ValueError, match="granularity"):
        Blocks.from_shapes([torch.Size((2,))], "layer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        Blocks.from_shapes([], "tensor")


def test_blocks_are_values():
    assert copy.deepcopy(Blocks((1, 2))) == Blocks((1, 2))
    assert hash(Blocks((1, 2))) == hash(Blocks((1, 2)))
