"""What the schema cannot know, checked before anything expensive starts: storage, tracking, data."""

from hamu_ray.config.run import RunConfig


def check_run(run: RunConfig, source: str) -> None:
    """Check a run's surroundings; raises `ConfigError`."""
