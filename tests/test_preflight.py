"""Checks of a run's environment before anything expensive starts."""

import json
import socket
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from safetensors.torch import save_file

from hamu_ray import preflight
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.preflight import check_run, check_sweep, distinct_runs, forecasts_of
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.storage import RAY_JOB
from hamu_ray.tune import checked


@pytest.fixture(autouse=True)
def no_store_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def run_of(storage: Path, **sections: Any) -> RunConfig:
    return RunConfig.model_validate({"storage": {"path": str(storage)}, **sections})


def sweep_of(storage: Path, space: dict[str, Any], **sections: Any) -> SweepConfig:
    return SweepConfig.model_validate({"storage": {"path": str(storage)}, "space": space, **sections})


def error_of(config: RunConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        (check_sweep if isinstance(config, SweepConfig) else check_run)(config, "x.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("x.yaml: ")
    return message.removeprefix("x.yaml: ")


def test_a_stop_beyond_the_last_step_of_epochs(tmp_path: Path) -> None:
    run = run_of(tmp_path, duration={"epochs": 2}, batch={"retain": 500}, stop={"after_steps": 6})
    assert list(forecasts_of([run], "x.yaml"))
    beyond = run_of(tmp_path, duration={"epochs": 2}, batch={"retain": 500}, stop={"after_steps": 7})
    with pytest.raises(
        ConfigError, match=r"x\.yaml: stop\.after_steps: 7 is beyond the last step, duration\.epochs 2, "
    ):
        list(forecasts_of([beyond], "x.yaml"))


def test_a_stop_beyond_the_last_step_of_some_trials(tmp_path: Path) -> None:
    space = {"duration.epochs": {"int": [1, 8]}}
    config = sweep_of(tmp_path, space, batch={"retain": 500}, stop={"after_steps": 6})
    with pytest.raises(
        ConfigError, match=r"^x\.yaml: stop\.after_steps: 6 .* duration\.epochs 1, which are 3;"
    ):
        checked(config, "x.yaml")


def test_all_well(tmp_path: Path) -> None:
    check_run(run_of(tmp_path / "new" / "runs"), "x.yaml")
    left = {path.name for path in (tmp_path / "new" / "runs").iterdir()}
    assert left <= {"mlflow.db"}


@pytest.mark.parametrize(
    ("storage", "key"),
    [
        ({"path": "runs"}, "path"),
        ({"path": "memory://runs"}, "local"),
        ({"path": "/shared/runs", "local": "runs"}, "local"),
    ],
)
def test_a_submitted_job_stores_nothing_in_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, storage: dict[str, str], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RAY_JOB, "{}")
    message = error_of(RunConfig.model_validate({"storage": storage}))
    assert message.startswith(f"storage.{key}: runs would be in the job's own folder")
    assert message.endswith(f"--set storage.{key}=PATH")
    assert f"HAMU_RAY_{'STORAGE' if key == 'path' else 'LOCAL'} where nodes start" in message
    assert not list(tmp_path.iterdir())
    check_run(run_of(tmp_path / "absolute"), "x.yaml")


def test_the_environment_of_a_cluster_has_the_defaults_of_the_storage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(RAY_JOB, "{}")
    monkeypatch.setenv("HAMU_RAY_STORAGE", "memory://shared")
    monkeypatch.setenv("HAMU_RAY_LOCAL", str(tmp_path / "local"))
    run = RunConfig.model_validate({"workers": {"count": 1}})
    assert (run.storage.path, run.storage.local) == ("memory://shared", str(tmp_path / "local"))
    check_run(run, "x.yaml")
    own = RunConfig.model_validate({"storage": {"path": "/shared/runs"}}).storage
    assert (own.path, own.local) == ("/shared/runs", None), "what is given comes first"
    monkeypatch.setenv("HAMU_RAY_STORAGE", "")
    assert RunConfig().storage.path == "runs"


class Buckets(MemoryFileSystem):
    """A store of objects like s3fs: making a folder makes its bucket, and objects need one."""

    protocol = "s3"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    made: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("s3://").strip("/")

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.mkdir(path)

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        self.made.append(self._strip_protocol(path).split("/")[0])

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if self._strip_protocol(path).split("/")[0] not in ("there", *self.made):
            raise FileNotFoundError("The specified bucket does not exist")
        return super()._open(path, mode, **options)


def test_a_check_makes_no_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_registry, "s3", Buckets)
    local = str(tmp_path / "local")
    message = error_of(RunConfig.model_validate({"storage": {"path": "s3://mistyped/runs", "local": local}}))
    assert message.startswith("storage.path: cannot write to s3://mistyped/runs: ")
    check_run(RunConfig.model_validate({"storage": {"path": "s3://there/runs", "local": local}}), "x.yaml")
    assert Buckets.made == []


