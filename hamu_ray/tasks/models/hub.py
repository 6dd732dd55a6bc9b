"""Access to the Hugging Face hub, with an immediate fallback to the cache if it is unreachable."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PROBE_SECONDS = 5.0
"""Time limit for the hub to respond before it counts as unreachable."""


def is_local(name: str) -> bool:
    """Whether a name is a local path, rather than a name on the hub (`owner/name`)."""
    return Path(name).expanduser().exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1


@cache
def hub_answers() -> bool:
    """Whether the hub responds. Checked once per process, with the hub library's own session and proxies."""
    import huggingface_hub
    from huggingface_hub import constants

    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # any exception of any HTTP library means that the hub is unreachable
        return False
    return True


@contextmanager
def hub_or_cache(name: str) -> Iterator[None]:
    """Within this context, a name is loaded from the hub, or from its local cache if the hub is unreachable.

    By default, the libraries retry for 23 to 46 seconds before they use the cache. The environment variable that
    prevents this, ``HF_HUB_OFFLINE``, is read once at import; this context sets the resulting constant.

    `datasets` does not log errors within, which it also raises, and draws no progress bars for local files.
    """
    import datasets
    from huggingface_hub import constants

    logger = logging.getLogger("datasets")
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, logger.level
    logger.setLevel(logging.CRITICAL)
    if not (is_local(name) or constants.HF_HUB_OFFLINE or hub_answers()):
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    local = is_local(name) and not datasets.are_progress_bars_disabled()
    if local:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if local:
            datasets.enable_progress_bars()
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before[:2]
        logger.setLevel(before[2])


def prepared_in(name: str) -> Path | None:
    """Return the folder in which `datasets` is to prepare a data set; None for its usual one.

    `datasets` recognises a local folder with a card (`README.md`) by its name and its card alone: it would take changed
    files, or those of another folder of the same name, for the ones that it prepared before.
    """
    folder = Path(name).expanduser()
    if not (folder / "README.md").is_file():
        return None
    import datasets

    content = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found = path.stat()
        content.update(f"{path.relative_to(folder)} {found.st_size} {found.st_mtime_ns}\n".encode())
    return Path(datasets.config.HF_DATASETS_CACHE) / "folders" / content.hexdigest()[:16]


def one_line(error: BaseException) -> str:
    """Return an error's message as one line, or its type if the message is empty, followed by that of its cause."""
    text = " ".join(str(error).split()) or type(error).__name__
    cause = error.__cause__
    if cause is None:
        return text
    behind = one_line(cause)
    return text if behind in text else f"{text}: {behind}"
