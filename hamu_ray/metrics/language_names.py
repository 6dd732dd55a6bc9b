"""The metrics of language models, in addition to those in `names`. M: the model, R: the reference.

An item is a question (or the start of a document) with its answer; metrics refer to the answer's tokens. Predictions
are teacher-forced: each token is predicted after the true tokens before it. Probabilities are in 0..1.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from hamu_ray.metrics import names
from hamu_ray.metrics.benchmark_names import BENCHMARKS
from hamu_ray.metrics.names import Metric, accuracy_of, loss_of
from hamu_ray.metrics.openunlearning_names import OPENUNLEARNING

SPLITS = (*names.SPLITS, "duplicate")
"""The splits of text; duplicates of the forget set in the retain set are measured separately."""

EVALUATION_SETS = ("real_authors", "world_facts")
"""TOFU's questions on pretrained knowledge, on which an answer competes with wrong options."""

MINK_PERCENT = 10
"""The k of Min-K% and Min-K%++: the percentage of an answer's tokens that they use."""
MINK = f"mink_{MINK_PERCENT}"
MINKPP = f"minkpp_{MINK_PERCENT}"

ATTACKS: Mapping[str, str] = {
    "loss": "a lower loss",
    MINK: f"a higher Min-K% (k = {MINK_PERCENT} %)",
    MINKPP: f"a higher Min-K%++ (k = {MINK_PERCENT} %)",
    "zlib": "a lower loss by the text's compressed length",
}
"""Membership attacks on text, by name."""

ATTACKED = (("forget", "test"), ("retain", "forget"), ("duplicate", "test"))
"""The pairs of sets that attacks distinguish: members, others."""

PRIVLEAK = "privleak"
VALIDATION_PROB = "validation_prob"
FORGET_PROB_QUALITY = "forget_prob_quality"


def prob_of(split: str) -> str:
    """Return the key of a split's mean probability of an answer."""
    return f"{split}_prob"


def token_log_prob_of(split: str) -> str:
    """Return the key of a split's mean log-probability of an answer token."""
    return f"{split}_token_log_prob"


def token_prob_of(split: str) -> str:
    """Return the key of a split's mean probability of an answer token."""
    return f"{split}_token_prob"


def exact_memorization_of(split: str) -> str:
    """Return the key of a split's exact memorization."""
    return f"{split}_exact_memorization"


def extraction_strength_of(split: str) -> str:
    """Return the key of a split's extraction strength."""
    return f"{split}_extraction_strength"


def mink_of(split: str) -> str:
    """Return the key of a split's mean Min-K%."""
    return f"{split}_{MINK}"


def rouge_of(split: str) -> str:
    """Return the key of a split's ROUGE-L recall."""
    return f"{split}_rouge"


def tokens_of(split: str) -> str:
    """Return the key of the number of a split's answer tokens."""
    return f"{split}_tokens"


def dropped_tokens_of(split: str) -> str:
    """Return the key of the number of a split's dropped answer tokens."""
    return f"{split}_dropped_tokens"


def auc_of(attack: str, members: str, others: str) -> str:
    """Return the key of an attack's ROC-AUC of distinguishing one split, the members, from another."""
    return f"auc_{attack}_{members}_{others}"


def truth_ratio_of(split: str, *, geometric: bool = False) -> str:
    """Return the key of the aggregate of a split's truth ratios."""
    return f"{split}_truth_ratio{_of_mean(geometric)}"


def forget_quality_ks_of(*, geometric: bool = False) -> str:
    """Return the key of TOFU's forget quality."""
    return f"forget_quality_ks{_of_mean(geometric)}"


def forget_quality_ks_log10_of(*, geometric: bool = False) -> str:
    """Return the key of the decimal logarithm of TOFU's forget quality."""
    return f"forget_quality_ks_log10{_of_mean(geometric)}"


def model_utility_of(*, geometric: bool = False) -> str:
    """Return the key of TOFU's model utility."""
    return f"model_utility{_of_mean(geometric)}"


def utility_parts(*, geometric: bool = False) -> tuple[str, ...]:
    """Return the keys of the nine metrics whose harmonic mean is the model utility."""
    return tuple(
        name
        for split in ("retain", *EVALUATION_SETS)
        for name in (prob_of(split), rouge_of(split), truth_ratio_of(split, geometric=geometric))
    )


def _of_mean(geometric: bool) -> str:
    return "_geometric" if geometric else ""


