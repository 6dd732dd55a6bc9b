"""The metrics that are reported besides those of the task."""

from typing import Literal

from hamu_ray.config.schema import Section


class MetricsConfig(Section):
    """Metrics by the conventions of other projects."""

    convention: Literal["openunlearning"] | None = None
    """`openunlearning`: language models are also measured by its conventions, under its names behind
    `openunlearning_`, for tables beside its leaderboards. Base models that are trained here are trained again for it;
    given ones are only measured again."""
