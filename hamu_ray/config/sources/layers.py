"""Layered configurations: the files that a file `extends`, the file, and presets. Works on unvalidated data.

Later layers override earlier ones key by key: the extended file, its preset selected by this file, the file itself, and
this file's own preset of that name. The command line comes last: `--set preset=NAME` is applied on top of all files,
and other `--set` on top of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hamu_ray.config.sources.document import SPACE, ConfigError, place_of, read_yaml, split_path
from hamu_ray.config.sources.explain import shown

EXTENDS, PRESETS, PRESET = "extends", "presets", "preset"
"""The keys that define layering; the merged configuration has none of them."""

VARIANTS = {"data": "name", "forget": "kind"}
"""Sections whose keys depend on one of them: a file that changes it inherits no other key of the section."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """A part of a configuration."""

    source: str
    """Where it was written: a file, and the preset in it."""
    document: Document


@dataclass(frozen=True)
class Stack:
    """A file and all files that it extends."""

    layers: tuple[Layer, ...] = ()
    """Later layers override earlier ones."""
    presets: Mapping[str, tuple[Layer, ...]] = field(default_factory=dict)
    """Available presets: for each name, a layer from every file that defines it."""

    def preset(self, name: object) -> tuple[Layer, ...]:
        """Return the layers of a preset, none for None; raises `ConfigError` that lists the available ones."""
        if name is None:
            return ()
        if isinstance(name, str) and name in self.presets:
            return self.presets[name]
        known = f"use {' or '.join(self.presets)}" if self.presets else "the file defines none; remove it"
        raise ConfigError(f"{PRESET}: unknown preset {shown(name)}; {known}")


def read_stack(path: str | Path, above: tuple[str, ...] = ()) -> Stack:
    """Read a file and the files it extends; ``above`` are the files that extend this one.

    Raises:
        ConfigError: A file cannot be read or extends itself, or a preset does not exist. The message names the file.
    """
    document = read_yaml(path)
    extends, presets, preset = (document.pop(key, None) for key in (EXTENDS, PRESETS, PRESET))
    base = Stack() if extends is None else _base(path, extends, above)
    own = _own_presets(path, presets)
    stack = Stack(presets={n: base.presets.get(n, ()) + own.get(n, ()) for n in {**base.presets, **own}})
    try:
        stack.preset(preset)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    inherited = base.layers + base.presets.get(preset, ())
    return Stack((*inherited, Layer(str(path), document), *own.get(preset, ())), stack.presets)


def merge(layers: Iterable[Layer]) -> Document:
    """Merge layers into one configuration."""
    document: Document = {}
    for layer in layers:
        document = merge_two(document, layer.document)
    return document


def merge_two(base: Document, over: Document, place: tuple[str, ...] = ()) -> Document:
    """Merge two documents section by section, without changing them; ``over`` takes precedence.

    A domain of the space is replaced as a whole. Null in place of an inherited section or domain removes it.
    """
    merged = dict(base)
    for key, value in over.items():
        inherited = base.get(key)
        if value is None and (isinstance(inherited, dict) or (place == (SPACE,) and key in base)):
            del merged[key]
        elif isinstance(inherited, dict) and _goes_on(inherited, value, (*place, key)):
            merged[key] = merge_two(inherited, value, (*place, key))
        else:
            merged[key] = value
    return merged


def source_of(layers: Iterable[Layer], place: str) -> str | None:
    """Return where a key, or the closest enclosing section, was last written; None if it was not."""
    written = tuple(layers)[::-1]
    while place:
        for layer in written:
            if _holds(layer.document, split_path(place)):
                return layer.source
        place = place.rpartition(".")[0]
    return None


def _goes_on(inherited: Document, value: Any, place: tuple[str, ...]) -> bool:
    """Whether a section keeps its inherited keys."""
    if not isinstance(value, dict) or place[:-1] == (SPACE,):
        return False
    variant = VARIANTS.get(place[0]) if len(place) == 1 else None
    return variant is None or value.get(variant, inherited.get(variant)) == inherited.get(variant)


def _base(path: str | Path, extends: object, above: tuple[str, ...]) -> Stack:
    if not isinstance(extends, str) or not extends:
        raise ConfigError(
            f"{path}: {EXTENDS}: expected a file path relative to this file, found {shown(extends)}"
        )
    place = place_of(path)
    base = place_of(extends) if "://" in extends else place.parent / Path(extends).expanduser()
    above = (*above, str(place.resolve()))
    if str(base.resolve()) in above:
        raise ConfigError(f"{path}: {EXTENDS}: {extends} extends this file itself; remove one of the two")
    try:
        return read_stack(base if isinstance(base, Path) else str(base.resolve()), above)
    except ConfigError as error:
        raise ConfigError(f"{path} extends {error}") from error


def _own_presets(path: str | Path, presets: object) -> dict[str, tuple[Layer, ...]]:
    """Return a file's presets by name, each as one layer."""
    if presets is None:
        return {}
    if not isinstance(presets, dict):
        example = "small: {duration.steps: 10}"
        raise ConfigError(
            f"{path}: {PRESETS}: expected names and changes, such as {example}, found {shown(presets)}"
        )
    own: dict[str, tuple[Layer, ...]] = {}
    for name, changes in presets.items():
        if not isinstance(changes, dict):
            raise ConfigError(
                f"{path}: {PRESETS}.{name}: expected key paths and values, such as duration.steps: 10, "
                f"found {shown(changes)}"
            )
        own[str(name)] = (Layer(f"{path} with preset {name}", _nested(changes)),)
    return own


def _nested(changes: Mapping[Any, Any]) -> Document:
    """Convert changes by key path to a nested document."""
    document: Document = {}
    for path, value in changes.items():
        for key in reversed(split_path(str(path))):
            value = {key: value}
        document = merge_two(document, value)
    return document


def _holds(document: Any, parts: list[str]) -> bool:
    """Whether a document has a key at a path, or a value that is not a section on the way."""
    for part in parts:
        if not isinstance(document, dict):
            break
        if part not in document:
            return False
        document = document[part]
    return True
