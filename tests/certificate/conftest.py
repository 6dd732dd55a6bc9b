"""Fixtures of certificates: a made run and a key."""

from functools import partial
from pathlib import Path

import pytest
from made_run import Make, made


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a run's folder, with changes to configuration, outcome and provenance."""
    return partial(made, tmp_path)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a new private key."""
    from hamu_ray.certificate.keys import new_key

    new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"
