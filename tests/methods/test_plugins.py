"""Methods of other packages: the template of docs/plugin, installed into a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hamu_ray.results.folder import MODEL_FILE
from tests.runs import small_run

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "docs" / "plugin"

SWEEP = """name: x
space:
  method.name: {grid: [gru, NAME]}
  method.removed: {uniform: [0.0, 1.0]}
"""
CHECK = """
import sys
from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.sources.document import ConfigError
try:
    config = load_sweep(sys.argv[1], sys.argv[2:])
except ConfigError as error:
    sys.exit(str(error))
print("torch" in sys.modules)
for cell in config.cells():
    print(cell["method.name"], config.applies("method.removed", cell), config.resolve(cell).method.hyperparameters)
"""
WRITE = """
import pickle, sys
from pathlib import Path
import yaml
from hamu_ray.config.sources.files import load_sweep
config, folder = load_sweep(sys.argv[1]), Path(sys.argv[2])
again = pickle.loads(pickle.dumps(config))
assert (again, again.base) == (config, config.base)
(folder / "sweep.yaml").write_text(yaml.safe_dump(config.whole, sort_keys=False))
assert load_sweep(folder / "sweep.yaml").whole == config.whole
(folder / "sweep.pickle").write_bytes(pickle.dumps(config))
for cell in load_sweep(folder / "sweep.yaml").cells():
    run = config.resolve(cell)
    print(run.method.used)
    if cell["method.name"] in ("gru", "gdiff"):
        (folder / "run.yaml").write_text(yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False))
        (folder / "run.pickle").write_bytes(pickle.dumps(run))
"""
READ = """
import pickle, sys
from pathlib import Path
import yaml
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import load_run
folder = Path(sys.argv[1])
written, pickled = load_run(folder / "run.yaml"), pickle.loads((folder / "run.pickle").read_bytes())
assert written.method == pickled.method
assert yaml.safe_dump(written.model_dump(mode="json"), sort_keys=False) == (folder / "run.yaml").read_text()
print(written.method.used)
print(list(written.method.model_dump()) == list(RunConfig().method.model_dump()))
"""
READ_SWEEP = """
import pickle, sys
from pathlib import Path
for cell in (config := pickle.loads(Path(sys.argv[1]).read_bytes())).cells():
    print(config.resolve(cell).method.used)
"""
SHARING = """
from dataclasses import dataclass, replace
from hamu_ray.methods import Hyperparameters, hyperparameter
from partial_gru import PARTIAL_GRU


@dataclass(frozen=True, kw_only=True)
class Sharing(Hyperparameters):
    retain_weight: float = hyperparameter(
        2.0, "a weight of another range", source="this test", search={"uniform": (0.0, 4.0)}, ge=0
    )
    removed: float = hyperparameter(0.5, "as before", source="this test", search={"uniform": (0.0, 1.0)})


SHARING = replace(PARTIAL_GRU, name="sharing", hyperparameters=Sharing)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the template is installed."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "partial_gru.py"):
        (source / name).write_text((TEMPLATE / name).read_text())
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder


