"""The measures of one language model, from its scores of answers and from the answers that it generates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hamu_ray.metrics import comparison, language_names, memorization, names, text_membership, tofu
from hamu_ray.metrics.language_names import EVALUATION_SETS, MINK, MINK_PERCENT, MINKPP, SPLITS
from hamu_ray.metrics.measured import Measures
from hamu_ray.metrics.membership import auc_loss
from hamu_ray.metrics.rouge import rouge_recall
from hamu_ray.metrics.tofu import Alternatives
from hamu_ray.metrics.tokens import Floats, TokenScores
from hamu_ray.metrics.undefined import Undefined

ItemValues = dict[str, list[float]]
"""Values of each item by name, as plain lists, which JSON keeps beside a model's measures."""

MEANS = (False, True)
"""Truth ratios by the paper's arithmetic mean, then by the geometric one."""

TRUTH_RATIOS = tuple(language_names.truth_ratio_of("forget", geometric=geometric) for geometric in MEANS)
"""What `forget_items` returns where there are wrong answers to the forget set's questions."""

OfScores = Mapping[Callable[[str], str], Callable[[TokenScores], float]]

_CHEAP: OfScores = {
    names.loss_of: memorization.mean_loss,
    language_names.prob_of: memorization.mean_probability,
    names.accuracy_of: memorization.token_accuracy,
    language_names.token_log_prob_of: memorization.mean_token_log_probability,
    language_names.token_prob_of: memorization.mean_token_probability,
}
_MORE: OfScores = {
    language_names.exact_memorization_of: memorization.token_accuracy,
    language_names.extraction_strength_of: memorization.extraction_strength,
    language_names.mink_of: lambda scores: text_membership.mean_mink(scores, MINK_PERCENT),
}

CHEAP = tuple(of(split) for split in SPLITS for of in _CHEAP)
"""The measures that `cheap_measures` returns, in order."""

ALL = (
    *CHEAP,
    *(of(split) for split in SPLITS for of in _MORE),
    *(language_names.prob_of(name) for name in EVALUATION_SETS),
    *(language_names.rouge_of(name) for name in (*SPLITS, *EVALUATION_SETS)),
    *(
        language_names.auc_of(attack, members, others)
        for members, others in language_names.ATTACKED
        for attack in language_names.ATTACKS
    ),
    *(
        name
        for geometric in MEANS
        for name in (
            *(
                language_names.truth_ratio_of(asked, geometric=geometric)
                for asked in ("forget", "retain", *EVALUATION_SETS)
            ),
            language_names.model_utility_of(geometric=geometric),
        )
    ),
)
"""The measures that `all_measures` returns, in order."""


@dataclass(frozen=True)
class Generated:
    """Answers that a model gave, greedily decoded, and the true ones; of some items or of all."""

    answers: Sequence[str]
    truths: Sequence[str]


def cheap_measures(splits: Mapping[str, TokenScores]) -> Measures:
    """Return loss, probabilities and token accuracy of the splits; `Undefined` for those that are not given."""
    return _of_scores(_CHEAP, splits)


def all_measures(
    splits: Mapping[str, TokenScores],
    *,
    texts: Mapping[str, Sequence[str]],
    generated: Mapping[str, Generated],
    alternatives: Mapping[str, Alternatives],
) -> Measures:
    """Return the cheap measures and those that take longer; `Undefined` where what they need is not given.

    Args:
        splits: Scores of the true answers of ``retain``, ``forget``, ``test`` and, if there is one, ``duplicate``.
        texts: The same answers as text, one for each item.
        generated: Answers that the model gave, by split or evaluation set.
        alternatives: Right and wrong answers to the questions of ``forget``, ``retain``, ``real_authors`` and
            ``world_facts``. For the first two the right one is the paraphrase, for the others the answer.
    """
    measures = {**cheap_measures(splits), **_of_scores(_MORE, splits)}
    for name in EVALUATION_SETS:
        measures[language_names.prob_of(name)] = (
            tofu.option_probability(alternatives[name]) if name in alternatives else _no_wrong_answers(name)
        )
    for name in (*SPLITS, *EVALUATION_SETS):
        measures[language_names.rouge_of(name)] = (
            rouge_recall(generated[name].answers, generated[name].truths)
            if name in generated
            else Undefined(f"no answers were generated for {name}")
        )
    measures.update(_attacks(splits, texts))
    for geometric in MEANS:
        measures.update(_truth_ratios(alternatives, geometric))
        utility = tofu.model_utility(measures, geometric=geometric)
        measures[language_names.model_utility_of(geometric=geometric)] = utility
    return measures


