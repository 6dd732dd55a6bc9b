"""Weightings of the library torchjd, for the two tasks of descending the retain loss and ascending the forget loss.

Installed with ``pip install "hamu-ray[torchjd]"`` and imported at the first step. Unlike the weightings of this
package, these synchronise with the device: torchjd processes one Gram matrix at a time, branches on the host, and uses
solvers on the host for some problems. All blocks' matrices are therefore copied to the host at once, weighted one after
another in float64, and the weights are copied back. On a CPU core, a block takes 0.03 to 0.5 ms (MGDA up to 2 ms if it
takes many iterations, CAGrad's solver 4 to 11 ms).

The weights, including their sum, are torchjd's: the weights of UPGrad and DualProj sum to 1 without conflict and to
more with conflict, those of MGDA and IMTL-G to 1, CAGrad's to 1 + 0.5 |g0| / |gw| (0 if the paper's gw nearly vanishes)
and Aligned-MTL's to 1 or less. The same learning rate thus gives steps of different lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Blockwise
from hamu_ray.methods.method import INSTALL_OPTIONAL, Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor
    from torchjd.aggregation import Weighting

_Options = tuple[tuple[str, float], ...]
_QUADPROG, _CVXPY = ("qpsolvers", "quadprog"), ("cvxpy", "clarabel")


@dataclass(frozen=True)
class TorchjdWeighting:
    """A Gramian-based weighting of torchjd."""

    name: str
    """Name of its class in `torchjd.aggregation`."""
    options: _Options = ()
    """Constructor arguments that differ from torchjd's defaults."""

    def __call__(self, gram: Tensor, context: Context[Blockwise]) -> Decision:
        """Return torchjd's weights for the rows r and -f of each block.

        The Gram matrix of (r, -f) is that of (r, f) with negated off-diagonal entries, and weights (a, c) of (r, -f)
        are (a, -c) of (r, f). It is scaled to trace 1 first: the weightings are scale-invariant, but torchjd's guards
        against division by zero are not, and would treat a gradient of norm 0.01 as zero.

        Args:
            gram: float64 ``(blocks, 2, 2)``, of the gradients of the two losses.
            context: Not used here; the granularity has determined the blocks.

        Returns:
            The decision; branch `Branch.SOLVED` everywhere. Synchronises with the device.

        Raises:
            ImportError: If torchjd or one of its solvers is not installed.
        """
        weighting = _load(self.name, self.options)
        signs = gram.new_tensor([1.0, -1.0])
        matrices = (gram * torch.outer(signs, signs)).cpu()
        trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
        # Non-finite matrices are skipped, because solvers raise errors for them; the decision reports them.
        usable = torch.isfinite(matrices).all(-1, keepdim=True).all(-2, keepdim=True) & (trace > 0)
        scaled = torch.where(usable, matrices / trace, 0.0)
        weights = torch.stack([weighting(matrix) for matrix in scaled]).to(gram.device)
        branch = gram.new_full((len(gram),), Branch.SOLVED).long()
        return Decision(weights=weights * signs, gram=gram, branch=branch)


@lru_cache
def _load(name: str, options: _Options) -> Weighting:
    """Import torchjd and return its weighting."""
    try:
        from torchjd import aggregation

        return getattr(aggregation, name)(**dict(options))
    except ImportError as error:
        raise ImportError(
            f"torchjd's {name} needs packages that are not installed; install with {INSTALL_OPTIONAL}"
        ) from error


def _method(
    name: str, summary: str, source: str, weighting: TorchjdWeighting, solver: tuple[str, ...] = ()
) -> Method:
    return Method(
        name=name,
        summary=summary,
        source=source,
        weighting=weighting,
        retain=cross_entropy,
        forget=cross_entropy,
        hyperparameters=Blockwise,
        packages=("torchjd", *solver),
    )


UPGRAD = _method(
    "jd-upgrad",
    "the mean of retain descent and forget ascent, each projected onto the steps that harm neither",
    "Quinton and Rey 2024, arXiv 2406.16232",
    TorchjdWeighting("UPGradWeighting"),
    _QUADPROG,
)

DUALPROJ = _method(
    "jd-dualproj",
    "the mean of retain descent and forget ascent, projected onto the steps that harm neither",
    "Lopez-Paz and Ranzato 2017, arXiv 1706.08840, as in Quinton and Rey 2024, arXiv 2406.16232",
    TorchjdWeighting("DualProjWeighting"),
    _QUADPROG,
)

MGDA = _method(
    "jd-mgda",
    "the shortest of the averages of retain descent and forget ascent",
    "Desideri 2012; Sener and Koltun 2018, arXiv 1810.04650",
    TorchjdWeighting("MGDAWeighting"),
)

CAGRAD = _method(
    "jd-cagrad",
    "near the mean of retain descent and forget ascent, the step that serves the worse off most",
    "Liu et al. 2021, arXiv 2110.14048, with c = 0.5",
    TorchjdWeighting("CAGradWeighting", (("c", 0.5),)),
    _CVXPY,
)

ALIGNEDMTL = _method(
    "jd-alignedmtl",
    "the mean of retain descent and forget ascent, made orthogonal and equally long",
    "Senushkin et al. 2023, arXiv 2305.19000",
    TorchjdWeighting("AlignedMTLWeighting"),
)

IMTLG = _method(
    "jd-imtlg",
    "the combination with equal projections on retain descent and forget ascent",
    "Liu et al. 2021, ICLR, as in Quinton and Rey 2024, arXiv 2406.16232",
    TorchjdWeighting("IMTLGWeighting"),
)