def python(*arguments: str, path: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with a folder on its path."""
    environment = {**os.environ, "PYTHONPATH": f"{path}:{ROOT}"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=cwd, timeout=300
    )


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(SWEEP)
    return path


@pytest.mark.parametrize("name", ["partial-gru", "partial_gru:PARTIAL_GRU"])
def test_its_hyperparameters_are_sampled_for_it_alone(installed: Path, sweep: Path, name: str) -> None:
    sweep.write_text(SWEEP.replace("NAME", name))
    result = python("-c", CHECK, str(sweep), path=installed)
    assert result.stdout.splitlines() == [
        "True",  # the template imports torch; the package's own methods do not
        "gru False Blockwise(granularity='tensor')",
        f"{name} True PartialGRU(removed=0.5)",
    ], result.stderr


@pytest.mark.parametrize(
    ("plugin", "base", "other", "plugins_own"),
    [
        (
            "partial-gru",
            "{name: gru, removed: 0.3}",
            {"name": "gru", "forget_objective": None, "granularity": "tensor"},
            {"removed": 0.3},
        ),
        (
            "sharing:SHARING",
            "{name: gdiff, removed: 0.3}",
            {"name": "gdiff", "forget_objective": None, "retain_weight": None},
            {"retain_weight": None, "removed": 0.3},
        ),
        (
            "sharing:SHARING",
            "{name: gru, retain_weight: 3.0}",
            {"name": "gru", "forget_objective": None, "granularity": "tensor"},
            {"retain_weight": 3.0, "removed": 0.5},
        ),
    ],
)
def test_configurations_of_other_methods_are_read_without_it(
    installed: Path,
    tmp_path: Path,
    plugin: str,
    base: str,
    other: dict[str, object],
    plugins_own: dict[str, object],
) -> None:
    (installed / "sharing.py").write_text(SHARING)
    path = tmp_path / "x.yaml"
    path.write_text(
        f"name: x\nmethod: {base}\nspace: {{method.name: {{grid: [{other['name']}, '{plugin}']}}}}\n"
    )
    with_plugin = {"name": plugin, "forget_objective": None, **plugins_own}
    expected = [str(other), str(with_plugin)]
    for code, file in ((WRITE, path), (READ_SWEEP, tmp_path / "sweep.pickle")):
        result = python("-c", code, str(file), str(tmp_path), path=installed)
        assert result.stdout.splitlines() == expected, result.stderr
    alone = python("-c", READ, str(tmp_path), path=tmp_path)
    own_default = {**other, "retain_weight": 0.5} if "retain_weight" in other else other
    assert alone.stdout.splitlines() == [str(own_default), "True"], alone.stderr


def test_it_is_listed_with_its_package(installed: Path) -> None:
    listed = python("-m", "hamu_ray", "methods", path=installed).stdout
    assert "partial-gru\n    ascend the forget loss, without a part of the component" in listed
    assert "from hamu-ray-partial-gru 0.1.0 (partial_gru:PARTIAL_GRU)" in listed
    assert "    removed: 0.5  # a finite number at least 0 and at most 1; fraction of the component" in listed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("partial-gur", "unknown method 'partial-gur'; did you mean partial-gru?"),
        (
            "gone.module:NAME",
            "cannot import gone.module:NAME: ModuleNotFoundError: No module named 'gone'; install",
        ),
        (
            "partial_gru:GONE",
            "cannot import partial_gru:GONE: AttributeError: module 'partial_gru' has no attribute",
        ),
        ("partial_gru:PartialGRU", "partial_gru:PartialGRU must be a hamu_ray.methods.Method, found type"),
        ("broken:NAME", "cannot import broken:NAME: ZeroDivisionError: division by zero; install"),
    ],
)
def test_what_cannot_be_used_is_named(installed: Path, sweep: Path, name: str, message: str) -> None:
    (installed / "broken.py").write_text("1 / 0\n")
    for text, key in (
        (f"name: x\nmethod: {{name: '{name}'}}\nspace: {{seed: {{grid: [1]}}}}\n", "method.name"),
        (SWEEP.replace("NAME", f"'{name}'"), "space.method.name"),
    ):
        sweep.write_text(text)
        result = python("-c", CHECK, str(sweep), path=installed)
        assert result.stderr.startswith(f"{sweep}: {key}: {message}"), result.stderr
        assert result.stderr.count("\n") == 1


def test_the_template_passes_its_own_test(installed: Path) -> None:
    path = TEMPLATE / "tests" / "test_partial_gru.py"
    result = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(path), path=installed)
    assert result.returncode == 0, result.stdout


@pytest.mark.ray
def test_workers_import_it_as_well(installed: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "run.yaml", tmp_path / "out"
    method = {"name": "partial_gru:PARTIAL_GRU", "removed": 0.3, "constraint_ratio": None}
    path.write_text(
        yaml.safe_dump(
            small_run(tmp_path / "runs", method=method, workers={"count": 2}, duration={"steps": 2})
        )
    )
    result = python("-m", "hamu_ray.unlearn", str(path), "--output", str(output), path=installed)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (output / MODEL_FILE).is_file()