@pytest.mark.parametrize("path", ["file/runs", "file", "nowhere://bucket/runs"])
def test_storage_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    message = error_of(RunConfig.model_validate({"storage": {"path": path}}))
    assert message.startswith("storage.path: ")
    assert path in message
    assert message.endswith("choose another with --set storage.path=FOLDER")


@pytest.mark.parametrize(
    ("missing", "method", "packages"),
    [
        ("torchjd", "jd-mgda", "torchjd"),
        ("quadprog", "jd-upgrad", "quadprog"),
        ("cvxpy", "jd-cagrad", "cvxpy"),
    ],
)
def test_a_method_whose_packages_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, method: str, packages: str
) -> None:
    check_run(run_of(tmp_path, method={"name": method}), "x.yaml")
    monkeypatch.setitem(sys.modules, missing, None)  # Python's marker for a module that cannot be imported
    line = (
        f'method.name: {method} needs {packages}, not installed; install with pip install "hamu-ray[torchjd]"'
    )
    assert error_of(run_of(tmp_path, method={"name": method})) == line
    assert error_of(sweep_of(tmp_path, {"method.name": {"choice": ["ft", method]}})) == line
    check_run(run_of(tmp_path, method={"name": "pcgrad"}), "x.yaml")


@pytest.mark.parametrize("section", ["original", "reference"])
def test_given_models(tmp_path: Path, section: str) -> None:
    given = tmp_path / "given"

    def problem() -> str:
        return error_of(run_of(tmp_path, **{section: {"path": str(given)}}))

    assert problem() == (
        f"{section}.path: {given}: no such file; give a model.safetensors or a folder that contains one"
    )
    given.mkdir()
    assert problem().startswith(f"{section}.path: {given}: the folder has no model.safetensors; give a ")
    for content in (b"", b"text", b"\xff" * 100, (5).to_bytes(8, "little") + b"[1,2]" + b"more"):
        (given / MODEL_FILE).write_bytes(content)
        assert problem().startswith(
            f"{section}.path: {given / MODEL_FILE} is not a safetensors file; give a "
        )
    save_file({"weight": torch.zeros(3)}, given / MODEL_FILE)
    check_run(run_of(tmp_path, **{section: {"path": str(given)}}), "x.yaml")


def test_model_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    message = error_of(run_of(tmp_path, model={"name": "/no/checkpoint"}))
    assert message == (
        "model.name: /no/checkpoint: no such folder; "
        "use resnet20, resnet20-projection, resnet18, vit-tiny or a transformers checkpoint"
    )


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://127.0.0.1:{closed_port()}"
    message = error_of(run_of(tmp_path, tracking={"uri": uri}))
    assert message.startswith(f"tracking.uri: cannot use the MLflow store {uri}: ")
    assert "Connection refused" in message
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert error_of(run_of(tmp_path)).startswith("tracking.uri (from MLFLOW_TRACKING_URI): cannot use the ")


def test_a_server_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamu_ray.tracking.store.PROBE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert "timed out" in error_of(run_of(tmp_path, tracking={"uri": uri}))


