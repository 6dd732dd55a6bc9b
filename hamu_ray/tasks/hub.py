"""Reaching the Hugging Face hub, or doing without it at once where it cannot be reached."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PROBE_SECONDS = 5.0
"""How long the hub may take to answer before it counts as out of reach."""


def is_local(name: str) -> bool:
    """Whether a name is a path of this machine, rather than a name on the hub (`owner/name`)."""
    return Path(name).expanduser().exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1


@cache
def hub_answers() -> bool:
    """Whether the hub answers. Asked once per process, with the hub library's own session and proxies."""
    import huggingface_hub
    from huggingface_hub import constants

    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # whatever it is, of whichever HTTP library is installed, the hub did not answer
        return False
    return True


@contextmanager
def hub_or_cache(name: str) -> Iterator[None]:
    """Within, this name is loaded from the hub, or from its local cache where the hub is out of reach.

    The libraries on their own try for 23 to 46 seconds before they look into the cache. Their switch for
    that, the environment variable ``HF_HUB_OFFLINE``, is read once at import; this sets what it was read to.
    """
    import datasets.config
    from huggingface_hub import constants

    if is_local(name) or constants.HF_HUB_OFFLINE or hub_answers():
        yield
        return
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def one_line(error: BaseException) -> str:
    """Return an error's text as one line, or its type where it has none; with its cause's, which may say more."""
    text = " ".join(str(error).split()) or type(error).__name__
    cause = error.__cause__
    if cause is None:
        return text
    behind = one_line(cause)
    return text if behind in text else f"{text}: {behind}"
