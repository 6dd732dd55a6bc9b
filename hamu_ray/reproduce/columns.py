"""The columns of a study's table."""

SEARCH, CONFIRM = "search", "confirm"
"""Purposes of runs: a trial of a search, or the best of them again with other seeds."""
BASES = ("original", "reference")
"""Purposes of the rows of the models that runs start from."""

METRICS = (
    *("forget_quality", "retain_utility", "forget_quality_ceiling", "test_accuracy", "retain_accuracy"),
    *(
        "forget_accuracy",
        "forget_accuracy_quality",
        "retain_loss",
        "forget_loss",
        "mia_confidence",
        "avg_gap",
    ),
    *("retain_prob", "forget_prob", "test_prob", "forget_quality_ks", "forget_rouge", "retain_rouge"),
)
"""Those that a task does not have are empty."""

KEY = ("space", "purpose", "search_seed", "trial", "training_seed", "seed")
"""Columns that identify a run."""

COLUMNS = (
    *KEY,
    *("method", "parameters", "status", "steps", "gradient_computations", "seconds", "hardness"),
    *METRICS,
    "steps_outside_guarantee",
)
