"""Numbers of an audit: key, definition, direction, unit. M: the unlearned model, O: the original, R: the references.

Those that are neither better higher nor lower are good within the interval of the references.
"""

from collections.abc import Mapping

from hamu_ray.metrics.names import Metric, table

LIRA, ULIRA, RMIA, KLOM, RELATIVE_TEST = "lira", "ulira", "rmia", "klom", "relative_test"
RELEARNING, QUANTISATION, PARAPHRASE, PREFIX = "relearning", "quantisation", "paraphrase", "prefix"

ATTACKS = (LIRA, ULIRA, RMIA, KLOM, RELATIVE_TEST, RELEARNING, QUANTISATION, PARAPHRASE, PREFIX)
"""The attacks and tests of an audit, in order."""

LASTING = (RELEARNING, QUANTISATION, PARAPHRASE, PREFIX)
"""The attacks that try to bring knowledge back; `DURABLE` is about these."""

LIRA_AUC, LIRA_TPR = "lira_auc", "lira_tpr_at_1_fpr"
LIRA_ONLINE_AUC, LIRA_ONLINE_TPR = "lira_online_auc", "lira_online_tpr_at_1_fpr"
ULIRA_AUC, ULIRA_TPR = "ulira_auc", "ulira_tpr_at_1_fpr"
RMIA_AUC, RMIA_TPR = "rmia_auc", "rmia_tpr_at_1_fpr"
KLOM_P95 = "klom_p95"
RELATIVE_P, RELATIVE_SMALLEST_P = "relative_test_p", "relative_test_smallest_p"
RELEARNING_AREA, RELEARNING_STEPS = "relearning_area", "relearning_steps"
FORGET_CONFIDENCE = "forget_confidence"
DURABILITY, DURABLE = "durability", "durable"

BITS = (8, 4)
"""Bits that weights are rounded to."""


def quantised(bits: int) -> str:
    """Return the key of the forget confidence after rounding."""
    return f"{FORGET_CONFIDENCE}_{bits}_bit"


PARAPHRASED = {"question": "paraphrased_question_confidence", "answer": "paraphrased_answer_confidence"}
"""Keys of the confidence on other wordings, by what is reworded."""
PREFIXED = {"question": "prefixed_question_confidence", "answer": "completed_answer_confidence"}
"""Keys of the confidence after a prefix: a sentence before the question, or the beginning of the answer."""

WORDINGS: Mapping[str, Mapping[str, str]] = {PARAPHRASE: PARAPHRASED, PREFIX: PREFIXED}
"""The attacks that ask in another way, with their keys by what is changed."""


def quantisation_gain(bits: int) -> str:
    """Return the key of what rounding adds to the forget confidence."""
    return f"quantisation_gain_{bits}_bit"


ATTACK: Mapping[str, Metric] = table(
    Metric(
        LIRA_AUC,
        "ROC-AUC of LiRA's offline attack: forget examples (member) against test examples; good is as R's",
        kind="attack",
    ),
    Metric(
        LIRA_TPR,
        "Fraction of forget examples that the same attack finds while at most 1 % of test examples are found",
        kind="attack",
    ),
    Metric(
        LIRA_ONLINE_AUC,
        "ROC-AUC of LiRA's likelihood ratio of originals and references: forget examples under M against the same "
        "under a reference; 0.5: none can tell",
        kind="attack",
    ),
    Metric(
        LIRA_ONLINE_TPR,
        "Fraction of forget examples under M that the same attack finds at 1 % of those under a reference",
        kind="attack",
    ),
    Metric(
        ULIRA_AUC,
        "ROC-AUC of U-LiRA's likelihood ratio of unlearned shadow models and references: forget examples under M "
        "against the same under a reference; 0.5: none can tell",
        kind="attack",
    ),
    Metric(
        ULIRA_TPR,
        "Fraction of forget examples under M that the same attack finds at 1 % of those under a reference",
        kind="attack",
    ),
    Metric(
        RMIA_AUC,
        "ROC-AUC of RMIA with one reference: forget examples (member) against test examples; good is as R's",
        kind="attack",
    ),
    Metric(
        RMIA_TPR,
        "Fraction of forget examples that the same attack finds while at most 1 % of test examples are found",
        kind="attack",
    ),
    Metric(
        KLOM_P95,
        "95th percentile over forget examples of the KL divergence of M's margins, over its seeds, from R's",
        "lower",
        "nats",
        "attack",
    ),
    Metric(
        RELATIVE_P,
        "p-value of the relative test: is M farther from the references than they are from each other?",
        "higher",
        kind="attack",
    ),
    Metric(RELATIVE_SMALLEST_P, "Smallest p-value that this number of references allows", kind="attack"),
    Metric(
        RELEARNING_AREA,
        "Mean over steps of the forget confidence that fine-tuning on a tenth of the forget set brings back to the "
        "rest, over half of O's, at most 1",
        "lower",
        kind="attack",
    ),
    Metric(
        RELEARNING_STEPS,
        "Steps of that fine-tuning until the rest of the forget set reaches half of O's confidence",
        "higher",
        "steps",
        "attack",
    ),
    Metric(
        FORGET_CONFIDENCE,
        "Mean of exp(-loss) of the forget examples: the probability of their labels or answers",
        kind="attack",
    ),
    *(
        Metric(
            quantised(bits),
            f"The same with weights rounded to {bits} bits, per output channel, to nearest",
            kind="attack",
        )
        for bits in BITS
    ),
    *(
        Metric(
            quantisation_gain(bits),
            f"What rounding the weights to {bits} bits adds to the forget confidence",
            "lower",
            kind="attack",
        )
        for bits in BITS
    ),
    Metric(
        PARAPHRASED["question"],
        "The same of the true answers to the forget set's questions in other words, which the data give",
        kind="attack",
    ),
    Metric(
        PARAPHRASED["answer"],
        "The same of the forget set's answers in other words, which the data give",
        kind="attack",
    ),
    Metric(
        PREFIXED["question"],
        "The same of the true answers to the forget set's questions after a sentence that asks for the answer",
        kind="attack",
    ),
    Metric(
        PREFIXED["answer"],
        "The same of the second half of the forget set's answers, given the first half",
        kind="attack",
    ),
    Metric(
        DURABILITY,
        "1 - the largest part of what O knows beyond any reference that relearning, quantisation, other wordings or "
        "prefixes find in M; 1: nothing, 0: all",
        "higher",
        kind="attack",
    ),
    Metric(
        DURABLE,
        "1 if relearning, quantisation and, for texts, prefixes and other wordings bring back no more than they bring "
        "to the references, else 0",
        "higher",
        kind="attack",
    ),
)
"""Numbers of an audit, for every task."""
