"""Inputs that cannot be used: configurations, files and arguments, each with the line that a command answers."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from tests.made_store import sweep_config
from tests.runs import small_run
from tests.tasks.made_images import image_of

Sections = Mapping[str, Any]


class Bad(NamedTuple):
    """A bad input, and the line that answers."""

    given: Sections | str | bytes | Callable[[Path], Sections]
    """Changed sections of a run's configuration, or a function that returns them and writes the files that they name
    below its argument; text and bytes are a whole configuration file.
    """
    names: str
    """The key, option or file that the line names."""
    remedy: str
    """The part of the line that says what is expected, or what to do."""
    command: str = "tune"
    arguments: tuple[str, ...] = ("given.yaml",)


def images(folder: Path, odd: Callable[[Path], object] = lambda path: None, **data: Any) -> Sections:
    """Write a folder of images in two classes and two splits; ``odd`` changes one of them."""
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True)
            for i in range(8):
                image_of(i * 20, (32, 32)).save(folder / split / label / f"{i}.png")
    odd(folder / "train" / "dog" / "3.png")
    forget = {"kind": "class", "label": "cat", "rho": 0.0}
    return {"data": {"name": "images", "path": str(folder), **data}, "forget": forget}


def half(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_test_split(folder: Path) -> Sections:
    sections = images(folder)
    shutil.rmtree(folder / "test")
    return sections


def empty_folder(folder: Path) -> Sections:
    folder.mkdir()
    return {"data": {"name": "images", "path": str(folder)}}


def texts(folder: Path, rows: str, **data: Any) -> Sections:
    """Write a data set of texts."""
    folder.mkdir()
    (folder / "train.jsonl").write_text(rows)
    columns = {"question_column": "question", "answer_column": "answer"}
    return {
        "data": {"name": "text", "path": str(folder), **columns, **data},
        "forget": {"kind": "random", "share": 0.1},
        "model": {"hidden_size": 16, "layers": 2, "heads": 2, "vocabulary": 300},
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model of the digits."""
    from hamu_ray.config.run import RunConfig
    from hamu_ray.engine.resident import Resident
    from hamu_ray.engine.state import changing_state

    run = RunConfig.model_validate(small_run(folder))
    return dict(changing_state(Resident(folder, torch.device("cpu")).task(run).build_model(run.seed)))


def original(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object] = lambda tensors: None
) -> Sections:
    """Write the weights of an original model, changed."""
    folder.mkdir()
    tensors = weights(folder)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return {"original": {"path": str(folder)}}


def other_classes(tensors: dict[str, torch.Tensor]) -> None:
    name = list(tensors)[-1]
    tensors[name] = torch.cat([tensors[name]] * 2)


def not_finite(tensors: dict[str, torch.Tensor]) -> None:
    tensors[next(iter(tensors))] *= torch.nan


def cut_short(folder: Path) -> Sections:
    sections = original(folder)
    half(folder / "model.safetensors")
    return sections


def without_model(folder: Path) -> Sections:
    folder.mkdir()
    (folder / "notes.txt").write_text("no model here")
    return {"original": {"path": str(folder)}}


def pickled(folder: Path) -> Sections:
    folder.mkdir()
    torch.save({"weight": torch.zeros(3)}, folder / "pytorch_model.bin")
    return {"original": {"path": str(folder)}}


def no_pretrained_model(folder: Path) -> Sections:
    folder.mkdir()
    return {**images(folder / "images"), "model": {"name": str(folder)}}


def indices(folder: Path, content: str) -> Sections:
    folder.write_text(content)
    return {"forget": {"kind": "indices", "path": str(folder)}}


def below_a_file(folder: Path) -> Sections:
    folder.write_text("a file")
    return {"storage": {"path": str(folder / "runs")}}


def no_database(folder: Path) -> Sections:
    folder.write_text("no database" * 1000)
    return {"tracking": {"uri": f"sqlite:///{folder}"}}


