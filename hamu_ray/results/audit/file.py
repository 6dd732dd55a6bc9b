"""The audit's file in a run's folder. Of audits by earlier rules, the numbers are read without their verdicts."""

import logging

from hamu_ray.results.audit.finding import Audit, audit_of
from hamu_ray.results.durable.sealed import Damaged, read_sealed, unseal, write_sealed
from hamu_ray.results.folder import AUDIT_FILE
from hamu_ray.storage import StoragePath

logger = logging.getLogger(__name__)


def write_audit(folder: StoragePath, audit: Audit) -> None:
    """Write the results of a model's attacks into its folder."""
    write_sealed(folder / AUDIT_FILE, audit.as_document())


def read_audit(folder: StoragePath, model: str) -> Audit:
    """Return the results of the attacks on this model, by the hash of its weights, from its folder; empty if there are
    none, or if they are damaged."""
    try:
        found = audit_of(read_sealed(folder / AUDIT_FILE)).today
    except FileNotFoundError:
        return Audit(model, {})
    except Damaged as error:
        logger.warning("%s; the attacks run again", error)
        return Audit(model, {})
    return found if found.model == model else Audit(model, {})


def load_audit(content: bytes, name: str) -> Audit:
    """Return an audit from the content of a file; raises `Damaged` with the file's name."""
    return audit_of(unseal(content, name)).today
