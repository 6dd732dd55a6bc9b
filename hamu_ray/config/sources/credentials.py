"""Credentials have no place in a configuration, in results or on a screen: they are refused, or taken out of texts."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"

_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"\\]+@")
"""User name and password of a URL, up to the last `@` before its path."""
_PARAMETER = re.compile(
    r"(?i)([?&;][\w.-]*(?:password|token|secret|signature|credential)[\w.-]*=)[^\s&;#'\"\\]+"
)
"""A URL's parameter such as `?sslpassword=` or `&X-Amz-Signature=`."""

ELSEWHERE = {
    "tracking": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, or the whole URI as "
    "MLFLOW_TRACKING_URI there",
    "storage": "leave them to the machine's role in the cloud, or to the environment, such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY",
}
"""By section, where its credentials come from."""
ANYWHERE = "leave them to the environment, such as HF_TOKEN, or to the machine's role in the cloud"


def without_credentials(text: str) -> str:
    """Return a text with `***` for what may be a credential in the URLs that it holds."""
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))


def check_no_credentials(document: Mapping[str, Any]) -> None:
    """Check that no value of a configuration holds a URL with credentials; it is kept beside every result.

    Raises:
        ValueError: naming the key, not the value.
    """
    for path, text in _texts(document, ""):
        if without_credentials(text) != text:
            remedy = ELSEWHERE.get(path.partition(".")[0], ANYWHERE)
            raise ValueError(f"{path}: holds a user name, password or token; take it out and {remedy}")


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text within plain data, with its key path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)