def sweep(folder: Path, file: str = "sweep.yaml", content: str | None = None) -> Sections:
    """Write the folder of a sweep that has only its configuration, or another content in a file."""
    from hamu_ray.results.sweep_folders import make_folder

    place = folder.parent / "runs" / "sweeps" / "small-20260101-120000"
    make_folder(place, sweep_config({"seed": {"grid": [1, 2]}}))
    if content is not None:
        (place / file).write_text(content)
    return {}


SWEEP = "runs/sweeps/small-20260101-120000"
LEARNING_RATE = "optimizer.learning_rate"


def domain(**values: Any) -> Sections:
    return {"space": {LEARNING_RATE: values}}


NO_REFERENCE = {"reference": {"source": "none"}}
ROWS = '{"question": "a", "answer": "b"}\n' * 20

BAD: Mapping[str, Bad] = {
    # the file
    "no file": Bad({}, "gven.yaml", "did you mean given.yaml", arguments=("gven.yaml",)),
    "a folder": Bad({}, ".: ", "give a YAML file", arguments=(".",)),
    "an empty file": Bad("", "given.yaml: ", "write keys and values"),
    "a list": Bad("- a\n", "given.yaml: ", "expected keys and values"),
    "half a list": Bad("seed: [1, 2", "given.yaml: line 1", "expected ',' or ']'"),
    "a tab": Bad("optimizer:\n\tname: sgd\n", "given.yaml: line 2", "indent with spaces"),
    "bytes": Bad(b"\xff\xfe\xff", "given.yaml: ", "not valid YAML"),
    "a key twice": Bad("name: a\nname: b\n", "given.yaml: line 2", "remove one of the two"),
    "a Python object": Bad(
        "!!python/object/apply:os.getcwd []", "line 1", "could not determine a constructor"
    ),
    # keys and values
    "a typing error": Bad(
        {"optimizer": {"learing_rate": 1}}, "optimizer.learing_rate", "did you mean learning_rate?"
    ),
    "a key in the wrong place": Bad(
        {"learning_rate": 3}, "learning_rate", "did you mean optimizer.learning_rate?"
    ),
    "a text": Bad({"optimizer": {"learning_rate": "fast"}}, LEARNING_RATE, "expected a number"),
    "not a number": Bad({"optimizer": {"learning_rate": float("nan")}}, LEARNING_RATE, "a finite number"),
    "a negative number": Bad({"duration": {"steps": -1}}, "duration.steps", "at least 0"),
    "a list for a section": Bad({"optimizer": [1, 2]}, "optimizer: ", "expected a section"),
    "an empty section": Bad({"duration": None}, "duration: ", "add keys (epochs, steps)"),
    "a name with a slash": Bad({"name": "a/b"}, "name: ", "use only letters"),
    "a long name": Bad({"name": "x" * 10_000}, "name: ", "at most 100 characters"),
    "an experiment of 10,000 letters": Bad(
        {"tracking": {"experiment": "x" * 10_000}}, "tracking.experiment: ", "250 characters"
    ),
    "a registered model with a slash": Bad(
        {"tracking": {"register_models": "a/b"}}, "tracking.register_models: ", "rename it"
    ),
    "an unknown method": Bad({"method": {"name": "hamu_q"}}, "method.name", "did you mean hamu-q?"),
    "an unknown data set": Bad({"data": {"name": "cifr10"}}, "data.name", "did you mean cifar10?"),
    "an unknown model": Bad({"model": {"name": "./resnet21"}}, "model.name", "no such folder"),
    # settings that contradict each other
    "two durations": Bad({"duration": {"epochs": 1, "steps": 3}}, "duration: ", "set the other to null"),
    "three workers": Bad({"workers": {"count": 3}}, "workers.count", "use 2 or 4"),
    "only forget workers": Bad(
        {"workers": {"count": 2, "forget_workers": 2}}, "forget_workers", "fewer than count"
    ),
    "no original": Bad({"original": {"source": "none"}}, "original.source", "use train or path"),
    "a level without a reference": Bad(
        {"stop": {"forget_level": "reference"}, **NO_REFERENCE}, "stop.forget_level", "set reference.source"
    ),
    "forget quality without a reference": Bad(
        {**NO_REFERENCE, "forget": {"kind": "class", "label": 0, "rho": 0.0}},
        "search.objectives",
        "use forget_accuracy_quality",
    ),
    "greyscale and colour": Bad(
        {"data": {"name": "images", "path": ".", "mean": [0.5], "std": [0.1, 0.1]}},
        "data: mean",
        "1 for greyscale",
    ),
    # the space and the search
    "no space": Bad({"space": {}}, "space: ", "add one"),
    "bounds the wrong way round": Bad(
        domain(uniform=[0.1, 0.01]), LEARNING_RATE, "lower bound must be below"
    ),
    "the logarithm of zero": Bad(domain(loguniform=[0, 0.01]), LEARNING_RATE, "needs bounds above zero"),
    "an empty grid": Bad(domain(grid=[]), f"{LEARNING_RATE}.grid", "at least 1 value"),
    "a method in a grid": Bad(
        {"space": {"method.name": {"grid": ["hamu-q", "hamu_u"]}}}, "space.method.name", "hamu-u"
    ),
    "too many cells": Bad({"space": {"seed": {"grid": list(range(10_001))}}}, "space: ", "sample some keys"),
    "a key that nobody uses": Bad(
        {"space": {"method.beta": {"grid": [1.0]}}}, "space.method.beta", "remove it"
    ),
    "an unknown objective": Bad(
        {"search": {"objectives": [{"metric": "retain_utilty"}, {"metric": "forget_quality"}]}},
        "search.objectives.0.metric",
        "did you mean retain_utility?",
    ),
    "a grid that samples": Bad(
        {"search": {"algorithm": "grid"}, **domain(uniform=[0.1, 0.2])},
        "search.algorithm",
        "use another algorithm",
    ),
    # the forget set
    "an unknown class": Bad(
        {"forget": {"kind": "class", "label": 10}}, "forget.label", "the classes are 0=0"
    ),
    "an empty share": Bad({"forget": {"kind": "random", "share": 1e-4}}, "forget.share", "raise it"),
    "everything": Bad({"forget": {"kind": "random", "share": 1.0}}, "forget.share", "a number below 1"),
    "a request of another task": Bad(
        {"forget": {"kind": "ids", "path": "x"}}, "forget.kind", "use class or random"
    ),
    "no list": Bad({"forget": {"kind": "indices", "path": "/none"}}, "forget.path", "give a text file"),
    "an empty list": Bad(partial(indices, content=""), "forget.path", "write an index on each line"),
    "a row that does not exist": Bad(partial(indices, content="99999\n"), "forget.path", "have 0 to 1796"),
    "a list of words": Bad(partial(indices, content="one\n"), "forget.path", "is not an index (0, 1, ...)"),
    # data
    "no data": Bad({"data": {"name": "images", "path": "/none"}}, "data.path", "check the path"),
    "an empty folder": Bad(empty_folder, "data.path", "it needs Parquet files, or train/CLASS/x.png"),
    "no test split": Bad(without_test_split, "data.test_split", "should be one of ['train']"),
    "an unknown column": Bad(
        partial(images, label_column="class"), "data.label_column", "it has image, label"
    ),
    "labels as images": Bad(
        partial(images, image_column="label"), "data.image_column", "name the column that does"
    ),
    "images of mixed sizes": Bad(
        partial(images, odd=lambda path: image_of(9, (16, 40)).save(path)),
        "data.image_size: ",
        "set a common size",
    ),
    "a file that is no image": Bad(
        partial(images, odd=lambda path: path.write_text("no image")), "data.path: ", "cannot be decoded"
    ),
    "half an image": Bad(partial(images, odd=half), "data.path: ", "cannot be decoded"),
    "an unknown column of texts": Bad(
        partial(texts, rows=ROWS, answer_column="reply"), "data.answer_column", "known: "
    ),
    "half a line of texts": Bad(
        partial(texts, rows=ROWS[:-9]), "data.path", "Missing a closing quotation mark"
    ),
    # models
    "no original there": Bad(
        {"original": {"path": "/none/model.safetensors"}}, "original.path", "give a model.safetensors"
    ),
    "an original with other classes": Bad(
        partial(original, change=other_classes), "original.path: ", "does not fit the model"
    ),
    "an original that is not finite": Bad(
        partial(original, change=not_finite), "original.path: ", "give another"
    ),
    "an original cut short": Bad(cut_short, "original.path: ", "copy it again"),
    "a pickled original": Bad(pickled, "original.path: ", "give a checkpoint"),
    "a folder without a model": Bad(without_model, "original.path: ", "give a checkpoint"),
    "a model that is no checkpoint": Bad(no_pretrained_model, "model.name: ", "config.json"),
    # storage and tracking
    "storage below a file": Bad(below_a_file, "storage.path", "choose another"),
    "storage that is read-only": Bad({"storage": {"path": "/proc/runs"}}, "storage.path", "choose another"),
    "storage of an unknown kind": Bad({"storage": {"path": "s4://bucket"}}, "storage.path", "choose another"),
    "storage.local behind a URL": Bad(
        {"storage": {"local": "s3://bucket"}}, "storage.local", "must be a local folder"
    ),
    "a tracking server that is down": Bad(
        {"tracking": {"uri": "http://127.0.0.1:9"}}, "tracking.uri", "start it"
    ),
    "a tracking store of an unknown kind": Bad(
        {"tracking": {"uri": "ftp://host/x"}}, "tracking.uri", "must start with"
    ),
    "a tracking store that is no database": Bad(no_database, "tracking.uri", "give another file"),
    # arguments
    "a change without a value": Bad(
        {}, "--set seed", "key.path=value", arguments=("given.yaml", "--set", "seed")
    ),
    "a change of an unknown key": Bad(
        {},
        "--set optimizr.name=sgd",
        "did you mean optimizer?",
        arguments=("given.yaml", "--set", "optimizr.name=sgd"),
    ),
    "nothing to resume": Bad({}, "--resume", "remove --resume", arguments=("given.yaml", "--resume")),
    "no sweep to resume": Bad(
        {}, "--resume none", "it has no sweep.yaml", arguments=("given.yaml", "--resume", "none")
    ),
    "another sweep to resume": Bad(
        sweep, "--resume: ", "revert the configuration", arguments=("given.yaml", "--resume", SWEEP)
    ),
    "half a sweep to resume": Bad(
        partial(sweep, content="a: [1"),
        f"{SWEEP}/sweep.yaml: line 1",
        "expected ",
        arguments=("given.yaml", "--resume", SWEEP),
    ),
    "a space for a run": Bad({}, "space: ", "run a sweep with", "unlearn"),
    "a file as output": Bad(
        {"space": None},
        "--output given.yaml",
        "choose another",
        "unlearn",
        ("given.yaml", "--output", "given.yaml"),
    ),
    "no sweep to select from": Bad({}, "none: ", "it has no sweep.yaml", "select", ("none",)),
    "a sweep without trials": Bad(sweep, SWEEP, "give another sweep", "select", (SWEEP,)),
    "a bound without a value": Bad(
        sweep, "--min accuracy", "give METRIC=VALUE", "select", (SWEEP, "--min", "accuracy")
    ),
    "a sweep that sent nothing": Bad(sweep, SWEEP, "name the folder", "report", (SWEEP,)),
    "a report in a file": Bad(
        sweep, "--output given.yaml", "give a folder", "report", (SWEEP, "--output", "given.yaml")
    ),
}
