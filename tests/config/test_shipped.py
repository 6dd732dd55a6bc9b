from pathlib import Path

import pytest

from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.sources.shipped import name_of, shipped_spaces, space_path

ROOT = Path(__file__).parents[2]


def test_every_search_space_has_a_name() -> None:
    files = {path.relative_to(ROOT / "search_spaces") for path in (ROOT / "search_spaces").rglob("*.yaml")}
    assert {f"{name}.yaml" for name in shipped_spaces()} == {path.as_posix() for path in files}


def test_a_name_is_found_unless_it_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert space_path("cifar/job_grid") == str(shipped_spaces()["cifar/job_grid"])
    assert space_path("digits.yaml") == "digits.yaml"
    assert space_path("s3://bucket/digits") == "s3://bucket/digits"
    (tmp_path / "digits").mkdir()
    assert space_path("digits") == str(shipped_spaces()["digits"]), "a folder of data is no configuration"
    (tmp_path / "cifar").write_text("name: mine\n")
    assert space_path("cifar") == "cifar"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("search_spaces/digits.yaml", "digits"),
        ("../hamu_ray/search_spaces/cifar/recipe.yaml", "cifar/recipe"),
        ("digits.yaml", "digits"),
        ("spaces/mine.yaml", None),
        ("search_spaces", None),
    ],
)
def test_the_name_of_a_path(path: str, name: str | None) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("search_spaces/digits.yaml", "give its name: digits"),
        ("digitz", "did you mean digits?"),
        ("elsewhere/mine.yaml", "check the path"),
    ],
)
def test_a_missing_file_is_one_line_with_the_remedy(
    given: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"^{given}: no such file; .*{remedy.replace('?', '.')}$"):
        load_sweep(given)
