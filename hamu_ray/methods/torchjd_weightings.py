"""Weightings of the library torchjd, for the two tasks of descending the retain loss and ascending the forget
loss.

Installed with ``pip install "hamu-ray[torchjd]"`` and imported when such a method takes its first step. Unlike
the weightings of this package these wait for the device: torchjd's take one Gram matrix at a time, compare
numbers on the host, and hand some problems to solvers that run there. So all blocks' matrices are brought to
the host at once, weighted one after the other in float64, and all weights sent back. Measured on a CPU core,
a block takes 0.03 to 0.5 ms (MGDA up to 2 ms where it takes many iterations), with CAGrad's solver 4 to 11 ms.

The weights are torchjd's own, and so is their total: UPGrad's and DualProj's weights sum to 1 where nothing
conflicts and to more where something does, those of MGDA and IMTL-G to 1, CAGrad's to 1 + 0.5 |g0| / |gw| (0
where gw, the paper's, all but vanishes) and Aligned-MTL's to 1 or less. Between two of them, the same
learning rate is not the same length of a step.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.method import Method
from hamu_ray.methods.objectives import cross_entropy
from hamu_ray.methods.registry import INSTALL_TORCHJD, settings_of
from hamu_ray.methods.settings import StepSettings

if TYPE_CHECKING:
    from torchjd.aggregation import Weighting

_Options = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TorchjdWeighting:
    """A Gramian-based weighting of torchjd."""

    name: str
    """Of its class in `torchjd.aggregation`."""
    options: _Options = ()
    """What its constructor takes; the rest keeps torchjd's defaults."""

    def __call__(self, gram: Tensor, lr: float | Tensor, settings: StepSettings) -> Decision:
        """Return the weights that torchjd gives the rows r and -f of each block.

        The Gram matrix of (r, -f) is that of (r, f) with the off-diagonal negated, and weights (a, c) of (r,
        -f) are (a, -c) of (r, f). It is scaled to trace 1 first: no weighting here depends on the scale, but
        torchjd's guards against division by zero do, and would take a gradient of norm 0.01 for none.

        Args:
            gram: float64 ``(blocks, 2, 2)``, of the gradients of the two losses.
            lr: Not read.
            settings: Not read here; the granularity decided what the blocks are.

        Returns:
            The decision; branch `Branch.SOLVED` everywhere. Waits for the device.

        Raises:
            ImportError: If torchjd or a solver of its is not installed.
        """
        weighting = _load(self.name, self.options)
        signs = gram.new_tensor([1.0, -1.0])
        matrices = (gram * torch.outer(signs, signs)).cpu()
        trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
        # What is not finite is left to the decision to report: solvers raise errors over it.
        usable = torch.isfinite(matrices).all(-1, keepdim=True).all(-2, keepdim=True) & (trace > 0)
        scaled = torch.where(usable, matrices / trace, 0.0)
        weights = torch.stack([weighting(matrix) for matrix in scaled]).to(gram.device)
        branch = gram.new_full((len(gram),), Branch.SOLVED).long()
        return Decision(weights=weights * signs, gram=gram, branch=branch)


@lru_cache
def _load(name: str, options: _Options) -> "Weighting":
    """Return torchjd's weighting; imports torchjd."""
    try:
        from torchjd import aggregation

        return getattr(aggregation, name)(**dict(options))
    except ImportError as error:
        raise ImportError(f"torchjd's {name} needs packages that are not there: {INSTALL_TORCHJD}") from error


def _method(name: str, summary: str, source: str, weighting: TorchjdWeighting) -> Method:
    return Method(
        name=name,
        summary=summary,
        source=source,
        weighting=weighting,
        retain=cross_entropy,
        forget=cross_entropy,
        settings=settings_of(name),
    )


UPGRAD = _method(
    "jd-upgrad",
    "the mean of retain descent and forget ascent, each projected onto the steps that harm neither",
    "Quinton and Rey 2024, arXiv 2406.16232",
    TorchjdWeighting("UPGradWeighting"),
)

DUALPROJ = _method(
    "jd-dualproj",
    "the mean of retain descent and forget ascent, projected onto the steps that harm neither",
    "Lopez-Paz and Ranzato 2017, arXiv 1706.08840, as in Quinton and Rey 2024, arXiv 2406.16232",
    TorchjdWeighting("DualProjWeighting"),
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
