"""GPUs by what their data sheets say, and the time that work takes on them at least."""

from dataclasses import dataclass

from hamu_ray.footprint.compute.costs import Work

LAUNCH = 5e-6
"""Seconds that an operator takes at least until the next one can start: an assumption, low for eager PyTorch."""


@dataclass(frozen=True)
class GpuKind:
    """A kind of GPU: dense peaks without sparsity, at boost clock."""

    memory: int
    """In GB."""
    bandwidth: int
    """In GB/s."""
    float32: float
    """TFLOP/s outside of tensor cores."""
    tf32: float
    """TFLOP/s in TF32 with tensor cores; in float32 where there are none for it."""
    bfloat16: float
    """TFLOP/s in bfloat16 with sums in float32; in float32 where there are no tensor cores for it."""


GPUS: dict[str, GpuKind] = {
    "A10G": GpuKind(24, 600, 31.5, 35, 70),
    "A100": GpuKind(40, 1555, 19.5, 156, 312),
    "A100-40G": GpuKind(40, 1555, 19.5, 156, 312),
    "A100-80G": GpuKind(80, 2039, 19.5, 156, 312),
    "B200": GpuKind(180, 8000, 75, 1125, 2250),
    "H100": GpuKind(80, 3350, 67, 494.5, 989),
    "H200": GpuKind(141, 4800, 67, 494.5, 989),
    "L4": GpuKind(24, 300, 30.3, 60, 121),
    "L40S": GpuKind(48, 864, 91.6, 183, 362),
    "RTX-4090": GpuKind(24, 1008, 82.6, 82.6, 165.2),
    "T4": GpuKind(16, 320, 8.1, 8.1, 8.1),
    "V100": GpuKind(16, 900, 15.7, 15.7, 15.7),
}
"""By Ray's names for them, and the GeForce RTX 4090; of those with several sizes, the smallest.

Sources: NVIDIA's data sheets "A10G", "A100 Tensor Core GPU" (SXM), "HGX B200", "H100 Tensor Core GPU" (SXM), "H200
Tensor Core GPU" (SXM), "L4", "L40S", "T4" and "V100" (SXM2); for the RTX 4090 "NVIDIA Ada GPU Architecture", appendix
A. What a sheet gives with sparsity is halved.
"""

USUAL = ("H100", "A100-80G", "RTX-4090", "L4", "T4")
"""GPUs whose times are stated where none is given."""


def seconds_on(gpu: GpuKind, work: Work) -> float:
    """Return the time that work takes at least (Williams et al. 2009, the roofline model, for each operator).

    An operator waits for its arithmetic at the peak, for its bytes at the bandwidth, or for its launch, whichever takes
    longest. Tensors that stay in the GPU's cache, and fused operators, can be faster.
    """
    peaks = {unit: 1e12 * getattr(gpu, unit) for unit in ("float32", "tf32", "bfloat16")}
    return sum(
        times * max(operator.flops / peaks[operator.unit], operator.bytes / (1e9 * gpu.bandwidth), LAUNCH)
        for operator, times in work.calls.items()
    )
