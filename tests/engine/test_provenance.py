"""Where a run's model comes from, as the run records it."""

import csv
import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cheap_runs import cheap_run, done
from sklearn.datasets import load_digits

from hamu_ray.certificate.make import certify
from hamu_ray.certificate.verify import verify
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.provenance import PACKAGE, code, installed, weights_key
from hamu_ray.engine.resident import Resident
from hamu_ray.results.durable.sealed import read_sealed, write_sealed
from hamu_ray.results.folder import CARD_FILE, FORGET_FILE, MODEL_FILE, PROVENANCE_FILE
from hamu_ray.results.provenance import read_provenance
from hamu_ray.results.wording import duration


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_hashes_are_those_of_the_files(
    resident: Resident, folder: Path, bases: tuple[StoredModel, StoredModel]
) -> None:
    run = cheap_run(seed=43, training={"seed": 0}, reference={"seeds": 3})
    done(run, resident, folder)
    task, known = resident.task(run), read_provenance(folder)
    assert known is not None
    assert known.files == {MODEL_FILE: sha256(folder / MODEL_FILE)}
    assert known.forget_list == sha256(folder / FORGET_FILE)
    assert known.data == task.fingerprint
    assert known.seeds == {"training": 0, "unlearning": 43}
    assert len({reference.sha256 for reference in known.references}) == 3
    for base in (known.original, *known.references):
        assert base.sha256 == sha256(Path(base.place))
    card = (folder / CARD_FILE).read_text()
    for text in (known.result, known.data, known.forget_list, known.original.sha256):
        assert text in card


def test_the_workers_are_those_that_made_the_model(resident: Resident, folder: Path, bases: object) -> None:
    """Not those that the run asked for, if it went on with fewer."""
    done(cheap_run(workers={"count": 4, "min_count": 1}), resident, folder)
    known = read_provenance(folder)
    assert known is not None
    assert known.hardware.startswith("1 x ")


def test_what_rewinds_to_a_reference_depends_on_it(bases: tuple[StoredModel, StoredModel]) -> None:
    original, reference = bases
    other = replace(reference, key="other")
    sections = {"evaluation": {"every_steps": 2}}
    for rule, same in (("reference", False), ("held_out", True), (None, True)):
        run = cheap_run(stop={"rewind": rule}, **sections)
        assert (weights_key(run, original, reference) == weights_key(run, original, other)) == same


def test_the_forget_list_identifies_the_images(resident: Resident, folder: Path, bases: object) -> None:
    run = cheap_run()
    done(run, resident, folder)
    task = resident.task(run)
    forget = task.splits["forget"].tolist()
    with (folder / FORGET_FILE).open() as file:
        rows = list(csv.DictReader(file))
    stored = task.data.source.used[forget]
    assert [row["example"] for row in rows] == [f"row {index}" for index in stored]
    assert set(load_digits().target[stored]) == {0}
    pixels = task.data.train.pixels[forget[3]].permute(1, 2, 0).contiguous()
    assert rows[3]["sha256"] == hashlib.sha256(bytes(pixels.flatten().tolist())).hexdigest()


def test_a_real_run_is_certified(resident: Resident, folder: Path, bases: object, tmp_path: Path) -> None:
    done(cheap_run(), resident, folder)
    certify(folder, None, folder)
    texts = [check.text for check in verify(folder / "certificate.json", None, None) if not check.holds]
    assert texts == ["the certificate is not signed"]
    assert (folder / PROVENANCE_FILE).is_file()


def test_the_code_is_that_of_the_checkout() -> None:
    command = ["git", "-C", str(PACKAGE), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("not a checkout")
    assert code().commit == result.stdout.strip()
    assert len(code().sha256) == 64
    assert installed("torch")
    assert installed("no-such-distribution") == ""


def test_the_time_to_retrain_is_known_to_every_run_with_the_same_reference(
    resident: Resident, folder: Path, bases: object
) -> None:
    """Also if it was trained for another run; models of earlier versions have none."""
    done(cheap_run(), resident, folder)
    known = read_provenance(folder)
    assert known is not None
    assert known.retraining_seconds is not None
    assert 0 < known.retraining_seconds < 60
    assert known.labels()["retraining"] == duration(known.retraining_seconds)
    again = folder.parent / "again"
    done(cheap_run(), resident, again)
    assert read_provenance(again) == known
    document = dict(read_sealed(folder / PROVENANCE_FILE))
    for reference in document["references"]:
        del reference["training_seconds"]
    write_sealed(folder / PROVENANCE_FILE, document)
    earlier = read_provenance(folder)
    assert earlier is not None
    assert earlier.labels()["retraining"] == ""


def test_a_provenance_with_one_reference_is_read(resident: Resident, folder: Path, bases: object) -> None:
    done(cheap_run(), resident, folder)
    path = folder / PROVENANCE_FILE
    document = dict(read_sealed(path))
    (document["reference"],) = document.pop("references")
    write_sealed(path, document)
    known = read_provenance(folder)
    assert known is not None
    assert [reference.sha256 for reference in known.references] == [document["reference"]["sha256"]]
