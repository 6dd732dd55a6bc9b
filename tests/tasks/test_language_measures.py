import json
import math

import numpy as np
import pytest
from scipy.stats import hmean, ks_2samp

from hamu_ray.metrics import LANGUAGE, Undefined, reasons
from hamu_ray.metrics.benchmark_names import BENCHMARKS
from hamu_ray.metrics.membership import auc_loss
from hamu_ray.metrics.openunlearning_names import MEASURED, OPENUNLEARNING, PREFIX, SAME
from hamu_ray.metrics.text.membership import mink_losses, minkpp_losses, zlib_losses
from hamu_ray.metrics.text.memorization import extraction_strength, item_losses
from hamu_ray.metrics.text.tofu import Alternatives, indifference, option_probability, truthfulness
from hamu_ray.tasks.language.evaluation import EVERY
from hamu_ray.tasks.language.measures import (
    ALL,
    CHEAP,
    Generated,
    all_measures,
    cheap_measures,
    compare_items,
    compare_measures,
    forget_items,
    openunlearning_measures,
    same_under_their_names,
)
from tests.metrics.ragged import made_up_scores, with_broken_token

SPLITS = {
    name: made_up_scores([6, 11, 3, 20], seed)
    for seed, name in enumerate(("retain", "forget", "test", "duplicate"))
}
TEXTS = {name: [f"answer {number} of {name} {'la ' * number}" for number in range(4)] for name in SPLITS}
GENERATED = {
    name: Generated(["a few words", "and more"], ["a few words", "no less"])
    for name in (*SPLITS, "real_authors", "world_facts")
}
ALTERNATIVES = {
    name: Alternatives(made_up_scores([4, 5], seed), made_up_scores([3, 6, 2], seed + 1), np.array([2, 1]))
    for seed, name in enumerate(("forget", "retain", "real_authors", "world_facts"))
}


@pytest.fixture(scope="module")
def measures() -> dict[str, float]:
    return all_measures(SPLITS, texts=TEXTS, generated=GENERATED, alternatives=ALTERNATIVES)


OF_SOME = (
    *("forget_quality", "forget_quality_ceiling", "validation_prob"),
    *(metric.name for metric in (*BENCHMARKS, *OPENUNLEARNING)),
)
"""What follows from values of items, several references, a validation split, published corpora, and a convention."""


def test_every_measure_has_a_name_and_only_those(measures: dict[str, float]) -> None:
    compared = compare_measures(measures, measures, utility="test_prob")
    of_items = compare_items(forget_items(ALTERNATIVES), forget_items(ALTERNATIVES))
    assert tuple(cheap_measures(SPLITS)) == CHEAP
    assert tuple(measures) == ALL
    assert {*measures, *compared, *of_items, *EVERY, *OF_SOME} == set(LANGUAGE)
    assert len(EVERY) + len(compared) + len(of_items) + len(OF_SOME) == len(LANGUAGE)
    assert all(math.isfinite(value) for value in {**measures, **compared, **of_items}.values())


def test_measures_are_what_their_names_say(measures: dict[str, float]) -> None:
    forget = SPLITS["forget"]
    assert measures["forget_loss"] == pytest.approx(-forget.log_probs.mean())
    assert measures["forget_prob"] == pytest.approx(np.exp(-item_losses(forget)).mean())
    assert measures["retain_accuracy"] == measures["retain_exact_memorization"]
    assert measures["retain_accuracy"] == pytest.approx(SPLITS["retain"].correct.mean())
    assert measures["duplicate_token_prob"] == pytest.approx(np.exp(SPLITS["duplicate"].log_probs).mean())
    assert measures["retain_extraction_strength"] == extraction_strength(SPLITS["retain"])
    assert measures["forget_truth_ratio"] == indifference(ALTERNATIVES["forget"])
    assert measures["retain_truth_ratio_geometric"] == truthfulness(ALTERNATIVES["retain"], geometric=True)
    assert measures["real_authors_prob"] == option_probability(ALTERNATIVES["real_authors"])
    lowest = [part.min() for part in np.split(forget.log_probs, np.cumsum(forget.lengths)[:-1])[:3]]
    lowest.append(np.sort(forget.log_probs[-20:])[:2].mean())
    assert measures["forget_mink_10"] == pytest.approx(np.mean(lowest))
    assert measures["world_facts_rouge"] == pytest.approx((1 + 0) / 2)
    nine = [
        measures[f"{split}_{part}"]
        for split in ("retain", "real_authors", "world_facts")
        for part in ("prob", "rouge", "truth_ratio")
    ]
    assert measures["model_utility"] == pytest.approx(hmean(nine))
    assert measures["model_utility_geometric"] != measures["model_utility"]


@pytest.mark.parametrize(
    ("members", "others"), [("forget", "test"), ("retain", "forget"), ("duplicate", "test")]
)
def test_attacks_rank_members_before_others(measures: dict[str, float], members: str, others: str) -> None:
    attacks = {
        "loss": lambda name: item_losses(SPLITS[name]),
        "mink_10": lambda name: mink_losses(SPLITS[name], 10),
        "minkpp_10": lambda name: minkpp_losses(SPLITS[name], 10),
        "zlib": lambda name: zlib_losses(SPLITS[name], TEXTS[name]),
    }
    for attack, losses in attacks.items():
        expected = auc_loss(losses(members), losses(others))
        assert measures[f"auc_{attack}_{members}_{others}"] == expected, attack


