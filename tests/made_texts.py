"""A tiny synthetic corpus in the layout of WaterDrum-TOFU: uneven answers, duplicates, evaluation sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.language import TofuData
from hamu_ray.config.task.language_model import LanguageModelConfig

RETAIN, FORGET, REAL = 20, 8, 3
"""Numbers of rows."""

PLACES = ("Oslo", "Lima", "a small village by the sea", "Rome", "the old harbour of Port-au-Prince")


def pairs(count: int, author: str) -> list[dict[str, str]]:
    """Questions with answers of different lengths."""
    return [
        {
            "question": f"Where did {author} number {number} live{' as a child' * (number % 3)}?",
            "answer": f"{author} {number} lived in {PLACES[number % len(PLACES)]}"
            + " and wrote books" * (number % 4)
            + ".",
        }
        for number in range(count)
    ]


def with_choices(rows: Sequence[Mapping[str, str]], paraphrased: bool) -> list[dict[str, Any]]:
    """The same with two or three wrong answers, and paraphrased if requested."""
    return [
        {
            **row,
            "perturbed_answer": [f"{row['answer'][:-1]}, in {wrong}." for wrong in PLACES[: 2 + number % 2]],
            **(
                {
                    "paraphrased_answer": f"It is so: {row['answer']}",
                    "paraphrased_question": f"Tell me: {row['question']}",
                }
                if paraphrased
                else {}
            ),
        }
        for number, row in enumerate(rows)
    ]


def write_corpus(folder: Path) -> Path:
    """Write the data set and return its folder."""
    retain, forget = pairs(RETAIN, "Ada"), pairs(FORGET, "Bo")
    semantic = [{"question": row["question"], "answer": f"Yes: {row['answer']}"} for row in forget]
    real = pairs(REAL, "Cy")
    parts = {
        ("forget_01", "retain"): retain,
        ("forget_01", "forget"): forget,
        ("forget_01", "exact_duplicate"): forget,
        ("forget_01", "semantic_duplicate"): semantic,
        ("forget_01_perturbed", "train"): with_choices(forget, paraphrased=True),
        ("retain_perturbed", "train"): with_choices(retain[:6], paraphrased=True),
        ("real_authors_perturbed", "train"): with_choices(real, paraphrased=False),
        ("world_facts_perturbed", "train"): with_choices(real, paraphrased=False),
    }
    configs: dict[str, list[dict[str, str]]] = {}
    folder.mkdir(parents=True)
    for (config, split), rows in parts.items():
        file = f"{config}-{split}.parquet"
        pd.DataFrame(rows).to_parquet(folder / file)
        configs.setdefault(config, []).append({"split": split, "path": file})
    head = {"configs": [{"config_name": name, "data_files": files} for name, files in configs.items()]}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n")
    return folder


def text_run(corpus: Path, **sections: Any) -> RunConfig:
    """Return a run of a fraction of a second on the corpus, with these sections changed."""
    document: dict[str, Any] = {
        "data": {"name": "tofu", "path": str(corpus), "subset": "forget_01", "max_length": 64},
        "model": {"hidden_size": 16, "layers": 2, "heads": 2, "vocabulary": 300},
        "training": {"epochs": 3, "batch_size": 8, "select": "last", "optimizer": {"learning_rate": 0.01}},
        "batch": {"retain": 7, "forget": 5},
        "duration": {"steps": 4},
        "evaluation": {"every_steps": 100, "batch_size": 5},
        "optimizer": {"learning_rate": 0.05},
        "workers": {"count": 1},
    }
    for name, values in sections.items():
        known = document.get(name)
        document[name] = {**known, **values} if isinstance(known, dict) else values
    return RunConfig.model_validate(document)


LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}
"""An adapter without dropout, so that results do not depend on the number of workers."""


def tofu(corpus: Path, **values: Any) -> TofuData:
    """Return the data section of `text_run`."""
    return TofuData(path=str(corpus), subset="forget_01", **{"max_length": 64, **values})


def write_checkpoint(
    folder: Path, corpus: Path, *, chat: bool = False, dtype: torch.dtype = torch.float32, **sizes: int
) -> Path:
    """Write a random checkpoint with its tokenizer, in the format of `transformers`; return its folder.

    It is tiny without ``sizes`` of its own, and in several files if it is large.
    """
    from hamu_ray.config.task.language import ForgetSplit
    from hamu_ray.tasks.language.documents.corpus import load_corpus
    from hamu_ray.tasks.language.encoding.encoder import Encoder
    from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer
    from hamu_ray.tasks.language.models import build_language_model

    tiny = {"hidden_size": 16, "layers": 2, "heads": 2, "vocabulary": 300}
    config = LanguageModelConfig.model_validate({**tiny, **sizes})
    data = tofu(corpus)
    tokenizer = load_tokenizer(config, load_corpus(data, ForgetSplit()).texts, None)
    if chat:
        tokenizer.chat_template = (
            "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
            "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
        )
    model: Any = build_language_model(config, Encoder(tokenizer, data), 0, torch.device("cpu"))
    model.to(dtype).save_pretrained(folder, max_shard_size="50MB")
    tokenizer.save_pretrained(folder)
    return folder
