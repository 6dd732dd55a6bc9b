"""Certificates that hold, and all that makes one fail, as users see it."""

import json
import os
import sys
from pathlib import Path

import pytest
from made_run import Make

from hamu_ray import certify as command
from hamu_ray.certificate.keys import new_key
from hamu_ray.certificate.make import CERTIFICATE, PAGE, PDF, certify
from hamu_ray.certificate.verify import verify
from hamu_ray.command import run_command
from hamu_ray.results.folder import FORGET_FILE, MODEL_FILE, PROVENANCE_FILE


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["certify", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run_command(command.main)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def flip(path: Path, at: int = 7) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_certificate_holds(
    make: Make, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, public = make(), key.with_name("key.pub.pem")
    assert run(monkeypatch, folder, "--key", key) == 0
    assert "signed with the key" in capsys.readouterr().out
    assert run(monkeypatch, "--verify", folder / CERTIFICATE) == 0
    assert run(monkeypatch, "--verify", folder / CERTIFICATE, "--model", folder, "--public-key", public) == 0
    assert capsys.readouterr().out.splitlines()[0] == "true"


@pytest.mark.parametrize("name", [MODEL_FILE, FORGET_FILE, PAGE, PDF])
def test_one_changed_bit_is_found(
    name: str, make: Make, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    certify(folder, key, folder)
    flip(folder / name)
    assert run(monkeypatch, "--verify", folder / CERTIFICATE) == 1
    first, second, *others = capsys.readouterr().out.splitlines()
    assert first == "false"
    assert second.startswith("  wrong ")
    assert f"{name} was changed: its SHA-256 is " in second
    assert all(line.startswith("  ok ") for line in others)


@pytest.mark.parametrize("name", [MODEL_FILE, FORGET_FILE])
def test_a_missing_file_is_named(name: str, make: Make, key: Path) -> None:
    folder = make()
    certify(folder, key, folder)
    (folder / name).unlink()
    wrong = [check.text for check in verify(folder / CERTIFICATE, None, None) if not check.holds]
    assert len(wrong) == 1
    assert wrong[0].endswith(f"{name} is missing")


def test_every_number_is_signed(make: Make, key: Path) -> None:
    folder = make()
    certify(folder, key, folder)
    document = json.loads((folder / CERTIFICATE).read_text())
    document["certificate"]["measures"]["unlearned"]["forget_quality"] = 0.99
    (folder / CERTIFICATE).write_text(json.dumps(document))
    wrong = [check.text for check in verify(folder / CERTIFICATE, None, None) if not check.holds]
    assert wrong == ["the certificate was changed after it was signed"]


def test_a_second_value_of_a_key_is_no_certificate(
    make: Make, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    certify(folder, key, folder)
    text = (folder / CERTIFICATE).read_text()
    (folder / CERTIFICATE).write_text(text.replace('"asked":', '"asked": "nothing", "asked":', 1))
    assert run(monkeypatch, "--verify", folder / CERTIFICATE) == 2
    assert "not a certificate" in capsys.readouterr().err


def test_the_list_beside_the_certificate_and_that_of_the_model_are_checked(
    make: Make, key: Path, tmp_path: Path
) -> None:
    folder, out = make(), tmp_path / "out"
    certify(folder, key, out)
    assert all(check.holds for check in verify(out / CERTIFICATE, folder, None))
    flip(folder / FORGET_FILE)
    assert not all(check.holds for check in verify(out / CERTIFICATE, folder, None))
    (folder / FORGET_FILE).unlink()
    assert all(check.holds for check in verify(out / CERTIFICATE, folder, None))
    flip(out / FORGET_FILE)
    assert not all(check.holds for check in verify(out / CERTIFICATE, folder, None))


def test_another_signer_is_refused(
    make: Make, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make()
    certify(folder, key, folder)
    other, _ = new_key(tmp_path / "other.pem")
    assert run(monkeypatch, "--verify", folder / CERTIFICATE, "--public-key", other) == 1


def test_an_unsigned_certificate_says_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    assert run(monkeypatch, folder) == 0
    assert "NOT SIGNED" in (folder / PAGE).read_text()
    assert [c.text for c in verify(folder / CERTIFICATE, None, None) if not c.holds] == [
        "the certificate is not signed"
    ]


@pytest.mark.parametrize("name", [MODEL_FILE, FORGET_FILE, PROVENANCE_FILE])
def test_what_was_changed_after_the_run_is_not_certified(
    name: str, make: Make, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    flip(folder / name)
    assert run(monkeypatch, folder, "--key", key) == 2
    assert name in capsys.readouterr().err
    assert not (folder / CERTIFICATE).exists()


def test_bad_input_is_one_line(
    make: Make, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, sweep = make(), tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "sweep.yaml").touch()
    (tmp_path / "no.json").write_text("{}")
    for arguments, line in (
        ((tmp_path / "missing",), "no such folder"),
        ((tmp_path,), "not the folder of a run that has ended"),
        ((sweep,), "a sweep; give the folder of one of its trials"),
        ((folder, "--key", tmp_path / "no.pem"), "no.pem: cannot be read"),
        (("--verify", tmp_path / "missing.json"), "missing.json: cannot be read"),
        (("--verify", tmp_path / "no.json"), "not a certificate"),
        (("--new-key", key), "exists"),
    ):
        assert run(monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert line in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
    for arguments in (
        (),
        (folder, "--verify", "x"),
        (folder, "--model", folder),
        ("--verify", "x", "--key", "y"),
    ):
        assert run(monkeypatch, *arguments) == 2
    certify(folder, key, folder)
    assert run(monkeypatch, "--verify", folder / CERTIFICATE, "--model", tmp_path / "missing") == 2


def test_no_key_no_path_in_what_is_given_away(make: Make, key: Path) -> None:
    folder = make()
    for path in certify(folder, key, folder).files:
        assert b"PRIVATE" not in path.read_bytes()
        assert b"/home/ada" not in path.read_bytes()
        assert os.fsencode(folder) not in path.read_bytes()
