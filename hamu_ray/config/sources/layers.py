"""Configurations in layers: what a file `extends`, the file, and presets over them. Plain data, before the schema.

What comes later wins, key by key: what a file extends, the preset of that which the file names, the file itself, its
own preset of that name. The command is one file more: `--set preset=NAME` is laid over all, and other `--set` on top.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hamu_ray.config.sources.document import SPACE, ConfigError, place_of, read_yaml, split_path
from hamu_ray.config.sources.explain import shown

EXTENDS, PRESETS, PRESET = "extends", "presets", "preset"
"""The keys that say how a configuration is put together; the whole one has none of them."""

VARIANTS = {"data": "name", "forget": "kind"}
"""Sections whose other keys depend on one of them: where a file changes that, it inherits nothing of the section."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """A part of a configuration."""

    source: str
    """Where it was written: a file, and the preset in it."""
    document: Document


@dataclass(frozen=True)
class Stack:
    """A file and all that it extends."""

    layers: tuple[Layer, ...] = ()
    """What comes later wins."""
    presets: Mapping[str, tuple[Layer, ...]] = field(default_factory=dict)
    """What can be laid over them: of each name a layer from every file that has such a preset."""

    def preset(self, name: object) -> tuple[Layer, ...]:
        """Return the layers of a preset, none for None; raises `ConfigError` that names those that exist."""
        if name is None:
            return ()
        if isinstance(name, str) and name in self.presets:
            return self.presets[name]
        known = f"take {' or '.join(self.presets)}" if self.presets else "the file has none; remove it"
        raise ConfigError(f"{PRESET}: unknown preset {shown(name)}; {known}")


def read_stack(path: str | Path, above: tuple[str, ...] = ()) -> Stack:
    """Read a file and what it extends; ``above`` are the files that extend this one.

    Raises:
        ConfigError: A file cannot be read or extends itself, or a preset is not there: one line that names the file.
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
    """Return the whole configuration of some layers."""
    document: Document = {}
    for layer in layers:
        document = merge_two(document, layer.document)
    return document


def merge_two(base: Document, over: Document, place: tuple[str, ...] = ()) -> Document:
    """Return a document with another laid over it, section by section; neither is changed.

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
    """Return where a key, or else the nearest section around it, was written last; None where it was not."""
    written = tuple(layers)[::-1]
    while place:
        for layer in written:
            if _holds(layer.document, split_path(place)):
                return layer.source
        place = place.rpartition(".")[0]
    return None


def _goes_on(inherited: Document, value: Any, place: tuple[str, ...]) -> bool:
    """Whether a section keeps what it inherits, but for the keys that are given."""
    if not isinstance(value, dict) or place[:-1] == (SPACE,):
        return False
    variant = VARIANTS.get(place[0]) if len(place) == 1 else None
    return variant is None or value.get(variant, inherited.get(variant)) == inherited.get(variant)


def _base(path: str | Path, extends: object, above: tuple[str, ...]) -> Stack:
    if not isinstance(extends, str) or not extends:
        raise ConfigError(
            f"{path}: {EXTENDS}: expected the path of a file, from this one, found {shown(extends)}"
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
    """Return changes by key paths as a document."""
    document: Document = {}
    for path, value in changes.items():
        for key in reversed(split_path(str(path))):
            value = {key: value}
        document = merge_two(document, value)
    return document


def _holds(document: Any, parts: list[str]) -> bool:
    """Whether a document has a key at a path, or a value that is no section on the way."""
    for part in parts:
        if not isinstance(document, dict):
            break
        if part not in document:
            return False
        document = document[part]
    return True