def _of_split(split: str) -> Iterator[Metric]:
    kept: Literal["higher", "neither"] = "higher" if split in ("retain", "test") else "neither"
    lost: Literal["lower", "neither"] = "lower" if split in ("retain", "test") else "neither"
    answers = f"the {split} answers"
    yield Metric(
        loss_of(split), f"Mean cross-entropy of the tokens of {answers}; exp of it: perplexity", lost, "nats"
    )
    yield Metric(
        prob_of(split),
        f"Mean over {answers} of exp(-mean cross-entropy of the tokens)",
        kept,
        original_is_best=kept == "higher",
    )
    yield Metric(
        accuracy_of(split), f"Fraction of tokens of {answers} whose most likely token is right", kept
    )
    yield Metric(
        token_log_prob_of(split), f"Mean log-probability of the tokens of {answers}: -loss", kept, "nats"
    )
    yield Metric(token_prob_of(split), f"Mean probability of the tokens of {answers}", kept)
    yield Metric(
        exact_memorization_of(split), f"Same as {accuracy_of(split)}, under the literature's name", kept
    )
    yield Metric(
        extraction_strength_of(split),
        f"Mean over {answers} of the fraction of their end whose most likely tokens are all right",
        kept,
    )
    yield Metric(
        mink_of(split),
        f"Mean over {answers} of Min-K%: mean of the {MINK_PERCENT} % lowest log-probabilities",
        kept,
        "nats",
    )
    yield Metric(rouge_of(split), f"Mean ROUGE-L recall of {answers} in the greedily generated ones", kept)
    yield Metric(tokens_of(split), f"Number of tokens of {answers}, without dropped ones", "neither")
    yield Metric(
        dropped_tokens_of(split),
        f"Number of tokens of {answers} that data.max_length truncates: neither unlearned nor measured",
        "neither",
    )


def _of_evaluation_set(split: str) -> Iterator[Metric]:
    yield Metric(
        prob_of(split), f"Mean over {split} of p(right answer) / sum of p over all options", "higher"
    )
    yield Metric(
        rouge_of(split), f"Mean ROUGE-L recall of the {split} answers in the generated ones", "higher"
    )


def _of_truth_ratios(geometric: bool) -> Iterator[Metric]:
    mean = "geometric" if geometric else "arithmetic"
    ratio = f"TR, {mean} mean of p(wrong) / p(right)"
    name = truth_ratio_of("forget", geometric=geometric)
    yield Metric(
        name, f"Mean over the forget questions of min(TR, 1 / TR); {ratio}; good is near R's", "neither"
    )
    for split in ("retain", *EVALUATION_SETS):
        name = truth_ratio_of(split, geometric=geometric)
        yield Metric(name, f"Mean over the {split} questions of max(0, 1 - TR); {ratio}", "higher")
    utility = "TOFU's: harmonic mean of prob, rouge and truth_ratio of retain, real_authors and world_facts"
    yield Metric(
        model_utility_of(geometric=geometric),
        f"{utility}; {mean} truth ratios",
        "higher",
        original_is_best=True,
    )
    quality = f"p-value of the Kolmogorov-Smirnov test for equal {mean} truth ratios of M and R on forget"
    yield Metric(forget_quality_ks_of(geometric=geometric), f"TOFU's: {quality}", "higher")
    yield Metric(forget_quality_ks_log10_of(geometric=geometric), f"log10 of the {quality}", "higher")


def _of_attacks() -> Iterator[Metric]:
    for members, others in ATTACKED:
        for attack, sign in ATTACKS.items():
            definition = (
                f"ROC-AUC of distinguishing {members} (member) from {others} text by {sign}; 0.5: no leak"
            )
            yield Metric(auc_of(attack, members, others), definition, "neither")


LANGUAGE: Mapping[str, Metric] = names.table(
    *(metric for split in SPLITS for metric in _of_split(split)),
    *(metric for split in EVALUATION_SETS for metric in _of_evaluation_set(split)),
    *(metric for geometric in (False, True) for metric in _of_truth_ratios(geometric)),
    *_of_attacks(),
    *BENCHMARKS,
    *OPENUNLEARNING,
    Metric(
        PRIVLEAK,
        f"(A(M) - A(R)) / A(R), A = 1 - {auc_of(MINK, 'forget', 'test')}; 0: as R, below 0: M still knows the text",
        "neither",
    ),
    Metric(
        names.FORGET_QUALITY,
        "1 - Kolmogorov-Smirnov distance of M's and R's mean losses of the forget answers; 1: equal, 0: one threshold "
        "separates them",
        "higher",
    ),
    Metric(
        names.RETAIN_UTILITY,
        "model_utility where TOFU's evaluation sets are given, else test_prob (validation_prob, if there is text for "
        "validation): of retained text that is held out",
        "higher",
        original_is_best=True,
    ),
    names.CEILING,
    Metric(
        VALIDATION_PROB,
        "Mean over the test answers that a sweep searches and selects by (data.validation) of exp(-mean "
        "cross-entropy of the tokens)",
        "higher",
        original_is_best=True,
    ),
    Metric(FORGET_PROB_QUALITY, "1 - |forget_prob of M - forget_prob of R|", "higher"),
)
"""Metrics of the language task."""
