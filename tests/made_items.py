"""Made-up files of single examples, as a run leaves them beside its model."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from hamu_ray.results.items import ITEMS_FILE, LAYERS_FILE, MODELS, SPLITS, dump_items, dump_layers

COUNTS = {"forget": 30, "retain": 40, "test": 40}
NAMES = ("<zero>", "one", "two")


def write_images(folder: Path) -> None:
    """Write a classifier's examples: M is wrong on half of the forget set, of class 0, R on all of it."""
    draw = np.random.default_rng(0)
    blocks = []
    for model in MODELS:
        for split in SPLITS:
            count = COUNTS[split]
            labels = np.zeros(count, int) if split == "forget" else np.arange(count) % 2 + 1
            forgets = split == "forget" and model != "O"
            wrong = (
                np.arange(count) < (count if model == "R" else count // 2)
                if forgets
                else np.zeros(count, bool)
            )
            losses = np.where(wrong, 4.0, 0.01) * draw.uniform(0.5, 2, count)
            block = {
                "model": model,
                "split": split,
                "index": np.arange(count),
                "label": labels,
                "loss": losses,
                "prediction": np.where(wrong, 2, labels),
                "confidence": draw.uniform(0.5, 1, count),
                "probability": np.exp(-losses),
                "correct": (~wrong).astype(float),
                "x": labels + draw.normal(0, 0.1, count),
                "y": wrong + draw.normal(0, 0.1, count),
            }
            if split == "forget" and model == "M":
                block["rank"] = [None if at < 2 else at - 2 for at in range(count)]
                block["image"] = [None if at < 2 else png(at) for at in range(count)]
            blocks.append(block)
    write(folder, dump_items(blocks, NAMES, {**COUNTS, "retain": 4000}))


def write_texts(folder: Path) -> None:
    """Write a language model's examples, with generated answers."""
    count = COUNTS["forget"]
    blocks = []
    for model, loss in zip(MODELS, (0.1, 2.0, 3.0), strict=True):
        for split in SPLITS:
            losses = np.linspace(loss, 2 * loss, COUNTS[split])
            block = {"model": model, "split": split, "index": np.arange(COUNTS[split]), "loss": losses}
            block |= {"probability": np.exp(-losses), "correct": np.exp(-losses)}
            if split == "forget":
                block |= {"answer": [f"{model} says <{at}>" for at in range(count)], "rouge": [0.5] * count}
            if split == "forget" and model == "M":
                block |= {"rank": list(range(count)), "truth": [f"truth {at}" for at in range(count)]}
                block["question"] = [f"Where did {at} live?" for at in range(count)]
            blocks.append(block)
    write(folder, dump_items(blocks, (), COUNTS))


def write(folder: Path, items: bytes) -> None:
    """Write the two files, with similarities of three layers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ITEMS_FILE).write_bytes(items)
    layers = ["blocks.0", "blocks.1", "penultimate"]
    rows = [
        {"layer": layers, "pair": pair, "split": split, "cka": [1.0, 0.9, end]}
        for pair, end in (("MO", 0.3), ("MR", 0.8), ("RO", 0.2))
        for split in SPLITS
    ]
    (folder / LAYERS_FILE).write_bytes(dump_layers(rows))


def png(number: int) -> bytes:
    """Return a small grey image."""
    file = BytesIO()
    Image.new("L", (8, 8), number * 8).save(file, "PNG")
    return file.getvalue()