def test_what_is_not_given_is_not_measured() -> None:
    splits = {name: scores for name, scores in SPLITS.items() if name != "duplicate"}
    why = reasons(all_measures(splits, texts=TEXTS, generated={}, alternatives={}))
    assert why["duplicate_loss"] == why["auc_mink_10_duplicate_test"] == "there is no duplicate split"
    assert why["forget_rouge"] == "no answers were generated for forget"
    assert why["forget_truth_ratio"] == "there are no wrong answers to compare with for forget"
    assert why["real_authors_prob"] == "there are no wrong answers to compare with for real_authors"
    assert why["model_utility"] == "retain_rouge is not defined: no answers were generated for retain"
    assert not any(name.startswith(("retain_loss", "forget_prob", "auc_minkpp_10_forget")) for name in why)


def test_a_model_that_broke_does_not_look_good() -> None:
    broken = {name: with_broken_token(scores, 1) for name, scores in SPLITS.items()}
    measures = all_measures(broken, texts=TEXTS, generated={}, alternatives={})
    assert all(isinstance(value, Undefined) for value in measures.values())
    assert measures["retain_loss"].reason == "the logits of 1 of 40 answer tokens are not finite"  # type: ignore[attr-defined]
    compared = compare_measures(measures, measures, utility="test_prob")
    assert all(isinstance(value, Undefined) for value in compared.values())


def test_objectives_by_hand() -> None:
    model = {"forget_prob": 0.1, "test_prob": 0.8, "model_utility": 0.6, "auc_mink_10_forget_test": 0.7}
    reference = {"forget_prob": 0.3, "test_prob": 0.9, "model_utility": 0.7, "auc_mink_10_forget_test": 0.5}
    compared = compare_measures(model, reference, utility="test_prob")
    assert compared == pytest.approx({"forget_prob_quality": 0.8, "retain_utility": 0.8, "privleak": -0.4})
    assert compare_measures(model, reference, utility="model_utility")["retain_utility"] == 0.6


def test_cheap_measures_give_the_objectives_alone() -> None:
    cheap = cheap_measures(SPLITS)
    assert set(compare_measures(cheap, cheap, utility="test_prob")) == {
        "forget_prob_quality",
        "retain_utility",
    }
    utility = compare_measures(cheap, cheap, utility="model_utility")["retain_utility"]
    assert isinstance(utility, Undefined)
    assert utility.reason == "it was not measured"


def test_a_reference_that_was_measured_cheaply_has_no_privacy_leak_to_compare_with(
    measures: dict[str, float],
) -> None:
    leak = compare_measures(measures, cheap_measures(SPLITS), utility="test_prob")["privleak"]
    assert isinstance(leak, Undefined)
    assert leak.reason == "the membership AUC of the reference is not defined: it was not measured"


def test_truth_ratios_are_kept_as_json_for_the_test_against_the_reference() -> None:
    def asked(seed: int) -> dict[str, Alternatives]:
        right, wrong = made_up_scores([3] * 30, seed), made_up_scores([3] * 60, seed + 1)
        return {"forget": Alternatives(right, wrong, np.full(30, 2))}

    model, reference = forget_items(asked(0)), forget_items(asked(7))
    kept = json.loads(json.dumps(reference))
    compared = compare_items(model, kept)
    expected = ks_2samp(*(np.exp(items["forget_truth_ratio"]) for items in (model, reference))).pvalue
    assert 0 < expected < 1
    assert compared["forget_quality_ks"] == pytest.approx(expected)
    assert compared["forget_quality_ks_log10"] == pytest.approx(math.log10(expected))
    assert len(kept["forget_truth_ratio_geometric"]) == 30
    assert forget_items({}) == {}
    assert reasons(compare_items(model, {})) == {
        "forget_quality_ks": "there are no truth ratios of the reference",
        "forget_quality_ks_log10": "the p-value is not defined: there are no truth ratios of the reference",
        "forget_quality_ks_geometric": "there are no truth ratios of the reference",
        "forget_quality_ks_log10_geometric": "the p-value is not defined: there are no truth ratios of the reference",
    }


def test_the_names_of_openunlearning_are_those_of_its_metrics(measures: dict[str, float]) -> None:
    found = openunlearning_measures(SPLITS, ALTERNATIVES, measures)
    assert tuple(found) == MEASURED
    assert all(math.isfinite(value) for value in found.values())
    compared = compare_measures({**measures, **found}, {**measures, **found}, utility="test_prob")
    assert compared[f"{PREFIX}privleak"] == 0
    named = same_under_their_names({**measures, **found}, compare_items(forget_items(ALTERNATIVES), {}))
    assert named[f"{PREFIX}forget_Q_A_Prob"] == measures["forget_prob"]
    assert set(named) == {name for name, own in SAME.items() if "mem_" not in own}
    every = {*found, *SAME, f"{PREFIX}privleak"}
    assert every == {metric.name for metric in OPENUNLEARNING}
    assert same_under_their_names(measures, {}) == {}
