"""The result files in a run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.card import model_card
from hamu_ray.engine.files.tensors import Written, save_tensors
from hamu_ray.engine.history import History
from hamu_ray.results.durable.listing import write_listed
from hamu_ray.results.durable.sealed import write_sealed
from hamu_ray.results.folder import (
    CARD_FILE,
    FORGET_FILE,
    HARDNESS_FILE,
    MODEL_FILE,
    OUTCOME_FILE,
    REPORTS_FILE,
    RUN_FILE,
)
from hamu_ray.results.hardness import GRADIENT_COSINE, HARDNESS, hardness_sentences, histories_of
from hamu_ray.results.outcome import Outcome, Report, dump_reports
from hamu_ray.results.provenance import Provenance, sha256_of, write_provenance
from hamu_ray.storage import StoragePath, remove_partial_files, sha256_of_file, write_atomically


@dataclass(frozen=True)
class RunResult:
    """What a run came to, besides its model."""

    run: RunConfig
    outcome: Outcome
    bases: Sequence[Report]
    """Metrics of the base models, and of the model before the first step."""
    history: History
    forgotten: bytes
    """The content of `FORGET_FILE`."""
    provenance: Provenance
    """Without the hashes of the model's files."""


def write_weights(folder: StoragePath, state: Written, steps: int) -> None:
    """Write a model's `whole_state` after a number of steps, which begins a new result."""
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    remove_partial_files(folder)
    save_tensors(folder / MODEL_FILE, state, {"steps": str(steps)})


def write_result(
    folder: StoragePath,
    result: RunResult,
    files: Mapping[str, bytes],
    loading: str,
) -> None:
    """Write everything about the run whose `write_weights` are there, with provenance; the outcome is written last.

    ``files`` are those that other programs need in addition to the weights; ``loading`` is Python code for the model
    card that loads the model.
    """
    run, outcome, history = result.run, result.outcome, result.history
    reports = [*result.bases, *history.reports]
    write_atomically(folder / REPORTS_FILE, dump_reports(reports))
    hashes = {MODEL_FILE: sha256_of_file(folder / MODEL_FILE)}
    hashes |= {name: sha256_of(content) for name, content in files.items()}
    provenance = replace(result.provenance, files=hashes)
    write_provenance(folder, provenance)
    configuration = run.model_dump(mode="json", by_alias=True)
    about = {
        **files,
        FORGET_FILE: result.forgotten,
        CARD_FILE: _card(result, provenance, loading).encode(),
        RUN_FILE: yaml.safe_dump(configuration, sort_keys=False).encode(),
    }
    if history.past:
        compressed = BytesIO()
        arrays: dict[str, Any] = history.by_block()
        np.savez_compressed(compressed, **arrays)
        about[HARDNESS_FILE] = compressed.getvalue()
    write_listed(folder, about)
    write_sealed(folder / OUTCOME_FILE, asdict(outcome))


def _card(result: RunResult, provenance: Provenance, loading: str) -> str:
    steps = histories_of(result.history.reports, (HARDNESS, GRADIENT_COSINE))
    hardness = hardness_sentences(steps, result.run.method.model_dump())
    measures = {base.phase: base.measures for base in result.bases if base.phase != "unlearning"}
    return model_card(result.run, result.outcome, measures, hardness, provenance, loading)
