"""Synthetic sweeps that look like real ones."""

import math

import numpy as np

from hamu_ray.results.pareto.summary import SweepSummary, summarise
from hamu_ray.results.trial import Status, TrialRecord

METHODS = ("ft", "ga", "gd", "npo", "simnpo", "scrub", "hamu-q", "hamu-u", "torchjd-upgrad")
ORIGINAL = {"forget_quality": 0.012, "retain_utility": 0.981, "avg_gap": 0.41}
REFERENCE = {"forget_quality": 1.0, "retain_utility": 0.978, "avg_gap": 0.0}


def record(trial_id, quality, utility, method="hamu-q", status=Status.FINISHED, **more) -> TrialRecord:
    parameters = {"method.name": method, "optimizer.learning_rate": 0.01, **more.pop("parameters", {})}
    measures = {"forget_quality": quality, "retain_utility": utility, **more.pop("measures", {})}
    return TrialRecord(trial_id, status, parameters, {"method": {"name": method}}, measures, **more)


def sweep(per_method=5, seed=0, tight=False) -> list[TrialRecord]:
    """Return trials of nine methods; better methods are closer to (1, 1)."""
    rng = np.random.default_rng(seed)
    records = []
    for rank, method in enumerate(METHODS):
        for n in range(per_method):
            rate = float(10 ** rng.uniform(-4, -1))
            strength = rng.uniform(0.2, 1.0)
            quality = 1 - (1 - strength) ** 2 * (0.9 - 0.06 * rank) - rng.uniform(0, 0.05)
            utility = 0.98 - strength**3 * (0.6 - 0.065 * rank) - rng.uniform(0, 0.03)
            if tight:
                quality, utility = 0.96 + 0.04 * quality, 0.93 + 0.05 * utility
            status, reason = Status.FINISHED, "all steps"
            if method == "ga" and n >= per_method - 2:
                status, reason, utility = Status.COLLAPSED, "retain perplexity 31 x the original's", 0.1
            if method == "npo" and n == 0:
                status, reason, quality = Status.FAILED, "RuntimeError: out of memory", math.nan
            parameters = {"optimizer.learning_rate": rate}
            if method.startswith("hamu"):
                parameters["method.constraint_ratio"] = float(rng.uniform(0.1, 0.9))
            records.append(
                record(
                    f"a1b2c_{len(records):05d}",
                    quality,
                    utility,
                    method,
                    status,
                    parameters=parameters,
                    measures={"avg_gap": abs(1 - quality) / 2, "TA": utility - 0.02},
                    reason=reason,
                    model_path=f"/runs/digits/trials/a1b2c_{len(records):05d}/model",
                    steps=100,
                    unlearning_seconds=12.5,
                )
            )
    return records


def small_summary() -> SweepSummary:
    """Return a summary of seven trials: three on the front, two below it or undefined, two unfinished."""
    trials = [
        record("a", 0.9, 0.5, parameters={"method.constraint_ratio": 0.25}, model_path="/models/a"),
        record("b", 0.5, 0.9, "ft", measures={"avg_gap": 0.125, "TA": 0.9}),
        record("c", 0.8, 0.8, reason="all steps"),
        record("d", 0.4, 0.4),
        record("e", 1.0, 1.0, status=Status.COLLAPSED, reason="perplexity"),
        record("f", math.nan, 1.0, status=Status.FAILED, reason="boom | bang\nmore"),
        record("g", math.nan, 1.0),
    ]
    return summarise(trials, original=ORIGINAL, reference=REFERENCE)
