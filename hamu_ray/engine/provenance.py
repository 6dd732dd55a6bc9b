"""Gathering where a run's model comes from."""

import json
import platform
import subprocess
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import hamu_ray
from hamu_ray.config.run import RunConfig, StartConfig
from hamu_ray.engine.files.given import identity_of_start
from hamu_ray.engine.files.store import StoredModel, key_of
from hamu_ray.engine.plan import Plan
from hamu_ray.methods.plugins import digest_of_package
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.provenance import Code, ModelIdentity, PluginCode, Provenance, forget_list, sha256_of
from hamu_ray.storage import storage_path
from hamu_ray.tasks.models.checkpoints import Checkpoint, file_digest
from hamu_ray.tasks.task import Start, Task

DISTRIBUTION = "hamu-ray"
PACKAGE = Path(hamu_ray.__file__).parent

LIBRARIES = (
    *("torch", "torchvision", "transformers", "peft", "tokenizers", "datasets", "safetensors"),
    *("numpy", "scipy", "scikit-learn", "ray"),
)
"""Distributions whose versions are recorded."""

GIT_SECONDS = 10
"""Maximum time of a git command."""


def provenance_of_run(
    run: RunConfig,
    task: Task,
    original: StoredModel,
    reference: StoredModel | None,
    forgotten: bytes,
    workers: int,
) -> Provenance:
    """Return where a run's model comes from, except for the hashes of the model's own files.

    ``forgotten`` is the content of `FORGET_FILE`, ``workers`` the size of the group that made the model.
    """
    return Provenance(
        code=code(),
        data=task.fingerprint,
        forget_count=len(task.splits["forget"]),
        retain_count=len(task.splits["retain"]),
        forget_list=sha256_of(forgotten),
        original=identity_of_model(original),
        references=[identity_of_model(one) for one in (reference, *reference.others)] if reference else [],
        files={},
        seeds={"training": run.training_seed, "unlearning": run.seed},
        hardware=f"{workers} x {device_name(task.device)}",
        platform=f"{platform.platform()}, Python {platform.python_version()}",
        libraries={name: version for name in LIBRARIES if (version := installed(name))},
        start=None if run.start is None else started_at(run.start),
        plugins=[PluginCode(**asdict(plugin)) for plugin in run.method.plugins],
    )


def started_at(start: StartConfig) -> ModelIdentity:
    """Return place and content hash of the model of an earlier run at which a run started."""
    return ModelIdentity(str(storage_path(start.path) / MODEL_FILE), identity_of_start(start))


def forgotten_by(task: Task) -> bytes:
    """Return the list of a task's examples to forget, as the content of `FORGET_FILE`."""
    return forget_list((one.place, one.sha256) for one in task.identities(task.splits["forget"]))


def identity_of_model(model: StoredModel) -> ModelIdentity:
    """Return place and content hash of a base model."""
    source = model.source
    if isinstance(source, Start):
        return ModelIdentity(source.name, Checkpoint(source.key, source.name).identity)
    return ModelIdentity(str(source), file_digest(source), model.training_seconds)


@cache
def code() -> Code:
    """Return the version, commit and hash of the running code; read once per process."""
    commit, dirty = _checkout() or (_installed_commit(), False)
    return Code(installed(DISTRIBUTION), digest_of_package(PACKAGE), commit, dirty)


def installed(distribution: str) -> str:
    """Return the version of an installed distribution; empty if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def device_name(device: torch.device) -> str:
    """Return the model name of a GPU or of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _checkout() -> tuple[str, bool] | None:
    """Return commit and uncommitted changes of the checkout that contains the package; None outside one.

    A package that is installed below another project's checkout is not part of it.
    """
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    return None if commit is None or changes is None else (commit, bool(changes))


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PACKAGE), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _installed_commit() -> str:
    """Return the commit that pip installed from, as recorded by PEP 610; empty if it was no repository."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return str(json.loads(text or "{}").get("vcs_info", {}).get("commit_id", ""))
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def weights_key(
    run: RunConfig, original: StoredModel, reference: StoredModel | None, plan: Plan | None = None
) -> str:
    """Return the hash of everything that determines a run's weights; checkpoints with another hash are not resumed.

    It includes the reference if the run stops at the reference's forget loss or rewinds to its forget accuracy, second
    answers, the code of plug-ins, and the model at which it starts.
    """
    places = {"name", "workers", "storage", "tracking", "checkpoint", "metrics"}
    elsewhere = places | {"original", "reference", "training", "start"}
    bases: dict[str, Any] = {"original": original.key}
    by_reference = (
        run.stop.forget_level or run.stop.rewind == "reference" or run.method.hyperparameters.target
    )
    if reference is not None and by_reference:
        bases["reference"] = reference.key
    if plan is not None and plan.second is not None:
        bases["second answers"] = plan.second.fingerprint
    if run.start is not None:
        bases["start"] = identity_of_start(run.start)
    if run.method.plugins:
        bases["plugins"] = [asdict(plugin) for plugin in run.method.plugins]
    document = run.model_dump(mode="json", exclude=elsewhere)
    return key_of({**bases, "run": {**document, "method": run.method.used}})
