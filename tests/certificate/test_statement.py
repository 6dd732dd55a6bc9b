"""What a certificate says."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from made_run import MODEL, Make

from hamu_ray.certificate import words
from hamu_ray.certificate.document import certificate_of
from hamu_ray.certificate.evidence import read_evidence
from hamu_ray.certificate.make import PAGE, PDF, certify
from hamu_ray.certificate.statement import Section, statement_of
from hamu_ray.certificate.words import ATTACKS, DOUBTS, MEASURES, STANDS_FOR, asked
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.metrics.attacks import names
from hamu_ray.metrics.attacks.names import ATTACK, DURABILITY, DURABLE
from hamu_ray.metrics.attacks.spread import Spread
from hamu_ray.metrics.table import MODEL as METRICS
from hamu_ray.results.audit.file import write_audit
from hamu_ray.results.audit.finding import DECIDES_DURABLE, AttackResult, Audit, Finding
from hamu_ray.results.folder import AUDIT_FILE
from hamu_ray.results.outcome import NO_REFERENCE
from hamu_ray.results.provenance import Interpolation, ModelIdentity, sha256_of
from hamu_ray.tasks.models.start import Origin

WITHOUT: dict[str, Any] = {
    "run": {"forget": {"kind": "random"}, "reference": {"source": "none"}},
    "provenance": {"references": []},
}


def limits_of(folder: Path) -> str:
    return "\n".join(certificate_of(read_evidence(folder))["limits"])


def sections_of(folder: Path) -> dict[str, Section]:
    statement = statement_of(certificate_of(read_evidence(folder)), None)
    return {section.title: section for section in statement.sections}


def test_explained_metrics_exist() -> None:
    assert set(MEASURES) <= {name for metrics in METRICS.values() for name in metrics}


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


def test_the_ends_of_an_interpolation_are_named_by_their_hashes(make: Make) -> None:
    ends = [ModelIdentity("/home/ada/original.safetensors", "2" * 64), ModelIdentity("/home/ada/1", "3" * 64)]
    folder = make(provenance={"interpolation": Interpolation(0.375, ends)})
    section = sections_of(folder)["From which model to which"]
    assert "37.50% of the way from the first to the second" in " ".join(section.sentences)
    assert section.table is not None
    assert section.table.rows[-2:] == (
        ("Mixed from: model 1 of 2", "2" * 64),
        ("Mixed from: model 2 of 2", "3" * 64),
    )
    assert "/home/ada" not in json.dumps(certificate_of(read_evidence(folder)))


def test_a_run_that_is_no_interpolation_does_not_speak_of_one(make: Make) -> None:
    folder = make()
    assert "interpolation" not in certificate_of(read_evidence(folder))["provenance"]
    assert len(sections_of(folder)["From which model to which"].sentences) == 1


def test_a_run_that_started_at_an_earlier_one_says_so(make: Make) -> None:
    folder = make(provenance={"start": ModelIdentity("/home/ada/earlier/model.safetensors", "4" * 64)})
    certificate = certificate_of(read_evidence(folder))
    assert certificate["provenance"]["start"] == {"sha256": "4" * 64}
    assert "/home/ada" not in json.dumps(certificate)
    table = sections_of(folder)["From which model to which"].table
    assert table is not None
    assert ("Start: the model of an earlier run, which this one changed", "4" * 64) in table.rows
    assert "changed further, after earlier unlearning" in statement_of(certificate, None).summary[0]
    assert "started at the model of an earlier run" in limits_of(folder)


def test_a_run_that_started_at_the_original_does_not_speak_of_another(make: Make) -> None:
    folder = make()
    assert "start" not in certificate_of(read_evidence(folder))["provenance"]
    assert "earlier" not in limits_of(folder)


def test_attacks_are_explained_where_an_audit_was_made(make: Make) -> None:
    folder = make()
    assert sections_of(folder)["Attacks"].sentences == ("None were run.",)
    findings = (
        Finding("lira_auc", 0.72, 0.99, Spread(0.5, 0.45, 0.59, 4), passes=False),
        Finding("rmia_auc", 0.5, 0.9, Spread(0.51, math.nan, math.nan, 1), reason="one reference"),
        Finding("quantisation_gain_4_bit", -0.001, 0.001, Spread(-0.0, -0.002, 0.002, 4)),
    )
    result = AttackResult("lira", "k", findings, 1.0, {"model": [0.1] * 100})
    write_audit(folder, Audit(sha256_of(MODEL), {"lira": result}))
    table = sections_of(folder)["Attacks"].table
    assert table is not None
    assert [row[1:] for row in table.rows] == [
        ("0.99", "0.72", "0.45 to 0.59", "UNLIKE them"),
        ("0.90", "0.50", "0.51", "not decided"),
        ("0.00", "0.00", "0.00 to 0.00", "not decided"),
    ]
    assert len(sections_of(folder)["Attacks"].sentences) == 1, (
        "nothing is known of attacks that bring it back"
    )
    assert "No attacks" not in limits_of(folder)
    assert "By 1 of 3 numbers of attacks it is UNLIKE" in limits_of(folder)
    certify(folder, None, folder)


@pytest.mark.parametrize(("passes", "said"), [(True, "no more of it comes"), (False, "MORE of it DOES come")])
def test_whether_attacks_bring_knowledge_back_is_a_sentence(passes: bool, said: str, make: Make) -> None:
    """It names the attacks that show it, and no others."""
    folder = make()
    findings = [
        Finding(name, 0.5, 0.9, Spread(0.5, 0.4, 0.6, 4), passes=passes)
        for name in (*DECIDES_DURABLE, "completed_answer_confidence")
    ]
    undecided = Finding("paraphrased_question_confidence", 0.5, 0.5, Spread(0.5, 0.4, 0.6, 4))
    by_attack = {"relearning": findings[:1], "quantisation": findings[1:-1], "paraphrase": [undecided]}
    by_attack["prefix"] = findings[-1:]
    results = {name: AttackResult(name, "k", tuple(found), 1.0, {}) for name, found in by_attack.items()}
    write_audit(folder, Audit(sha256_of(MODEL), results))
    assert sections_of(folder)["Attacks"].sentences[1] == (
        f"Of the attempts to bring knowledge back: {said} back than from models without the data by "
        "brief further training, rounding the model's numbers, "
        "asking with a sentence that demands the answer, or with half of it given."
    )


def test_every_attack_that_brings_knowledge_back_has_words() -> None:
    assert tuple(words.LASTING) == names.LASTING


def test_an_audit_of_another_model_is_refused(make: Make) -> None:
    folder = make()
    write_audit(folder, Audit("0" * 64, {}))
    with pytest.raises(ConfigError, match="of another model"):
        read_evidence(folder)
    (folder / AUDIT_FILE).write_text("{}")
    with pytest.raises(ConfigError, match="damaged"):
        read_evidence(folder)


def test_every_number_of_an_attack_is_explained() -> None:
    assert set(ATTACKS) == set(ATTACK) - {DURABILITY, DURABLE}


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
