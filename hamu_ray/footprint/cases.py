"""The runs of a sweep that a dry run looks at."""

from collections.abc import Iterable, Iterator
from itertools import islice

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.tasks.forecast import Forecast

DECIDES_MEMORY = (
    "method.name",
    "method.forget_objective",
    "method.trust_region",
    "method.saliency",
    "support.",
    "model.",
    "batch.",
    "optimizer.",
    "training.",
    "evaluation.",
    "workers.",
)
"""Prefixes of the keys that the memory of a run depends on, besides those of its data."""

MOST_VARIANTS = 64
"""Maximum number of a sweep's combinations that are estimated."""

Case = tuple[RunConfig, Forecast | None]
"""A run, and the forecast of its data; None if that is not known."""


def cases_of(
    config: SweepConfig,
    known: Iterable[Case],
    prefixes: tuple[str, ...] = DECIDES_MEMORY,
    limit: int = MOST_VARIANTS,
) -> Iterator[Case]:
    """Yield the runs of a sweep that differ in keys with these prefixes, with each of its data and forget sets.

    At most ``limit`` combinations of these keys are taken. ``known`` are runs with the sets; those of the same sizes
    count once.
    """
    sets: dict[str, Case] = {}
    for run, forecast in known:
        sides = forecast.splits.items() if forecast else ()
        sizes = [(name, side.examples, side.longest) for name, side in sides]
        sets.setdefault(f"{run.data.model_dump_json()} {sizes}", (run, forecast))
    for variant in islice(config.variants(prefixes), limit):
        for run, forecast in sets.values():
            yield variant.model_copy(update={"data": run.data, "forget": run.forget}), forecast


def with_fewer_workers(run: RunConfig, forecast: Forecast | None) -> Iterator[Case]:
    """Yield a run, and the same with the fewest workers that it may go on with, each of which has more to do.

    Three sizes, because one or two copies of a model need other buffers for the exchange than more do: where passes are
    small, each of two workers may need more than a single one, and each of three more than of two.
    """
    yield run, forecast
    for workers in run.workers.sizes()[1:][-3:]:
        yield run.model_copy(update={"workers": workers}), forecast
