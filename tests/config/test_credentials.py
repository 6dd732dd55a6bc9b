"""Credentials are rejected in configurations, and redacted in everything that is shown or stored."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.files import ConfigError, load_run
from hamu_ray.results.outcome import Failure
from hamu_ray.tracking.store import store_uri, ui_command

SECRET = "hunter2-hunter2"
WITH_SECRET = [
    f"https://me:{SECRET}@mlflow.example.com",
    f"https://{SECRET}@mlflow.example.com:5000/path",
    f"postgresql+psycopg2://me:{SECRET}@db/runs?sslmode=require",
    f"postgresql://db/runs?user=me&password={SECRET}",
    f"s3://bucket/runs?X-Amz-Signature={SECRET}&x=1",
    f"https://me@corp.example.com:{SECRET}@mlflow.example.com",
]
ordinary = st.sampled_from(
    [
        "s3://bucket/runs",
        "sqlite:////home/me/mlflow.db",
        "me@example.com",
        "http://127.0.0.1:5000/#/x@y",
        "a:b@c",
    ]
)


@pytest.mark.parametrize("url", WITH_SECRET)
def test_a_secret_is_redacted_everywhere(url: str) -> None:
    for text in (url, f"GET {url}: refused", f'{{"uri": "{url}"}}', f"({url}) and then ({url})"):
        assert SECRET not in without_credentials(text)
    assert "mlflow.example.com" in without_credentials(f"no answer from {WITH_SECRET[0]}")


@given(st.text(min_size=8), st.text(min_size=8))
def test_any_user_and_password_are_hidden(user: str, password: str) -> None:
    user, password = (quote(f"~{text}~", safe="") for text in (user, password))
    hidden = without_credentials(f"ConnectionError: https://{user}:{password}@host:5000/api timed out")
    assert hidden == "ConnectionError: https://***@host:5000/api timed out"


@given(st.lists(ordinary).map(" ".join))
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_credentials(text) == text
    assert without_credentials(without_credentials(text)) == text


@pytest.mark.parametrize("url", WITH_SECRET)
@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("tracking.uri", "MLFLOW_TRACKING_PASSWORD"),
        ("storage.path", "the machine's cloud role"),
        ("data.path", "environment"),
    ],
)
def test_a_configuration_with_credentials_is_refused(key: str, remedy: str, url: str, tmp_path: Path) -> None:
    section, _, name = key.partition(".")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"name": "run", section: {name: url}}))
    with pytest.raises(ConfigError) as error:
        load_run(file)
    line = str(error.value)
    assert f"{key}: " in line
    assert remedy in line
    assert "\n" not in line
    assert SECRET not in line


def test_one_given_on_the_command_line_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("name: run\n")
    command = [sys.executable, "-m", "hamu_ray.unlearn", str(file), "--set", f"tracking.uri={WITH_SECRET[0]}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "MLFLOW_TRACKING_PASSWORD" in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_the_reason_of_a_failed_trial_has_none() -> None:
    failure = Failure(f"ConnectionError: {WITH_SECRET[0]}/api/2.0 answers 403")
    assert failure.reason == "ConnectionError: https://***@mlflow.example.com/api/2.0 answers 403"


@pytest.mark.parametrize("uri", WITH_SECRET[:4])
def test_the_command_that_opens_the_interface_has_none(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    command = ui_command(store_uri(None, tmp_path), "1")
    assert SECRET not in command
    place = "mlflow.example.com" if uri.startswith("https") else "$MLFLOW_TRACKING_URI"
    assert place in command


BOMBS = {
    "lists": ("a: &a [x, x, x, x, x, x, x, x, x]\n", "{name}: &{name} [{aliases}]\n"),
    "merges": ("a: &a {x: 1}\n", "{name}: &{name} {{<<: [{aliases}]}}\n"),
}
"""First and further lines of documents whose aliases expand to 9 ** 12 values, in less than a kilobyte."""


@pytest.mark.timeout(60)  # full expansion would take hours and exhaust the memory
@pytest.mark.parametrize("kind", BOMBS)
def test_a_configuration_with_unbounded_aliases_is_rejected(kind: str, tmp_path: Path) -> None:
    first, further = BOMBS[kind]
    lines = [
        further.format(name=name, aliases=", ".join([f"*{before}"] * 9))
        for before, name in pairwise("abcdefghijkl")
    ]
    file = tmp_path / "bomb.yaml"
    file.write_text("".join(["name: run\n", first, *lines]))
    with pytest.raises(ConfigError, match=r"aliases expand to more than 100000 values"):
        load_run(file)
