"""Names of a model's parts in a configuration, checked on the model without weights."""

from collections.abc import Iterable, Iterator
from itertools import islice

from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError, first_line
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.planning import configured
from hamu_ray.methods.objectives import Layer
from hamu_ray.pairing.support import named_masks
from hamu_ray.tasks.layers import block_at
from hamu_ray.tasks.registry import outline_of

DECIDES_PARTS = (
    "method.name",
    "method.forget_objective",
    "method.layer",
    "support.",
    "model.",
    "training.parameters",
    "data.",
)
"""Prefixes of the keys that name parts of a model, and that the model depends on."""

MOST_VARIANTS = 256
"""Maximum number of a sweep's combinations that are checked."""


def check_named_parts(runs: Iterable[RunConfig], source: str | None = None) -> None:
    """Check that the models of runs have the layers that `support.names` and `method.layer` name.

    A model that is known only once it is loaded is left to the run. ``source`` is the runs' file, for errors.

    Raises:
        ConfigError: A model lacks one; one line with the key.
    """
    models: dict[str, nn.Module | None] = {}
    for run in runs:
        layer = layer_of(run)
        if run.support.kind != "layers" and layer is None:
            continue
        key = run.model_dump_json(include={"data", "model", "training"})
        if key not in models:
            models[key] = _model_of(run)
        model = models[key]
        if model is None:
            continue
        try:
            if run.support.kind == "layers":
                named_masks(model, run.support.names)
            if layer is not None:
                block_at(model, layer)
        except ValueError as error:
            raise ConfigError(f"{f'{source}: ' if source else ''}{first_line(error)}") from error


def layer_of(run: RunConfig) -> Layer | None:
    """Return the block whose outputs a run's forget objective sees; None if it sees none."""
    forget = configured(run.method).forget
    return None if forget is None else forget.layer


def named_part_variants(config: SweepConfig) -> Iterator[RunConfig]:
    """Yield the runs of a sweep that may name other parts, up to a limit."""
    return islice(config.variants(DECIDES_PARTS), MOST_VARIANTS)


def _model_of(run: RunConfig) -> nn.Module | None:
    try:
        return outline_of(run).build(True)
    except Exception:  # the code of models may raise anything on the meta device
        return None
