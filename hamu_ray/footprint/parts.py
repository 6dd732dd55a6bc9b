"""Memory of one worker by part: arithmetic on shapes, and the peaks of the passes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from hamu_ray.config.training import OptimizerConfig
from hamu_ray.config.workers import WorkersConfig
from hamu_ray.pairing.exchange import default_strategy
from hamu_ray.tasks.layers import blocks_of

FLOAT32 = 4
"""Bytes of an element of weights that change, of their gradients and of the optimizer's state."""

FIXED = {"gpu": 0.3e9, "host": 0.6e9}
"""Bytes of a worker that depend on no model: chunks of Gram matrices and workspaces; the private memory of Python with
its libraries, whose files all processes share: 440 MB for images, 558 MB with transformers and peft.
"""


@dataclass(frozen=True)
class Pass:
    """A computation whose memory is free again afterwards."""

    name: str
    measure: Callable[[], int]
    """Returns its peak in bytes; slow the first time."""
    key: str | None = None
    """Key of the configuration that limits its examples, if one does."""
    examples: int = 0
    """Number of its examples."""

    @property
    def size(self) -> int:
        """Its peak in bytes."""
        return self.measure()


@dataclass(frozen=True)
class Footprint:
    """Memory of one worker in a phase of a run."""

    phase: str
    """What the worker does, such as ``unlearning with hamu-u``."""
    parameters: int
    """Number of the model's parameters."""
    trained: int
    """Number of those that change."""
    held: Mapping[str, int]
    """Bytes of what is held throughout, by name."""
    passes: Sequence[Pass]
    """What is computed in turn."""

    @property
    def base(self) -> int:
        """Bytes of what is held throughout."""
        return sum(self.held.values())

    @property
    def largest(self) -> Pass:
        """The pass that needs the most."""
        return max(self.passes, key=lambda each: each.size)

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return self.base + self.largest.size


def elements(tensors: Sequence[Tensor], shards: int) -> int:
    """Return how many elements the largest shard has of tensors, each cut along its first dimension."""
    return sum(-(-tensor.shape[0] // shards) * math.prod(tensor.shape[1:]) for tensor in tensors)


def weights_of(model: nn.Module, shards: int) -> dict[str, int]:
    """Return the bytes of a worker's trained and frozen weights, and buffers."""
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    return {
        "trained weights": FLOAT32 * elements(trained, shards),
        "frozen weights": sum(p.itemsize * elements([p], shards) for p in frozen)
        + sum(buffer.nbytes for buffer in model.buffers()),
    }


def gathered(model: nn.Module) -> int:
    """Return the bytes that a sharded model takes beside its shards while it computes.

    These are two layers, since the next one is fetched ahead, and the parameters outside of layers, with their
    gradients.
    """

    def whole(parameters: Sequence[nn.Parameter]) -> int:
        return sum(p.nbytes + (FLOAT32 * p.numel() if p.requires_grad else 0) for p in parameters)

    layers = [list(layer.parameters()) for layer in blocks_of(model).values()]
    inside = {id(parameter) for layer in layers for parameter in layer}
    outside = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    return 2 * max(map(whole, layers), default=0) + whole(outside)


def optimizer_bytes(config: OptimizerConfig, count: int) -> int:
    """Return the bytes of an optimizer's state of this many weights."""
    if config.name == "adamw":
        return 2 * FLOAT32 * count
    return FLOAT32 * count if config.momentum else 0


def updated(workers: WorkersConfig, count: int) -> int:
    """Return how many of the ``count`` weights that a worker holds it updates itself."""
    replicas = workers.count // workers.shards
    return -(-count // replicas) if strategy_of(workers) == "segments" else count


def strategy_of(workers: WorkersConfig) -> str:
    """Return how a run's gradients are exchanged."""
    replicas = workers.count // workers.shards
    return "all_gather" if replicas == 1 else workers.exchange or default_strategy(replicas)


def exchange_bytes(workers: WorkersConfig, roles: int, count: int) -> int:
    """Return what an exchange allocates in bytes: received gradients and their sums, for ``count`` weights of a worker.

    ``roles`` is the number of objectives. A wire in bfloat16 is decoded beside what was received.
    """
    replicas = workers.count // workers.shards
    if replicas == 1:
        return 0
    is_low, segment = workers.wire == "bfloat16", -(-count // replicas)
    sums = roles * FLOAT32 * (segment if strategy_of(workers) == "segments" else count)
    sums = sums if replicas > roles else 0
    if strategy_of(workers) == "all_gather":
        return replicas * count * (FLOAT32 + 2 * is_low) + sums
    received = count * (FLOAT32 + 4 * is_low)
    return received + sums + FLOAT32 * (count + segment)  # the last are the updated weights, gathered
