"""Put a selected model on the Hugging Face hub, or into a folder with the same files."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hamu_ray.config.run import MODEL_FILE
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.publishing.card import PICTURE, hub_card
from hamu_ray.results.folder import CARD_FILE
from hamu_ray.results.provenance import read_provenance
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.tasks.models.hub import hub_answers, one_line

TOKEN = "HF_TOKEN"
"""Environment variable with the hub's token; a token that a login has stored is not used."""

STAGED = "hub"
"""Folder in a sweep's folder for the files of a dry run."""

LIBRARIES = {"adapter_config.json": "peft", "config.json": "transformers"}
"""Libraries that load a model, by a file that it then has."""


def check_repo(repo: str, dry_run: bool) -> None:
    """Check a repository's name, and that there is a token, before anything else is done.

    Raises:
        ConfigError: One line with the remedy.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"--push {repo}: {one_line(error)}") from error
    if repo.count("/") != 1:
        raise ConfigError(f"--push {repo}: give OWNER/NAME")
    if dry_run:
        return
    token = hub_token()
    if not token:
        raise ConfigError(f"--push {repo}: set {TOKEN} to a token with write access; --dry-run needs none")
    if not re.fullmatch(r"[!-~]+", token):  # the client's error would show it
        raise ConfigError(f"--push {repo}: {TOKEN} has characters that no token has; copy it again")


def hub_token() -> str:
    """Return the environment's token without the line ends and spaces around it that files of secrets have."""
    return os.environ.get(TOKEN, "").strip()


def publish(
    repo: str, sweep: Path, trial: TrialRecord, why: str, dry_run: bool, log: Callable[[str], None]
) -> None:
    """Push a trial's model with its processor or tokenizer, its card and the front's picture.

    A dry run writes them into a folder instead. A new repository is private.

    Raises:
        ConfigError: The model is not complete, or the hub cannot be reached or refuses; one line with the remedy.
    """
    if dry_run:
        place = sweep / STAGED / repo.replace("/", "--")
        shutil.rmtree(place, ignore_errors=True)
        stage(place, repo, sweep, trial, why)
        for line in listed(place):
            log(line)
        log(f"dry run: these files would be pushed to {repo}; they are in {shown(place)}")
        return
    if not hub_answers():
        raise ConfigError(
            f"--push {repo}: the hub ({constants.ENDPOINT}) cannot be reached; try again with a network"
        )
    with TemporaryDirectory(prefix="hub-") as folder:
        place = Path(folder)
        stage(place, repo, sweep, trial, why)
        for line in listed(place):
            log(line)
        log(f"pushed   {upload(repo, place, trial.trial_id)}")


def upload(repo: str, place: Path, trial: str) -> str:
    """Push a folder's files in one commit; returns the repository's address."""
    api = HfApi(token=hub_token())
    try:
        created = api.create_repo(repo, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=place, commit_message=f"Trial {trial} of a hamu_ray sweep"
        )
    except Exception as error:  # the hub's client raises many unrelated types
        refused = getattr(getattr(error, "response", None), "status_code", None)
        status = f"refuses ({refused})" if refused else "does not answer"
        hint = f"; check the name and the rights of {TOKEN}" if refused in (401, 403, 404) else ""
        text = getattr(error, "server_message", None) or one_line(error)
        raise ConfigError(f"--push {repo}: the hub {status}: {text}{hint}") from error
    return str(created)


def stage(place: Path, repo: str, sweep: Path, trial: TrialRecord, why: str) -> None:
    """Write the files of the repository into a folder."""
    folder = storage_path(trial.model_path).parent
    names = list(model_files(folder))
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        with (folder / name).open("rb") as source, (place / name).open("wb") as copy:
            shutil.copyfileobj(source, copy)
    picture = sweep / PICTURE
    if picture.is_file():
        shutil.copyfile(picture, place / PICTURE)
    library = next((library for name, library in LIBRARIES.items() if name in names), None)
    card = hub_card(repo, trial, library, (folder / CARD_FILE).read_text(), why)
    (place / CARD_FILE).write_text(card)


def model_files(folder: StoragePath) -> Iterator[str]:
    """Yield the names of the files that belong to a model: weights or adapter, processor or tokenizer.

    Raises:
        ConfigError: A file is missing, or the run has none.
    """
    provenance = read_provenance(folder)
    if provenance is None:
        raise ConfigError(f"{shown(folder)}: the run's files are not complete; repeat it with its run.yaml")
    is_adapter = "adapter_config.json" in provenance.files
    for name in provenance.files:
        if is_adapter and name == MODEL_FILE:
            continue  # the same weights by other names
        if not (folder / name).is_file():
            raise ConfigError(f"{shown(folder / name)}: missing; repeat the run with its run.yaml")
        yield name


def listed(place: Path) -> Iterator[str]:
    """Yield a line for each file with its size."""
    for path in sorted(place.iterdir()):
        yield f"file     {path.name:<32} {path.stat().st_size:>14,} bytes"
