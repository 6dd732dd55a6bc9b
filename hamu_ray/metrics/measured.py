"""Metrics of a model by name."""

from collections.abc import Iterable, Mapping

DEFINITIONS = 4
"""Version of the metric definitions. Increase it with every change of what a metric or a per-example value
means; metrics stored with another version are computed again."""

Measures = dict[str, float]
"""Names of metrics to their values; NaN (`hamu_ray.metrics.Undefined`) if a metric is undefined."""


class Measured(Measures):
    """Metrics together with values of single items, which comparisons with another model need."""

    def __init__(
        self,
        measures: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        per_item: Mapping[str, list[float]] | None = None,
    ) -> None:
        """Take the metrics, and lists of item values by name."""
        super().__init__(measures)
        self.per_item = dict(per_item or {})
