"""The effect of `--set` on a search space: a key with a fixed value no longer varies. Works on unvalidated data."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from hamu_ray.config.method import MethodConfig, load_methods
from hamu_ray.config.sources.document import SPACE, value_at
from hamu_ray.config.sources.keys import keys_of_domain
from hamu_ray.config.sweep import FORGET_OBJECTIVE, METHOD_NAME, METHOD_PREFIX
from hamu_ray.methods import METHODS, keys_of


def fix(document: dict[str, Any], key: str, value: Any) -> list[str]:
    """Remove keys set by ``--set`` from a document's space; return the keys that no longer vary.

    A domain of several keys keeps the others. If the method or its objective is fixed, keys that it does not use are
    also removed.
    """
    space = document.get(SPACE)
    if key.startswith(SPACE) or not isinstance(space, dict):
        return []
    given = set(_leaves(key, value))
    kept: dict[str, Any] = {}
    gone: list[str] = []
    for path, domain in space.items():
        keys = keys_of_domain(str(path))
        left = [one for one in keys if one not in given]
        gone += [one for one in keys if one in given]
        if left == keys:
            kept[path] = domain
        elif left:
            section = left[0].rpartition(".")[0]
            names = ",".join(one.rpartition(".")[2] for one in left)
            kept[left[0] if len(left) == 1 else f"{section}.{{{names}}}"] = domain
    if METHOD_NAME in given or FORGET_OBJECTIVE in given:
        unread = _unread(document, kept)
        gone += unread
        kept = {path: domain for path, domain in kept.items() if path not in unread}
    document[SPACE] = kept
    return gone


def _unread(document: Mapping[str, Any], space: Mapping[str, Any]) -> list[str]:
    """Return the domains of method hyperparameters that none of the remaining methods uses."""
    with suppress(ValueError):  # validation will report it
        load_methods(document)
    methods = _choices(document, space, METHOD_NAME)
    objectives = _choices(document, space, FORGET_OBJECTIVE)
    if not all(method in METHODS for method in methods):
        return []  # the name itself is invalid
    read = {METHOD_PREFIX + key for m in methods for o in objectives for key in keys_of(m, o)} | {METHOD_NAME}
    return [
        path
        for path in space
        if all(key.startswith(METHOD_PREFIX) and key not in read for key in keys_of_domain(str(path)))
    ]


def _choices(document: Mapping[str, Any], space: Mapping[str, Any], key: str) -> list[Any]:
    """Return the values that a key of the method may take, if they are listed."""
    domain = space.get(key)
    if isinstance(domain, Mapping):
        return [value for values in domain.values() if isinstance(values, list) for value in values]
    default = MethodConfig().name if key == METHOD_NAME else None
    found = value_at(document, key)
    return [default if found is None else found]


def _leaves(key: str, value: Any) -> Iterator[str]:
    """Yield the paths of the keys that a value at a key sets."""
    if not isinstance(value, dict):
        yield key
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}", inner)
