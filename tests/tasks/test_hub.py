import datasets.config
import pytest
from huggingface_hub import constants

from hamu_ray.tasks.hub import hub_or_cache, is_local


def test_the_libraries_are_offline_only_within(offline: None) -> None:
    before = constants.HF_HUB_OFFLINE
    with hub_or_cache("owner/name"):
        assert constants.HF_HUB_OFFLINE
        assert datasets.config.HF_HUB_OFFLINE
    assert before == constants.HF_HUB_OFFLINE


def test_folders_never_ask_for_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamu_ray.tasks.hub.hub_answers", lambda: pytest.fail("asked"))
    with hub_or_cache("/some/folder"):
        pass


@pytest.mark.parametrize(
    ("name", "local"),
    [("owner/name", False), ("name", False), ("/a", True), ("./a", True), ("~/a", True), ("a/b/c", True)],
)
def test_what_is_a_path(name: str, local: bool) -> None:
    assert is_local(name) is local
