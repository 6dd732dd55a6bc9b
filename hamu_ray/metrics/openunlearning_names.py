"""The metrics of OpenUnlearning (Dorna et al., arXiv:2506.12618) under its names, behind a prefix that says so.

With `metrics.convention: openunlearning`, a language task reports them besides its own.
"""

from collections.abc import Mapping

from hamu_ray.metrics.benchmark_names import KNOWMEM_FORGET, KNOWMEM_RETAIN, MUSE_PRIVLEAK, VERBMEM_FORGET
from hamu_ray.metrics.names import Metric

PREFIX = "openunlearning_"
CONVENTION = "openunlearning"
MINK_PERCENT = 40
"""The k of its Min-K% and Min-K%++."""

EXACT_MEMORIZATION = f"{PREFIX}exact_memorization"
EXTRACTION_STRENGTH = f"{PREFIX}extraction_strength"
MIA_MIN_K = f"{PREFIX}mia_min_k"
MIA_MIN_K_PLUS_PLUS = f"{PREFIX}mia_min_k_plus_plus"
PRIVLEAK = f"{PREFIX}privleak"
TRUTH_RATIOS: Mapping[str, str] = {
    "forget": f"{PREFIX}forget_truth_ratio",
    "retain": f"{PREFIX}retain_Truth_Ratio",
    "real_authors": f"{PREFIX}ra_Truth_Ratio",
    "world_facts": f"{PREFIX}wf_Truth_Ratio",
}
MODEL_UTILITY = f"{PREFIX}model_utility"
MEASURED = (
    *(EXACT_MEMORIZATION, EXTRACTION_STRENGTH, MIA_MIN_K, MIA_MIN_K_PLUS_PLUS),
    *TRUTH_RATIOS.values(),
    MODEL_UTILITY,
)
"""What is measured of one model, in order."""

SAME: Mapping[str, str] = {
    f"{PREFIX}forget_Q_A_Prob": "forget_prob",
    f"{PREFIX}forget_Q_A_ROUGE": "forget_rouge",
    f"{PREFIX}retain_Q_A_Prob": "retain_prob",
    f"{PREFIX}retain_Q_A_ROUGE": "retain_rouge",
    f"{PREFIX}mia_loss": "auc_loss_forget_test",
    f"{PREFIX}mia_zlib": "auc_zlib_forget_test",
    f"{PREFIX}forget_quality": "forget_quality_ks_geometric",
    f"{PREFIX}forget_verbmem_ROUGE": VERBMEM_FORGET,
    f"{PREFIX}forget_knowmem_ROUGE": KNOWMEM_FORGET,
    f"{PREFIX}retain_knowmem_ROUGE": KNOWMEM_RETAIN,
}
"""Its names of metrics that are the same here, by their names here."""

ON_MUSE = frozenset(
    name for name, own in SAME.items() if own in (VERBMEM_FORGET, KNOWMEM_FORGET, KNOWMEM_RETAIN)
)
"""Those that only MUSE has."""


def _auc(attack: str) -> str:
    return (
        f"ROC-AUC of distinguishing forget (member) from test answers by a higher {attack} (k = {MINK_PERCENT} %), "
        "without the end token; 0.5: no leak"
    )


OPENUNLEARNING = (
    Metric(
        EXACT_MEMORIZATION,
        "Mean over the forget answers of the fraction of their tokens, without the end token, whose most likely token "
        "is right",
    ),
    Metric(
        EXTRACTION_STRENGTH,
        "As forget_extraction_strength, without the end token; 1 / L, not 0, of an answer of L tokens whose last one "
        "is wrong",
    ),
    Metric(MIA_MIN_K, _auc("Min-K%")),
    Metric(MIA_MIN_K_PLUS_PLUS, _auc("Min-K%++")),
    Metric(
        PRIVLEAK,
        f"100 (A(M) - A(R)) / A(R), A = 1 - {MIA_MIN_K}; on MUSE 100 {MUSE_PRIVLEAK}",
    ),
    *(
        Metric(
            name,
            f"Mean over the {split} questions of {aggregate}; TR, p(wrong) / (p(right) + 1e-10) with the geometric "
            "mean of the wrong answers",
            "neither" if split == "forget" else "higher",
        )
        for split, name in TRUTH_RATIOS.items()
        for aggregate in ["min(TR, 1 / TR)" if split == "forget" else "max(0, 1 - TR)"]
    ),
    Metric(
        MODEL_UTILITY,
        "TOFU's: harmonic mean of prob, rouge and truth ratio of retain, real_authors and world_facts, with these "
        "truth ratios",
        "higher",
        original_is_best=True,
    ),
    *(
        Metric(
            name,
            f"Same as {own}",
            "higher" if name.startswith((f"{PREFIX}retain", f"{PREFIX}forget_quality")) else "neither",
        )
        for name, own in SAME.items()
    ),
)
"""Metrics that the language task has in addition to its others with this convention."""
