"""The schema of a run's workers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hamu_ray.config.schema import Section

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class WorkersConfig(Section):
    """The Ray Train workers of one run."""

    count: PositiveInt = 2
    """1: both objectives in turn; even: half the workers for each objective."""
    min_count: PositiveInt | None = None
    """Fewest workers with which a run goes on if the cluster has lost the room for `count`: after
    `search.wait_for_nodes`, it continues from its last checkpoint with as many as fit.
    The numbers are the same up to the order of sums, except with dropout, `model.freeze_batchnorm: false` or a `wire`
    of bfloat16. null: it waits for `count`."""
    shards: PositiveInt = 1
    """Number of workers that hold one copy of a language model together, each a shard of every weight, gradient and
    optimizer state. `count` / `shards` copies share the objectives as workers do; with one copy (`count` = `shards`),
    its workers compute both objectives in turn. Base models are sharded, too. `auto` in a file of `tune` or `unlearn`:
    as few as fit the memory of the workers' device."""
    cpus: PositiveFloat = 1.0
    """CPUs per worker."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs per worker; a fraction lets several workers share one."""
    accelerator: str | None = Field(default=None, min_length=1)
    """Kind of GPU that the workers' nodes must have, by Ray's name, such as `A100`; null: any."""
    forget_workers: PositiveInt | None = None
    """Number of workers that compute the forget gradient; null: half of them."""
    exchange: Literal["all_gather", "segments"] | None = None
    """How gradients are exchanged; null: `all_gather` for two workers, `segments` for more."""
    wire: Literal["float32", "bfloat16"] = "float32"
    """Dtype of gradients sent between workers; bfloat16 halves the traffic and rounds the gradients."""

    @model_validator(mode="after")
    def _pairs(self) -> "WorkersConfig":
        counts = ("count", "min_count", "forget_workers")
        for name, number in ((name, getattr(self, name)) for name in counts):
            if number is not None and number % self.shards:
                raise ValueError(
                    f"{name}: must be a multiple of shards ({self.shards}), found {number}; use "
                    f"{number + -number % self.shards}, or set shards to 1"
                )
        copies = self.count // self.shards
        if self.forget_workers is None and copies > 1 and copies % 2:
            possible = (
                "1 or even" if self.shards == 1 else f"shards ({self.shards}) or an even multiple of it"
            )
            raise ValueError(
                f"count: must be {possible} (half of the workers compute each objective), found {self.count}; "
                f"use {self.count - self.shards} or {self.count + self.shards}, or set forget_workers"
            )
        if self.forget_workers is not None and not self.forget_workers < self.count:
            raise ValueError(
                f"forget_workers: must be fewer than count ({self.count}), found {self.forget_workers}"
            )
        if self.min_count is not None and self.min_count > self.count:
            raise ValueError(
                f"min_count: must be at most count ({self.count}), found {self.min_count}; lower it, or raise count"
            )
        if self.shards > 1 and 0 < self.gpus < 1:
            raise ValueError(
                "shards: workers that share a GPU cannot share a model (NCCL), found gpus "
                f"{self.gpus:g}; set gpus to 1, or shards to 1"
            )
        return self

    def sized(self, count: int) -> "WorkersConfig":
        """Return a group of fewer workers, a multiple of `shards`: the same part of them computes the forget gradient.

        Both objectives have at least one worker; a single worker, or a single copy in shards, computes them in turn.
        """
        if count == self.count:
            return self
        copies = count // self.shards
        forget_copies = max(copies * (self.forget_workers or self.count // 2) // self.count, 1)
        forget = forget_copies * self.shards if copies > 1 else None
        return self.model_copy(update={"count": count, "forget_workers": forget})

    def alone(self) -> "WorkersConfig":
        """Return a single worker with the same resources, which holds a whole model."""
        return self.model_copy(update={"count": 1, "shards": 1, "forget_workers": None, "min_count": None})

    def sizes(self) -> list["WorkersConfig"]:
        """Return the groups with which a run may go on, the largest first."""
        least = self.min_count or self.count
        return [self.sized(count) for count in range(self.count, least - 1, -self.shards)]
