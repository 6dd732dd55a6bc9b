"""Credentials must not appear in configurations, results or terminal output: they are rejected or redacted."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"

_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"\\]+@")
"""User name and password of a URL, up to the last `@` before its path."""
_PARAMETER = re.compile(
    r"(?i)([?&;][\w.-]*(?:password|token|secret|signature|credential)[\w.-]*=)[^\s&;#'\"\\]+"
)
"""A URL parameter such as `?sslpassword=` or `&X-Amz-Signature=`."""

ELSEWHERE = {
    "tracking": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, or the whole URI as "
    "MLFLOW_TRACKING_URI there",
    "storage": "use the machine's cloud role, or environment variables such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY",
}
"""Where to put credentials instead, by section."""
ANYWHERE = "use environment variables such as HF_TOKEN, or the machine's cloud role"


def without_credentials(text: str) -> str:
    """Return a text in which possible credentials in URLs are replaced by `***`."""
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))


def check_no_credentials(document: Mapping[str, Any]) -> None:
    """Check that no value contains a URL with credentials, because the configuration is stored with every result.

    Raises:
        ValueError: A value has credentials. The message names the key, not the value.
    """
    for path, text in _texts(document, ""):
        if without_credentials(text) != text:
            remedy = ELSEWHERE.get(path.partition(".")[0], ANYWHERE)
            raise ValueError(f"{path}: contains a user name, password or token; remove it and {remedy}")


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every string in plain data with its key path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)
