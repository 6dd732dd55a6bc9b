"""A certificate as plain data: what is signed."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from hamu_ray.certificate import words
from hamu_ray.certificate.evidence import Evidence
from hamu_ray.certificate.signing import plain
from hamu_ray.results.folder import FORGET_FILE

FORMAT = "hamu_ray certificate of unlearning"
VERSION = 1

SECTIONS = ("data", "forget", "model", "training", "method", "optimizer", "batch", "duration", "seed")
"""The parts of a run's configuration that determine its model; places and credentials are left out."""


def certificate_of(evidence: Evidence, made: datetime | None = None) -> dict[str, Any]:
    """Return the certificate of a run that has ended. Undefined metrics are None.

    It contains no absolute path, and no content of the examples to forget beyond what the request itself names.
    """
    run, outcome, provenance = evidence.run, evidence.outcome, evidence.provenance
    configuration = run.model_dump(mode="json", by_alias=True, include=set(SECTIONS))
    known = asdict(provenance)
    known["original"] = {"sha256": provenance.original.sha256}
    known["references"] = [{"sha256": reference.sha256} for reference in provenance.references]
    if provenance.interpolation is None:
        del known["interpolation"]
    else:
        known["interpolation"]["ends"] = [{"sha256": end.sha256} for end in provenance.interpolation.ends]
    if provenance.start is None:
        del known["start"]
    else:
        known["start"] = {"sha256": provenance.start.sha256}
    certificate: dict[str, Any] = {
        "format": FORMAT,
        "format_version": VERSION,
        "made": f"{made or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "run": run.name,
        "task": run.data.task,
        "asked": words.asked(configuration["forget"], provenance.forget_count, run.data.task, run.data.name),
        "removed": {
            "count": provenance.forget_count,
            "list": FORGET_FILE,
            "list_sha256": provenance.forget_list,
            "first": evidence.forgotten.decode().splitlines()[1:6],
        },
        "unlearning": {
            "method": run.method.name,
            "status": str(outcome.status),
            "reason": outcome.reason,
            "steps": outcome.steps,
            "seconds": outcome.seconds,
            "retraining_seconds": provenance.retraining_seconds,
            "steps_outside_guarantee": outcome.steps_outside_guarantee,
            "nothing_to_forget": outcome.nothing_to_forget,
        },
        "reference": {
            "kind": outcome.reference_kind,
            "origin": f"The reference {outcome.reference_origin}.",
            "seeds": run.reference.seeds,
        },
        "measures": {**evidence.bases, "unlearned": dict(outcome.measures)},
        "attacks": evidence.attacks,
        "not_shown": list(words.NOT_SHOWN),
        "provenance": known,
        "configuration": configuration,
    }
    document = plain(certificate)
    return {**document, "limits": words.limits(document)}


def measures_shown(certificate: Mapping[str, Any]) -> list[str]:
    """Return the metrics that a certificate's page explains and the run has."""
    models = certificate["measures"].values()
    return [name for name in words.MEASURES if any(measures.get(name) is not None for measures in models)]
