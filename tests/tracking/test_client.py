import json
import math
import os
import shlex
import socket
import subprocess
import sys
from itertools import count
from subprocess import PIPE
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from hamu_ray.config.search import Objective
from hamu_ray.config.sources.key_paths import flatten
from hamu_ray.results.trial import Status
from hamu_ray.tracking import ui_views
from hamu_ray.tracking.client import RUN_STATUS, MlflowTracker
from hamu_ray.tracking.encoding import PARAMETER_LENGTH, TAG_LENGTH, metric_name
from tests.mlflow_server import clients
from tests.ports import free_port

NUMBERS = count()

WITHOUT_RETRIES = pytest.mark.timeout(100)
"""MLflow retries a silent server for four minutes, and a database for almost two."""

OPEN = """
import sys
from hamu_ray.tracking.client import MlflowTracker
print(MlflowTracker.open(*sys.argv[1:]).experiment_id)
"""


@pytest.fixture
def sweep(tracking):
    return tracking.start_sweep(f"sweep {next(NUMBERS)}", {"search": {"samples": 3}}, {"task": "digits"})


@pytest.fixture
def trial(tracking, sweep):
    return tracking.start_trial(
        f"t_{next(NUMBERS)}",
        sweep,
        "hamu-q 0",
        {"method": {"name": "hamu-q"}, "optimizer.learning_rate": 0.1},
    )


