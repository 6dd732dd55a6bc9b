"""The static site: every link leads to a file of it, and every sweep is there once."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hamu_ray import report
from hamu_ray.reports.bundle import ALL, INDEX_FILE, folders_of, write_bundle
from hamu_ray.reports.make import REPORT_FILE
from hamu_ray.reports.targets import report as report_on
from hamu_ray.results.sweep_result import SweepResult
from tests.made_store import fill, sweep_config, uri_of

LINK = re.compile(r'(?:href|src)="([^"#:]+)"')


def test_every_link_leads_to_a_file_of_the_site(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = sweep_config({"method.name": {"grid": ["hamu-q", "gdiff"]}})
    names = ("bundled-20260101", "bundled-20260102")
    for name in names:
        fill(store, config, name=name, experiment="bundled", hardness=False)
    assert report_on(["bundled", names[0]], uri_of(store), None, "site") == 0
    index = (tmp_path / "site" / INDEX_FILE).read_text()
    links = set(LINK.findall(index))
    assert links == {f"{ALL}/{REPORT_FILE}"} | {
        f"{name}/{file}" for name in names for file in (REPORT_FILE, "front.png")
    }
    assert all((tmp_path / "site" / link).is_file() for link in links)
    assert index.count("<h2>") == 2
    assert "://" not in index


def test_a_site_of_nothing_says_so(tmp_path: Path) -> None:
    assert "0 sweeps" in write_bundle([], "void", tmp_path / "site").read_text()


def test_every_sweep_has_a_folder_of_its_own(study: SweepResult) -> None:
    """Also where names differ in characters alone that a folder cannot have, or are those of the site's own files."""
    named = [
        ("one", "a b"),
        ("one", "a-b"),
        ("two", "a b"),
        ("two", ALL),
        ("two", "å" * 200),
        ("six", "å" * 201),
    ]
    sweeps = [replace(study, experiment=experiment, name=name) for experiment, name in named]
    found = folders_of(sweeps)
    assert list(found) == [sweep.key for sweep in sweeps]
    assert list(found.values())[:4] == ["a-b", "1-one-a-b", "1-two-a-b", "1-two-all"]
    assert len(set(found.values())) == len(sweeps)
    assert all(len(place.encode()) < 255 for place in found.values())


def test_a_site_is_no_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["report", "x", "--output", "a", "--bundle", "b"])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert ended.value.code == 2
    assert "give one of them" in capsys.readouterr().err
