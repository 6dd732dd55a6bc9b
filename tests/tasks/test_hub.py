from pathlib import Path

import datasets.config
import pytest
from huggingface_hub import constants

from hamu_ray.tasks.models.hub import hub_or_cache, is_local


def test_the_libraries_are_offline_only_within(offline: None) -> None:
    before = constants.HF_HUB_OFFLINE
    with hub_or_cache("owner/name"):
        assert constants.HF_HUB_OFFLINE
        assert datasets.config.HF_HUB_OFFLINE
    assert before == constants.HF_HUB_OFFLINE


def test_only_hub_names_probe_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[str] = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("hamu_ray.tasks.models.hub.hub_answers", lambda: probes.append("probe") is None)
    with hub_or_cache("/some/folder"):
        assert probes == []
    with hub_or_cache("owner/name"):
        assert probes == ["probe"]


@pytest.mark.parametrize(
    ("name", "local"),
    [("owner/name", False), ("name", False), ("/a", True), ("./a", True), ("~/a", True), ("a/b/c", True)],
)
def test_what_is_a_path(name: str, local: bool) -> None:
    assert is_local(name) is local


def test_local_files_are_loaded_without_progress_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, `datasets` draws several before anything else is seen."""
    import datasets

    datasets.enable_progress_bars()
    with hub_or_cache(str(tmp_path)):
        assert datasets.are_progress_bars_disabled()
    assert not datasets.are_progress_bars_disabled()
    monkeypatch.setattr("hamu_ray.tasks.models.hub.hub_answers", lambda: True)
    with hub_or_cache("owner/name"):
        assert not datasets.are_progress_bars_disabled()