class TestRuns:
    def test_trials_are_nested_in_their_sweep(self, tracking, client, sweep):
        trials = [tracking.start_trial(f"t_{i}", sweep, f"trial {i}", {}) for i in range(3)]
        found = client.search_runs([tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{sweep}'")
        assert {run.info.run_id for run in found} == set(trials)

    def test_what_the_ui_expects(self, client, trial, sweep):
        run = client.get_run(trial)
        assert run.info.run_name == "hamu-q 0"
        assert run.info.status == "RUNNING"
        tags = {"mlflow.runName": "hamu-q 0", "kind": "trial", "mlflow.parentRunId": sweep}
        assert tags.items() <= run.data.tags.items()
        assert {"mlflow.user", "mlflow.source.name"} <= run.data.tags.keys()

    def test_parameters_are_flat_and_spelt_as_in_a_file(self, tracking, client):
        nested = {"a": {"b": 1e-4, "c": None, "d": {"e": True}}, "f.g": "x", "h": [1, 2]}
        run = client.get_run(tracking.start_sweep("nested", nested))
        assert run.data.params == {"a.b": "0.0001", "a.c": "null", "a.d.e": "true", "f.g": "x", "h": "[1, 2]"}

    def test_many_and_long_parameters(self, tracking, client, mlflow_folder):
        long = "x" * (PARAMETER_LENGTH + 1)
        run = client.get_run(tracking.start_sweep("long", {"long": long, **{f"p{i}": i for i in range(250)}}))
        assert len(run.data.params) == 251
        assert len(run.data.params["long"]) == PARAMETER_LENGTH
        (file,) = (mlflow_folder / "artifacts").rglob("long_parameters.json")
        assert json.loads(file.read_text()) == {"long": long}

    @pytest.mark.parametrize("status", Status)
    def test_finish(self, tracking, client, trial, status):
        tracking.finish(trial, status, "why\nso", {"front": True})
        run = client.get_run(trial)
        assert run.info.status == RUN_STATUS[status]
        assert run.info.end_time
        assert run.data.tags["status"] == status.value
        assert run.data.tags["reason"] == "why\nso"
        assert run.data.tags["front"] == "true"

    def test_what_is_there_is_taken_up_again(self, tracking, client):
        sweep = tracking.start_sweep("resumed", {"a": 1})
        trial = tracking.start_trial("0", sweep, "first", {"b": 2})
        tracking.finish(sweep, Status.INTERRUPTED)
        assert tracking.start_sweep("resumed", {"a": 1}) == sweep
        assert client.get_run(sweep).info.status == "RUNNING"
        assert tracking.start_trial("0", sweep, "first", {"b": 2}) == trial
        assert tracking.start_trial("1", sweep, "second", {}) != trial
        other = tracking.start_sweep("other", {})
        assert tracking.start_trial("0", other, "first", {}) != trial


class TestMetrics:
    def test_read_back_equal_by_step(self, tracking, client, trial):
        steps = [*range(0, 400, 2)]
        history = {f"m/{k}": [math.sin(step + k) for step in steps] for k in range(12)}  # 2,400: three calls
        tracking.log_history(trial, history, steps)
        for name, values in history.items():
            written = sorted((m.step, m.value) for m in client.get_metric_history(trial, name))
            assert written == list(zip(steps, values, strict=True))

    def test_written_again_a_value_is_there_once(self, tracking, client, trial):
        for _ in range(2):
            tracking.log_history(trial, {"a": [1.0, 2.0]}, [1, 2], time_ms=1_000)
        assert [(m.step, m.value) for m in client.get_metric_history(trial, "a")] == [(1, 1.0), (2, 2.0)]

    def test_final_measures(self, tracking, client, trial):
        tracking.log_metrics(trial, {"forget_quality": 0.75, "auc@10%": 0.5}, step=7)
        assert client.get_run(trial).data.metrics == {"forget_quality": 0.75, "auc_10_": 0.5}
        assert client.get_metric_history(trial, "forget_quality")[0].step == 7

    def test_undefined_numbers_stay_undefined(self, tracking, client, trial):
        tracking.log_metrics(trial, {"nan": math.nan, "inf": math.inf, "low": -math.inf})
        metrics = client.get_run(trial).data.metrics
        assert [math.isnan(metrics[name]) for name in ("nan", "inf", "low")] == [True] * 3

    def test_nothing_to_write(self, tracking, client, trial):
        tracking.log_metrics(trial, {})
        tracking.log_history(trial, {"a": []}, [])
        assert client.get_run(trial).data.metrics == {}

    def test_history_and_steps_of_one_length(self, tracking, trial):
        with pytest.raises(ValueError, match="shorter"):
            tracking.log_history(trial, {"a": [1.0]}, [1, 2])


class TestNotesAndFiles:
    def test_tags(self, tracking, client, trial):
        tracking.set_tags(trial, {"a": 1, "b": "x" * 10_000})
        tags = client.get_run(trial).data.tags
        assert tags["a"] == "1"
        assert len(tags["b"]) == TAG_LENGTH

    def test_description(self, tracking, client, sweep):
        tracking.describe(sweep, "# Front\n")
        assert client.get_run(sweep).data.tags["mlflow.note.content"] == "# Front\n"

    def test_a_description_knows_its_run(self, tracking, client, sweep):
        tracking.describe(
            sweep, "![](get-artifact?path=a.png&run_uuid={run_id}) #/experiments/{experiment_id}"
        )
        note = client.get_run(sweep).data.tags["mlflow.note.content"]
        assert note == f"![](get-artifact?path=a.png&run_uuid={sweep}) #/experiments/{tracking.experiment_id}"

    def test_a_view_is_saved_once(self, tracking, client, sweep):
        view = ui_views.view_of((Objective(metric="a"), Objective(metric="b", mode="min")), "tiny")
        key = ui_views.TAG + view["identifier"]
        saved = []
        for _ in range(2):
            tracking.share_view(sweep, **view)
            saved.append(client.get_experiment(tracking.experiment_id).tags[key])
        assert saved[0] == saved[1], "its date included"
        tracking.share_view(sweep, **{**view, "name": "other"})
        value = client.get_experiment(tracking.experiment_id).tags[key]
        assert ui_views.unpack(value) == ("other", view["state"])

    def test_long_descriptions_are_kept_whole_as_a_file(self, tracking, client, sweep):
        text = "| a | b |\n" * 2000
        tracking.describe(sweep, text)
        note = client.get_run(sweep).data.tags["mlflow.note.content"]
        assert len(note) <= TAG_LENGTH
        assert "description.md" in note
        with open(client.download_artifacts(sweep, "description.md")) as file:
            assert file.read() == text

    def test_files_and_folders(self, tracking, client, trial, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights.bin").write_bytes(b"1")
        (tmp_path / "front.csv").write_text("a\n")
        tracking.log_files(trial, [tmp_path / "model", tmp_path / "front.csv"], "kept")
        tracking.log_files(trial, tmp_path / "front.csv")
        assert {file.path for file in client.list_artifacts(trial, "kept")} == {
            "kept/weights.bin",
            "kept/front.csv",
        }
        assert [file.path for file in client.list_artifacts(trial)] == ["front.csv", "kept"]


class TestOpening:
    def test_an_experiment_is_found_again(self, tracking, mlflow_folder, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
        assert (
            MlflowTracker.open(None, "digits", mlflow_folder / "elsewhere").experiment_id
            == tracking.experiment_id
        )

    def test_it_opens_as_one_about_training(self, client, tracking):
        tags = client.get_experiment(tracking.experiment_id).tags
        assert tags["mlflow.experimentKind"] == "custom_model_development"

    def test_deleted_experiments_are_named(self, client, tracking, mlflow_folder):
        doomed = MlflowTracker.open(tracking.uri, "doomed", mlflow_folder)
        client.delete_experiment(doomed.experiment_id)
        with pytest.raises(ValueError, match=r"'doomed'.*mlflow experiments restore"):
            MlflowTracker.open(tracking.uri, "doomed", mlflow_folder)

    def test_another_process_may_create_the_experiment_meanwhile(
        self, tracking, client, mlflow_folder, monkeypatch
    ):
        from mlflow import MlflowClient

        seen = MlflowClient.get_experiment_by_name
        answers = [lambda *_: None, seen]
        monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *args: answers.pop(0)(*args))
        assert (
            MlflowTracker.open(tracking.uri, "digits", mlflow_folder).experiment_id == tracking.experiment_id
        )

    def test_two_processes_may_race(self, tmp_path):
        uri = f"sqlite:///{tmp_path}/raced.db"
        command = [sys.executable, "-c", OPEN, uri, "raced", str(tmp_path)]
        racers = [subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) for _ in range(2)]
        output = [racer.communicate(timeout=300) for racer in racers]
        assert output[0] == output[1] == ("1\n", "")

    @WITHOUT_RETRIES
    def test_an_unreachable_server(self, tmp_path):
        with pytest.raises(ValueError, match="Connection refused") as error:
            MlflowTracker.open(f"http://127.0.0.1:{free_port()}", "digits", tmp_path)
        assert "\n" not in str(error.value)

    @WITHOUT_RETRIES
    def test_a_silent_server(self, tmp_path):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with pytest.raises(ValueError, match="timed out"):
                MlflowTracker.open(f"http://127.0.0.1:{listener.getsockname()[1]}", "digits", tmp_path)

    def test_an_unreachable_database_keeps_its_password(self, tmp_path):
        uri = f"postgresql://me:secret@127.0.0.1:{free_port()}/runs"
        with pytest.raises(ValueError, match=r"//\*\*\*@127.0.0.1") as error:
            MlflowTracker.open(uri, "digits", tmp_path)
        assert "secret" not in str(error.value)

    @WITHOUT_RETRIES
    @pytest.mark.parametrize("name", ["file", "file/folder"])
    def test_an_unwritable_path(self, tmp_path, name):
        (tmp_path / "file").write_text("no folder, and no database")
        with pytest.raises(ValueError, match="cannot use the MLflow store sqlite") as error:
            MlflowTracker.open(f"sqlite:///{tmp_path / name}", "digits", tmp_path)
        with pytest.raises(ValueError, match="cannot use the MLflow store sqlite"):
            MlflowTracker.open(None, "digits", tmp_path / "file")
        assert "\n" not in str(error.value)


@pytest.mark.server
class TestServer:
    def test_the_same_through_a_server(self, server, tracking, tmp_path):
        remote = MlflowTracker.open(server, "digits", tmp_path)
        assert remote.experiment_id == tracking.experiment_id
        sweep = remote.start_sweep("remote", {"a": 1})
        trial = remote.start_trial("t_0", sweep, "nested", {f"p{i}": i for i in range(120)})
        remote.log_history(trial, {"a": [0.5, math.nan, math.inf]}, [0, 1, 2])
        (tmp_path / "front.csv").write_text("a\n1\n")
        remote.log_files(trial, tmp_path / "front.csv", "report")
        remote.describe(sweep, "text")
        remote.finish(trial, Status.COLLAPSED, "perplexity")
        run = clients(tracking).get_run(trial)
        assert (run.info.status, len(run.data.params)) == ("FAILED", 120)
        assert run.data.tags["mlflow.parentRunId"] == sweep
        written = [m.value for m in clients(remote).get_metric_history(trial, "a")]
        assert written[0] == 0.5
        assert all(map(math.isnan, written[1:]))
        query = urlencode({"run_uuid": trial, "path": "report/front.csv"})
        with urlopen(f"{server}/get-artifact?{query}") as answer:
            assert answer.read() == b"a\n1\n"

    def test_a_servers_own_experiment(self, server, tmp_path):
        remote = MlflowTracker.open(server + "/", "made remotely", tmp_path)
        run = remote.start_sweep("another", {})
        (tmp_path / "front.csv").write_text("a\n1\n")
        remote.log_files(run, tmp_path / "front.csv")
        assert [file.path for file in clients(remote).list_artifacts(run)] == ["front.csv"]
        assert f"{server}/#/experiments/{remote.experiment_id}" in remote.ui_command()


def test_ui_command_survives_a_shell(tracking, mlflow_folder):
    words = shlex.split(tracking.ui_command())
    assert os.path.basename(words[0]) == "mlflow"
    assert words[1:4] == ["ui", "--backend-store-uri", f"sqlite:///{mlflow_folder}/mlflow.db"]


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": 2}) == {"a.b.c": 1, "a.d": {}, "e": 2}


def test_metric_names():
    assert metric_name("min_k%_prob (10)") == "min_k__prob _10_"
    assert metric_name("train/loss.forget-1") == "train/loss.forget-1"
