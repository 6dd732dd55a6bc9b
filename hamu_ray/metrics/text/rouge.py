"""ROUGE-L recall of generated answers (Lin, 2004), with Google's rouge-score package."""

from collections.abc import Sequence

import numpy as np

from hamu_ray.metrics.text.tokens import Floats
from hamu_ray.metrics.undefined import Undefined


def item_rouge_recalls(answers: Sequence[str], truths: Sequence[str]) -> Floats:
    """Return the fraction of each true answer's words that the given answer has in the same order, ``(items,)``.

    This is the length of their longest common subsequence divided by the number of words of the truth, with stemming,
    as in TOFU (arXiv:2401.06121). The package matches only words of a-z and digits: NaN if the truth has none.

    Raises `ValueError` unless there is one answer for each truth.
    """
    # Imported here: the package imports nltk, which takes a second.
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    if len(answers) != len(truths):
        raise ValueError(f"rouge: {len(answers)} answers for {len(truths)} true ones")
    words = DefaultTokenizer(use_stemmer=True)
    scorer = RougeScorer(["rougeL"], tokenizer=words)
    return np.array(
        [
            scorer.score(truth, answer)["rougeL"].recall if words.tokenize(truth) else np.nan
            for answer, truth in zip(answers, truths, strict=True)
        ],
        dtype=np.float64,
    )


def rouge_recall(answers: Sequence[str], truths: Sequence[str]) -> float:
    """Return the mean ROUGE-L recall, in 0..1; `Undefined` without answers and for truths without words."""
    recalls = item_rouge_recalls(answers, truths)
    if len(recalls) == 0:
        return Undefined("there are no answers")
    if wordless := int(np.isnan(recalls).sum()):
        return Undefined(f"{wordless} of {len(recalls)} true answers have no words of a-z or digits")
    return float(recalls.mean())
