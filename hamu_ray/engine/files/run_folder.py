"""The result files in a run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
import yaml
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.card import CARD_FILE, model_card
from hamu_ray.engine.files.tensors import save_tensors
from hamu_ray.engine.history import History
from hamu_ray.engine.state import changing_state
from hamu_ray.results.durable.listing import write_listed
from hamu_ray.results.durable.sealed import write_sealed
from hamu_ray.results.folder import HARDNESS_FILE, MODEL_FILE, OUTCOME_FILE, RUN_FILE
from hamu_ray.results.hardness import GRADIENT_COSINE, HARDNESS, hardness_sentences, histories_of
from hamu_ray.results.outcome import Outcome, Report
from hamu_ray.storage import StoragePath


def write_result(
    folder: StoragePath, run: RunConfig, model: nn.Module, outcome: Outcome, history: History
) -> None:
    """Write the model, the run's configuration and per-block diagnostics; the outcome is written last."""
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    save_tensors(folder / MODEL_FILE, changing_state(model), {"steps": str(outcome.steps)})
    configuration = run.model_dump(mode="json", by_alias=True)
    files = {RUN_FILE: yaml.safe_dump(configuration, sort_keys=False).encode()}
    if history.past:
        content = BytesIO()
        arrays: dict[str, Any] = history.by_block()
        np.savez_compressed(content, **arrays)
        files[HARDNESS_FILE] = content.getvalue()
    write_listed(folder, files)
    write_sealed(folder / OUTCOME_FILE, asdict(outcome))


def write_for_others(
    folder: StoragePath,
    run: RunConfig,
    outcome: Outcome,
    files: Mapping[str, bytes],
    bases: Sequence[Report],
    history: History,
    loading: str,
) -> None:
    """Write the files that other programs need in addition to the weights, and a model card."""
    steps = histories_of(history.reports, (HARDNESS, GRADIENT_COSINE))
    hardness = hardness_sentences(steps, run.method.model_dump())
    measures = {base.phase: base.measures for base in bases[:-1]}
    card = model_card(run, outcome, measures, hardness, loading)
    write_listed(folder, {**files, CARD_FILE: card.encode()})
