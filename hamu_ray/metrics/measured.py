"""Measures of a model by name."""

from collections.abc import Iterable, Mapping

DEFINITIONS = 2
"""Number of the definitions that measures are kept under. It rises with every change of what a metric or a value
behind it means; measures kept under another number are taken again."""

Measures = dict[str, float]
"""Names of metrics to their values; NaN (`hamu_ray.metrics.Undefined`) where a measure is not defined."""


class Measured(Measures):
    """Measures with values of single items behind them, which a comparison with another model needs."""

    def __init__(
        self,
        measures: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        per_item: Mapping[str, list[float]] | None = None,
    ) -> None:
        """Take the measures, and lists of numbers by name."""
        super().__init__(measures)
        self.per_item = dict(per_item or {})