def forget_items(alternatives: Mapping[str, Alternatives]) -> ItemValues:
    """Return what a later Kolmogorov-Smirnov test needs of this model: its log truth ratios on the forget set.

    Empty where there are no wrong answers to the forget set's questions. To be kept with the reference.
    """
    if "forget" not in alternatives:
        return {}
    return {
        language_names.truth_ratio_of("forget", geometric=geometric): tofu.log_truth_ratios(
            alternatives["forget"], geometric=geometric
        ).tolist()
        for geometric in MEANS
    }


def compare_measures(measures: Measures, reference: Measures, *, utility: str) -> Measures:
    """Return what follows from the metrics alone: `retain_utility`, `forget_prob_quality` and, in full, `privleak`.

    ``utility`` is the key of what `retain_utility` is: ``test_prob``, or ``model_utility`` for data that have
    TOFU's evaluation sets.
    """
    forget_prob = language_names.prob_of("forget")
    compared: Measures = {
        names.RETAIN_UTILITY: _measured(measures, utility),
        language_names.FORGET_PROB_QUALITY: comparison.score_quality(
            measures[forget_prob], _measured(reference, forget_prob)
        ),
    }
    auc = language_names.auc_of(MINK, "forget", "test")
    if auc in measures:
        compared[language_names.PRIVLEAK] = comparison.privleak(measures[auc], _measured(reference, auc))
    return compared


def compare_items(items: ItemValues, reference: ItemValues) -> Measures:
    """Return TOFU's forget quality, from the `forget_items` of the model and of the reference."""
    compared: Measures = {}
    for geometric in MEANS:
        ratios = language_names.truth_ratio_of("forget", geometric=geometric)
        p_value = tofu.forget_quality_ks(items.get(ratios, []), reference.get(ratios, []))
        compared[language_names.forget_quality_ks_of(geometric=geometric)] = p_value
        log10 = tofu.log10_of_p_value(p_value)
        compared[language_names.forget_quality_ks_log10_of(geometric=geometric)] = log10
    return compared


def _of_scores(measures: OfScores, splits: Mapping[str, TokenScores]) -> Measures:
    return {
        of(split): measure(splits[split]) if split in splits else _no_split(split)
        for split in SPLITS
        for of, measure in measures.items()
    }


def _attacks(splits: Mapping[str, TokenScores], texts: Mapping[str, Sequence[str]]) -> Measures:
    losses = {split: _attack_losses(scores, texts[split]) for split, scores in splits.items()}
    measures: Measures = {}
    for members, others in language_names.ATTACKED:
        absent = next((split for split in (members, others) if split not in splits), None)
        for attack in language_names.ATTACKS:
            measures[language_names.auc_of(attack, members, others)] = (
                auc_loss(losses[members][attack], losses[others][attack])
                if absent is None
                else _no_split(absent)
            )
    return measures


def _attack_losses(scores: TokenScores, texts: Sequence[str]) -> dict[str, Floats]:
    return {
        "loss": memorization.item_losses(scores),
        MINK: text_membership.mink_losses(scores, MINK_PERCENT),
        MINKPP: text_membership.minkpp_losses(scores, MINK_PERCENT),
        "zlib": text_membership.zlib_losses(scores, texts),
    }


def _truth_ratios(alternatives: Mapping[str, Alternatives], geometric: bool) -> Measures:
    measures: Measures = {}
    for asked in ("forget", "retain", *EVALUATION_SETS):
        sum_up = tofu.indifference if asked == "forget" else tofu.truthfulness
        measures[language_names.truth_ratio_of(asked, geometric=geometric)] = (
            sum_up(alternatives[asked], geometric=geometric)
            if asked in alternatives
            else _no_wrong_answers(asked)
        )
    return measures


def _measured(measures: Measures, name: str) -> float:
    return measures.get(name, Undefined("it was not measured"))


def _no_split(split: str) -> Undefined:
    return Undefined(f"there is no {split} split")


def _no_wrong_answers(asked: str) -> Undefined:
    return Undefined(f"there are no wrong answers to compare with for {asked}")