@pytest.mark.parametrize("uri", ["htp://host", "localhost:5000", "redis://host/1"])
def test_what_is_no_tracking_store(tmp_path: Path, uri: str) -> None:
    message = error_of(run_of(tmp_path, tracking={"uri": uri}))
    assert message.startswith(
        f"tracking.uri: {uri} is not a tracking store; it must start with one of http, https, sqlite"
    )


def test_the_first_problem_is_the_one_that_is_quick_to_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamu_ray.preflight.check_data", lambda *_: pytest.fail("looked at the data"))
    run = run_of(tmp_path, forget={"kind": "class", "label": 10}, tracking={"uri": "htp://host"})
    assert error_of(run).startswith("tracking.uri: ")


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        (
            {"forget": {"kind": "class", "label": 10}},
            "forget.label: there is no class 10; the classes are 0=",
        ),
        (
            {"forget": {"kind": "class", "label": "zero"}},
            "forget.label: there is no class 'zero'; the classes",
        ),
        (
            {"forget": {"kind": "random", "share": 1e-4}},
            "forget.share: 0.0001 of 1437 training images is empty",
        ),
        (
            {"forget": {"kind": "indices", "path": "/no/list"}},
            "forget.path: /no/list cannot be read: No such file or directory; give a text file with an index",
        ),
        (
            {"data": {"name": "digits", "test_share": 0.999}},
            "data.test_share: 0.999 leaves a class without images",
        ),
        ({"data": {"name": "images", "path": "/no/folder"}}, "data.path: /no/folder: no such folder"),
    ],
)
def test_data_that_cannot_give_the_forget_set(tmp_path: Path, sections: dict[str, Any], line: str) -> None:
    assert error_of(run_of(tmp_path, **sections)).startswith(line)


def test_an_empty_list_of_indices(tmp_path: Path) -> None:
    (tmp_path / "none.txt").touch()
    run = run_of(tmp_path, forget={"kind": "indices", "path": str(tmp_path / "none.txt")})
    assert error_of(run).endswith("none.txt is empty; write an index on each line")


def test_metrics_that_the_task_lacks(tmp_path: Path) -> None:
    objectives = [{"metric": "retain_utility"}, {"metric": "forget_qualty"}]
    config = sweep_of(tmp_path, {"seed": {"grid": [1]}}, search={"objectives": objectives})
    assert error_of(config) == (
        "search.objectives.1.metric: the vision task has no metric forget_qualty; did you mean forget_quality?"
    )
    for metric in ("mia_confidense", "steps"):
        config = sweep_of(tmp_path, {"seed": {"grid": [1]}}, search={"constraints": {metric: {"max": 0.5}}})
        assert error_of(config).startswith(
            f"search.constraints.{metric}: the vision task has no such metric of models; "
        )


def test_metrics_of_another_convention(tmp_path: Path) -> None:
    metric = "openunlearning_extraction_strength"
    objectives = [{"metric": "retain_utility"}, {"metric": metric, "mode": "min"}]
    sections: dict[str, Any] = {"forget": {"kind": "split"}, "search": {"objectives": objectives}}
    config = sweep_of(tmp_path, {"seed": {"grid": [1]}}, data={"name": "tofu"}, **sections)
    assert f"search.objectives.1.metric: the language task has no metric {metric}" in error_of(config)
    with pytest.raises(ValueError, match=r"metrics.convention: openunlearning is of language models; set it"):
        run_of(tmp_path, metrics={"convention": "openunlearning"})


COST = {"metric": "gradient_computations", "mode": "min", "worst": 400}
POINTS = "search.points_per_trial compares earlier; remove one"


