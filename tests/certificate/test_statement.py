"""What a certificate says."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Make

from hamu_ray.certificate.document import certificate_of
from hamu_ray.certificate.evidence import read_evidence
from hamu_ray.certificate.make import PAGE, PDF, certify
from hamu_ray.certificate.statement import Section, statement_of
from hamu_ray.certificate.words import DOUBTS, MEASURES, STANDS_FOR, asked
from hamu_ray.metrics.table import MODEL
from hamu_ray.results.folder import AUDIT_FILE
from hamu_ray.results.outcome import NO_REFERENCE
from hamu_ray.tasks.start import Origin

WITHOUT: dict[str, Any] = {
    "run": {"forget": {"kind": "random"}, "reference": {"source": "none"}},
    "provenance": {"reference": None},
}


def limits_of(folder: Path) -> str:
    return "\n".join(certificate_of(read_evidence(folder))["limits"])


def sections_of(folder: Path) -> dict[str, Section]:
    statement = statement_of(certificate_of(read_evidence(folder)), None)
    return {section.title: section for section in statement.sections}


def test_explained_metrics_exist() -> None:
    assert set(MEASURES) <= {name for metrics in MODEL.values() for name in metrics}


@pytest.mark.parametrize("kind", ["none", "held_out", "base"])
def test_without_a_reference_every_claim_says_what_stands_for_it(kind: str, make: Make) -> None:
    folder = make(**WITHOUT, outcome={"reference_kind": kind, "reference_origin": "is missing"})
    limits = limits_of(folder)
    assert "Nobody trained a model without the removed data" in limits
    statement = statement_of(certificate_of(read_evidence(folder)), None)
    assert "what stands here for one that never saw the data" in " ".join(statement.summary)
    judged = next(section for section in statement.sections if section.title == "How it was judged")
    assert any("Nobody trained a model without" in sentence for sentence in judged.sentences)
    assert judged.table is not None
    assert "model without the data" not in judged.table.head


def test_every_kind_of_reference_but_the_best_is_a_limit() -> None:
    assert {*STANDS_FOR, *DOUBTS} == {*map(str, Origin)} - {Origin.RANDOM}
    assert set(STANDS_FOR) == NO_REFERENCE


@pytest.mark.parametrize(
    ("outcome", "limit"),
    [
        ({"status": "collapsed", "reason": "perplexity"}, "COLLAPSED"),
        ({"status": "infeasible", "reason": "no step"}, "ended infeasible \\(no step\\)"),
        ({"steps_outside_guarantee": 3}, "3 of 40 steps were outside the guarantee"),
        ({"nothing_to_forget": "nothing to forget: it hardly differs"}, "There was nothing to forget"),
        ({"reference_kind": "assumed"}, "only assumed to be free"),
        ({"reference_kind": "undeclared"}, "nobody declared"),
        ({"reference_kind": "shared"}, "same pretrained weights"),
        ({"reference_kind": "declared"}, "signer's declaration"),
        ({"reference_kind": "given"}, "signer's declaration"),
        ({"measures": {}}, "could not be measured"),
        ({"measures": {"forget_quality": 0.02}}, "does NOT behave like one that never saw"),
    ],
)
def test_what_weakens_a_claim_is_a_limit(outcome: dict, limit: str, make: Make) -> None:
    assert re.search(limit, limits_of(make(outcome=outcome)))


def test_a_good_run_has_only_the_limits_of_all_runs(make: Make) -> None:
    assert len(certificate_of(read_evidence(make()))["limits"]) == 2  # no attacks, one reference


def test_attacks_are_shown_where_an_audit_was_made(make: Make) -> None:
    folder = make()
    assert sections_of(folder)["Attacks"].sentences == ("None were run.",)
    audit = {"lira": {"auc": 0.52, "interval": [0.45, 0.59]}, "curve": list(range(100)), "digest": "x"}
    (folder / AUDIT_FILE).write_text(json.dumps(audit))
    table = sections_of(folder)["Attacks"].table
    assert table is not None
    assert table.rows == (
        ("Lira, auc", "0.5200"),
        ("Lira, interval", "0.4500 to 0.5900"),
        ("Curve", "100 values, in the JSON file"),
    )
    assert "No attacks" not in limits_of(folder)


def test_undefined_numbers_are_none(make: Make) -> None:
    certificate = certificate_of(read_evidence(make()))
    assert certificate["measures"]["unlearned"]["avg_gap"] is None
    json.dumps(certificate, allow_nan=False)


@pytest.mark.parametrize(
    ("forget", "words"),
    [
        ({"kind": "class", "label": 3, "rho": 0.0}, "those of the class 3"),
        ({"kind": "class", "label": "cat", "rho": 0.25}, "class cat, 25% of them replaced"),
        ({"kind": "random", "share": 0.1}, "a random 10% of"),
        ({"kind": "split", "split": "forget"}, "the part named forget"),
        ({"kind": "ids", "column": "user", "path": "/home/ada/who.txt"}, r"identifier \(user\) .* who.txt"),
        ({"kind": "indices", "path": "rows.txt"}, "file rows.txt"),
        ({"kind": "files", "names": ["cat/1.png"]}, "files cat/1.png"),
        ({"kind": "where", "column": "author", "equals": "Bo"}, "whose author is 'Bo'"),
        (
            {
                "kind": "where",
                "column": None,
                "conditions": [{"column": "a", "in": [1, 2]}, {"column": "b", "matches": "x"}],
            },
            "whose a is one of 1, 2 and those whose b matches the pattern 'x'",
        ),
        ({"kind": "given"}, "the given examples"),
    ],
)
def test_a_request_in_words(forget: dict, words: str) -> None:
    sentence = asked(forget, 1200, "vision", "digits")
    assert re.search(words, sentence)
    assert "1,200 training images of the data set digits" in sentence
    assert "/home" not in sentence


def test_the_page_is_self_contained(make: Make) -> None:
    folder = make(run={"name": "a-b"})
    certify(folder, None, folder)
    page = (folder / PAGE).read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page
    assert "@import" not in page


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_the_pdf_says_what_the_page_says(make: Make) -> None:
    folder = make()
    certify(folder, None, folder)
    command = ["pdftotext", "-layout", folder / PDF, "-"]
    text = re.sub(r"\s+", "", subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for sentence in certificate_of(read_evidence(folder))["limits"]:
        assert re.sub(r"\s+", "", sentence) in text
    assert "0" * 30 in text
