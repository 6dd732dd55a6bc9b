"""Extras by purpose: what they install, what a run needs of them, and what is said where one is missing."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import hamu_ray
from hamu_ray.command import run_command
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources import packages
from hamu_ray.config.sources.packages import EXTRAS, check_packages
from hamu_ray.storage import storage_path

PACKAGE = Path(hamu_ray.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
INSTALLED = packages_distributions()

RUN_WITHOUT = """
import sys
from pathlib import Path

sys.modules.update(dict.fromkeys({blocked!r}))
import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.outcome import Verdict

run = RunConfig.model_validate({run!r})
resident = Resident(Path({folder!r}), torch.device("cpu"))
unlearn(run, resident, Alone(), Path({folder!r}) / "out", lambda report: Verdict.GO_ON)
"""


def normal(distribution: str) -> str:
    return re.split(r"[\[<>=!;, ]", re.sub(r"[-_.]+", "-", distribution).lower())[0]


def names(requirements: list[str]) -> set[str]:
    return {normal(requirement) for requirement in requirements}


def distributions_of(module: str) -> set[str]:
    return {normal(name) for name in INSTALLED.get(module, [module])}


def imported() -> set[str]:
    """The top modules of other distributions that the package imports, in functions too."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"hamu_ray"}


def test_extras_install_the_packages_that_they_stand_for() -> None:
    for extra, modules in {**EXTRAS, **packages.BUCKETS}.items():
        wanted = names(PROJECT["optional-dependencies"][extra])
        assert all(distributions_of(module) & wanted for module in modules), extra
        assert len(modules) == len(wanted), extra
    everything = PROJECT["optional-dependencies"]["all"]
    assert [f"hamu-ray[{','.join(EXTRAS)}]"] == everything


def test_each_import_is_a_dependency_or_in_an_extra() -> None:
    known = names(PROJECT["dependencies"]) | names(PROJECT["optional-dependencies"]["torchjd"])
    optional = {module for modules in EXTRAS.values() for module in modules}
    others = {
        "markupsafe": "jinja2",
        "pydantic_core": "pydantic",
        "tokenizers": "transformers",
    }  # as parts of these
    unknown = {module for module in imported() - optional if not distributions_of(module) & known}
    assert unknown == set(others)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"data": {"name": "text", "path": "mine"}, "forget": {"kind": "split"}}, "data.name: text"),
        ({"data": {"name": "cifar10"}}, "data.name: cifar10"),
        ({"model": {"name": "vit-tiny"}}, "model.name: vit-tiny"),
        ({}, None),
    ],
)
def test_what_a_run_lacks_is_one_line(
    monkeypatch: pytest.MonkeyPatch, sections: dict[str, object], said: str | None
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    run = RunConfig.model_validate(sections)
    if said is None:
        check_packages(run)
        return
    extra = "language" if run.data.task == "language" else "images"
    with pytest.raises(ValueError) as caught:
        check_packages(run)
    missing = ", ".join(EXTRAS[extra])
    assert str(caught.value) == f"{said} needs {missing}, not installed; pip install 'hamu-ray[{extra}]'"


def test_commands_name_the_extra_of_what_they_import(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rfc8785", None)

    def main() -> int:
        import rfc8785  # noqa: F401

        return 0

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: rfc8785 is not installed; pip install 'hamu-ray[certificate]'\n"


@pytest.mark.parametrize(("scheme", "module", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")])
def test_storage_in_a_bucket_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, scheme: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(
        import_module("fsspec.registry")._registry, scheme, raising=False
    )  # a class that was imported before
    line = (
        f"{scheme}://bucket/runs cannot be opened: {module} is not installed; pip install 'hamu-ray[{extra}]'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        storage_path(f"{scheme}://bucket/runs")


def test_a_run_on_the_digits_needs_no_extra(tmp_path: Path) -> None:
    run = {
        "storage": {"path": str(tmp_path)},
        "training": {"epochs": 1},
        "duration": {"steps": 2},
        "workers": {"count": 1},
    }
    blocked = sorted({module for modules in EXTRAS.values() for module in modules})
    code = RUN_WITHOUT.format(blocked=blocked, run=run, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()