@pytest.mark.parametrize(
    ("objective", "search", "line"),
    [
        (
            {"metric": "durability"},
            {},
            "metric: durability is what an audit measures after the sweep; remove it",
        ),
        (
            {**COST, "metric": "steps_outside_guarantee"},
            {},
            "metric: only HAMU's trials have steps_outside_guarantee",
        ),
        ({**COST, "mode": "max"}, {}, "mode: less gradient_computations is better; give mode: min"),
        (
            {**COST, "worst": None},
            {},
            "worst: give the gradient_computations beyond which a trial counts nothing",
        ),
        (
            COST,
            {"points_per_trial": 2},
            f"metric: gradient_computations is known only at the end of a trial, and {POINTS}",
        ),
        (
            COST,
            {"pruning": {}},
            "metric: gradient_computations is known only at the end of a trial, and search.pruning",
        ),
    ],
)
def test_what_cannot_be_an_objective(
    tmp_path: Path, objective: dict[str, Any], search: dict[str, Any], line: str
) -> None:
    objectives = [{"metric": "forget_quality"}, {"metric": "retain_utility"}, objective]
    config = sweep_of(tmp_path, {"seed": {"grid": [1]}}, search={"objectives": objectives, **search})
    assert error_of(config).startswith(f"search.objectives.2.{line}")


def test_metrics_of_another_data_set(tmp_path: Path) -> None:
    """A benchmark's metrics are measured on its own data alone."""
    objectives = [{"metric": "retain_utility"}, {"metric": "wmdp_accuracy", "mode": "min"}]
    sections: dict[str, Any] = {"forget": {"kind": "split"}, "search": {"objectives": objectives}}
    config = sweep_of(tmp_path, {"seed": {"grid": [1]}}, data={"name": "tofu"}, **sections)
    assert "search.objectives.1.metric: the language task has no metric wmdp_accuracy" in error_of(config)
    config = sweep_of(
        tmp_path, {"seed": {"grid": [1]}}, data={"name": "wmdp", "path": "./nothing"}, **sections
    )
    assert "data.path: ./nothing: no such folder" in error_of(config)


@pytest.mark.parametrize("kind", ["grid", "choice"])
def test_every_forget_set_of_a_sweep_is_checked(tmp_path: Path, kind: str) -> None:
    check_sweep(sweep_of(tmp_path, {"forget.label": {kind: [0, 9]}}), "x.yaml")
    config = sweep_of(tmp_path, {"forget.label": {kind: [0, 9, 10]}})
    assert error_of(config).startswith("forget.label: there is no class 10; ")


def test_every_model_of_a_sweep_is_checked(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / MODEL_FILE)
    space = {"original.path": {"grid": [str(tmp_path), str(tmp_path / "none")]}}
    config = sweep_of(tmp_path, space, original={"path": str(tmp_path)})
    assert error_of(config).startswith(f"original.path: {tmp_path / 'none'}: no such file")


def test_what_is_checked_of_a_sweep_is_bounded(tmp_path: Path) -> None:
    space = {"forget.rho": {"grid": [0.1 * tenth for tenth in range(10)]}, "seed": {"grid": list(range(100))}}
    runs = distinct_runs(sweep_of(tmp_path, space))
    assert len(runs) == preflight.CHECKED_COMBINATIONS
    other = distinct_runs(sweep_of(tmp_path, {"optimizer.learning_rate": {"grid": [0.1, 0.2]}}))
    assert len(other) == 1


def test_a_header_longer_than_its_file_is_not_read(tmp_path: Path) -> None:
    header = json.dumps({"weight": {}}).encode()
    (tmp_path / MODEL_FILE).write_bytes((10**15).to_bytes(8, "little") + header)
    assert "is not a safetensors file" in error_of(run_of(tmp_path, original={"path": str(tmp_path)}))


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"evaluation": {"every_epochs": None}}, "stop.rewind: held_out needs intermediate evaluations; set"),
        (
            {"reference": {"source": "none"}, "stop": {"rewind": "reference"}},
            "stop.rewind: reference needs a",
        ),
    ],
)
def test_what_rewinding_needs(tmp_path: Path, sections: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        run_of(tmp_path, **{"stop": {"rewind": "held_out"}, **sections})
