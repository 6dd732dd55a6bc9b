"""The paper's table of experiments and its recipes, written independently to check the search spaces."""

import math
from typing import Any

SEEDS = {41, 42, 43}
HAMU = {"hamu-q", "hamu-u"}
PAPER = HAMU | {"ft", "ga", "gdiff", "kl", "scrub"}
TORCHJD = {"jd-upgrad", "jd-mgda", "jd-cagrad", "jd-dualproj", "jd-alignedmtl", "jd-imtlg"}
ADDITIONAL = {"gru", "pcgrad", "npo", "simnpo"} | TORCHJD
RATIOS = {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}
SIZES = "batch.{retain,forget}"

EVERYWHERE: dict[str, dict[str, set]] = {
    "constraint_sweep": {"method.constraint_ratio": RATIOS, "method.name": HAMU},
    "full_grad_ablation": {"method.granularity": {"tensor", "model"}, "method.name": HAMU},
    "stopping_criterion": {"stop.criterion": {True, False}, "method.name": HAMU},
    "timing_all": {"method.name": PAPER | ADDITIONAL},
    "additional_baselines": {"method.name": ADDITIONAL},
}
"""Experiments of both tasks: the keys that they vary besides the seed."""

EXPERIMENTS: dict[str, dict[str, set]] = {
    **{f"{task}/{name}": of for task in ("cifar", "waterdrum_tofu") for name, of in EVERYWHERE.items()},
    "cifar/rho_sweep": {"forget.rho": {0.0, 0.25, 0.5, 0.75, 1.0}, "method.name": PAPER},
    "cifar/job_grid": {
        "forget.rho": {0.0, 0.5, 1.0},
        "optimizer.learning_rate": {1e-5, 1e-4},
        "method.constraint_ratio": RATIOS,
        "method.name": HAMU,
    },
    "cifar/batch_size_ablation": {SIZES: {128, 256, 512, 1024, 2048}, "method.name": HAMU},
    "waterdrum_tofu/batch_size_ablation": {SIZES: {16, 32, 50, 64, 128}, "method.name": HAMU},
    "cifar/optimizer_ablation": {"optimizer.name": {"sgd", "adamw"}},
    "waterdrum_tofu/optimizer_ablation": {"optimizer.name": {"sgd", "adamw"}, "method.name": HAMU},
    "waterdrum_tofu/semantic_similarity_sweep": {
        "data.duplicates": {"none", "semantic", "exact"},
        "method.name": PAPER | {"gru", "pcgrad"},
    },
}

SMALL_TRIALS = {
    "cifar": 9 * 4,
    "cifar_small": 9 * 4,
    "cifar100": 7 * 4,
    "waterdrum_tofu": 5 * 5,
    "tofu_small": 5 * 5,
    "cifar/rho_sweep": 3 * 7 * 3,
    "cifar/constraint_sweep": 4 * 2 * 3,
    "waterdrum_tofu/constraint_sweep": 4 * 2 * 3,
    "cifar/job_grid": 2 * 2 * 2 * 3 * 2,
    "cifar/batch_size_ablation": 3 * 2 * 3,
    "waterdrum_tofu/batch_size_ablation": 3 * 2 * 3,
    "waterdrum_tofu/semantic_similarity_sweep": 2 * 9 * 3,
    "ablations/digits": (2 * 2 + 6) * 3 * 2 * 4,
    "ablations/digits_ratio": 2 * 2 * 3 * 2 * 4,
    "ablations/cifar": (2 * 2 + 6) * 2 * 2 * 4,
    "ablations/cifar_ratio": 2 * 2 * 2 * 2 * 4,
    "ablations/tofu": (2 * 2 + 6) * 2 * 4,
    "ablations/tofu_ratio": 2 * 2 * 2 * 4,
    "study/digits_claims": 5 * 7,
    **{f"study/digits_{request}": 19 * 2 + 3 * 4 for request in ("class", "half", "random")},
    **{f"study/tofu_{request}": 20 * 8 + 2 * 16 for request in ("none", "semantic")},
}
"""Trials with the preset `small`, if they differ from the whole experiment's."""

OTHERS = {
    "digits": 9 * 6,
    "cifar": 9 * 8,
    "cifar_small": 9 * 4,
    "cifar100": 7 * 8,
    "waterdrum_tofu": 11 * 4,
    "tofu_small": 5 * 5,
    "ablations/digits": (2 * 4 * 2 + 6) * 3 * 5 * 8,
    "ablations/digits_ratio": 2 * 4 * 2 * 3 * 5 * 8,
    "ablations/cifar": (2 * 4 * 2 + 6) * 2 * 5 * 8,
    "ablations/cifar_ratio": 2 * 4 * 2 * 2 * 5 * 8,
    "ablations/tofu": (2 * 4 * 2 + 6) * 5 * 8,
    "ablations/tofu_ratio": 2 * 4 * 2 * 5 * 8,
    **{
        f"study/{task}_{request}": 19 * 8 + 3 * 16
        for task in ("digits", "cifar")
        for request in ("class", "half", "random")
    },
    **{f"study/tofu_{request}": 20 * 4 + 2 * 8 for request in ("none", "semantic")},
    "study/digits_claims": 5 * 7 * 2,
}
"""Number of trials of search spaces that are not the paper's."""

SHARED = {f"{task}/{name}" for task in ("cifar", "waterdrum_tofu") for name in ("recipe", "paper")}
"""The files that the experiments extend."""

RECIPES: dict[str, dict[str, Any]] = {
    "cifar": {
        "forget.kind": "class",
        "forget.label": 0,
        "forget.rho": 0.0,
        "forget.swap_from": "rest",
        "data.name": "cifar10",
        "model.name": "resnet20-projection",
        "model.freeze_batchnorm": True,
        "training.epochs": 50,
        "training.batch_size": 5000,
        "training.select": "best",
        "training.optimizer.name": "adamw",
        "training.optimizer.learning_rate": 1e-3,
        "training.optimizer.schedule": "constant",
        "training.optimizer.clip_norm": 1.0,
        "batch.retain": 5000,
        "batch.forget": 5000,
        "duration.epochs": 25,
    },
    "waterdrum_tofu": {
        "model.name": "meta-llama/Llama-2-7b-chat-hf",
        "model.lora.rank": 8,
        "model.lora.alpha": 16,
        "model.lora.dropout": 0.05,
        "model.lora.target_modules": [
            *("q_proj", "k_proj", "v_proj", "o_proj"),
            *("gate_proj", "up_proj", "down_proj"),
        ],
        "data.template": "chat",
        "training.parameters": "lora",
        "training.epochs": 10,
        "training.batch_size": 64,
        "training.optimizer.name": "adamw",
        "training.optimizer.learning_rate": 1e-4,
        "batch.retain": 50,
        "batch.forget": 50,
        "duration.epochs": 10,
    },
}
BOTH = {
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.0,
    "optimizer.learning_rate": 1e-4,
    "optimizer.clip_norm": 1.0,
    "method.radius": "lr",
    "method.constraint_split": "grad_norm",
    "method.infeasible": "finish",
}


def trials(varied: dict[str, set]) -> int:
    return math.prod(len(values) for values in varied.values()) * len(SEEDS)
