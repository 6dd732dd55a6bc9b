"""The bounded and distilling forget objectives against independent implementations of their papers' losses.

The papers minimise; here their losses are written as in their formulas, token by token where that is simpler, and the
gradients with respect to the logits are compared: that of the objective must be the negative of theirs.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from made_predictions import predictions_of
from scipy.integrate import quad
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from hamu_ray.methods import FORGET_OBJECTIVES, METHODS, Objective, Predictions, forget_objective
from hamu_ray.methods.catalogue.relabelled import other_labels
from hamu_ray.methods.draws import mixed, seeds_of
from hamu_ray.methods.objectives import SECOND

LENGTHS = [3, 0, 1, 4]
SECOND_LENGTHS = [2, 1, 5, 1]
"""Numbers of items of the examples, and of their second answers."""


def gradient(loss: Callable[[Predictions], Tensor], given: Predictions) -> Tensor:
    """The gradient of the sum over the items with respect to the logits, then those of second answers."""
    logits = [given.logits.clone().requires_grad_()]
    seen = replace(given, logits=logits[0])
    if given.second is not None:
        logits.append(given.second.logits.clone().requires_grad_())
        seen = replace(seen, second=replace(given.second, logits=logits[1]))
    total = loss(seen).sum()
    found = torch.autograd.grad(total, logits, allow_unused=True, materialize_grads=True)
    return torch.cat(found)


def nll(given: Predictions) -> Tensor:
    return F.cross_entropy(given.logits, given.labels, reduction="none")


def wga(given: Predictions, beta: float = 1.0) -> Tensor:
    weight = torch.exp(-nll(given)).detach() ** beta
    return -weight * nll(given)


def satimp(given: Predictions, beta1: float = 5.0, beta2: float = 1.0) -> Tensor:
    p = torch.exp(-nll(given)).detach()
    return -(p**beta1) * (1 - p) ** beta2 * nll(given)


def ceu(given: Predictions, skip: int = 1) -> Tensor:
    target = given.logits.detach().clone()
    target[torch.arange(len(target)), given.labels] = -torch.inf
    losses = F.cross_entropy(given.logits, target.softmax(-1), reduction="none")
    lengths = torch.bincount(given.examples, minlength=given.count)
    kept = [place >= skip or length <= skip for length in lengths.tolist() for place in range(length)]
    return losses * torch.tensor(kept)


def inverted_hinge(given: Predictions) -> Tensor:
    found = []
    for row, label in zip(given.logits.softmax(-1), given.labels.tolist(), strict=True):
        rivals = torch.cat((row[:label], row[label + 1 :]))
        found.append(1 + row[label] - rivals.max())
    return torch.stack(found)


def max_entropy(given: Predictions) -> Tensor:
    p = given.logits.softmax(-1)
    return (p * (p * p.shape[-1]).log()).sum(-1)


def jensun(given: Predictions, target: int | None = None) -> Tensor:
    p = given.logits.softmax(-1)
    q = torch.full_like(p, 1 / p.shape[-1])
    if target is not None:
        q = F.one_hot(torch.full((len(p),), target), p.shape[-1]).to(p)
    middle = (p + q) / 2
    return 0.5 * (p * (p / middle).log() + torch.xlogy(q, q) - q * middle.log()).sum(-1)


def undial(given: Predictions, strength: float = 10.0) -> Tensor:
    mask = F.one_hot(given.labels, given.logits.shape[-1]).to(given.logits)
    soft = (given.teachers["original"] - strength * mask).softmax(-1)
    return F.cross_entropy(given.logits, soft, reduction="none")


def bad_teacher(given: Predictions) -> Tensor:
    return F.kl_div(
        F.log_softmax(given.logits, -1), F.softmax(given.teachers["random"], -1), reduction="none"
    ).sum(-1)


def random_label(given: Predictions) -> Tensor:
    return F.cross_entropy(given.logits, other_labels(given), reduction="none")


def boundary(given: Predictions) -> Tensor:
    nearest = torch.argmax(given.teachers["perturbed"], dim=1)
    return F.cross_entropy(given.logits, nearest, reduction="none")


def log_likelihoods(given: Predictions, logits: Tensor) -> Tensor:
    """The log-likelihood of each answer, one at a time."""
    found = []
    for example in range(given.count):
        own = given.examples == example
        found.append(-F.cross_entropy(logits[own], given.labels[own], reduction="sum"))
    return torch.stack(found)


def dpo(given: Predictions, beta: float = 0.1) -> Tensor:
    """As in TOFU's code, with the factor 2 / beta of NPO's and open-unlearning's."""
    second = given.second
    pi = log_likelihoods(second, second.logits) - log_likelihoods(given, given.logits)
    reference = [log_likelihoods(each, each.teachers["original"]) for each in (second, given)]
    return -2 / beta * torch.log(1 / (1 + torch.exp(-beta * (pi - (reference[0] - reference[1])))))


def second_nll(given: Predictions) -> Tensor:
    second = given.second
    return -log_likelihoods(second, second.logits) / torch.tensor(SECOND_LENGTHS)


def rmu(given: Predictions, steering: float = 6.5) -> Tensor:
    """As in the paper's code: the mean squared error to a vector; here the vector is built number by number."""
    width, bits = given.logits.shape[1], (1 << 53) - 1
    seed = int(mixed(torch.tensor(given.seed)))
    drawn = [(int(mixed(torch.tensor(place ^ seed))) & bits) / (1 << 53) for place in range(width)]
    vector = torch.tensor(drawn, dtype=torch.float64)
    target = (steering * vector / torch.norm(vector)).expand_as(given.logits)
    return F.mse_loss(given.logits, target, reduction="none").mean(1)


CASES: dict[str, tuple[Callable[[Predictions], Tensor], Objective]] = {
    "wga": (wga, forget_objective("wga")),
    "wga-0.5": (lambda given: wga(given, 0.5), forget_objective("wga", beta=0.5)),
    "satimp": (satimp, forget_objective("satimp")),
    "satimp-3-0.4": (
        lambda given: satimp(given, 3.0, 0.4),
        forget_objective("satimp", beta1=3.0, beta2=0.4),
    ),
    "ceu": (ceu, forget_objective("ceu")),
    "ceu-0": (lambda given: ceu(given, 0), forget_objective("ceu", skip_first=0)),
    "inverted_hinge": (inverted_hinge, forget_objective("inverted_hinge")),
    "max_entropy": (max_entropy, forget_objective("max_entropy")),
    "jensun": (jensun, forget_objective("jensun")),
    "jensun-2": (lambda given: jensun(given, 2), forget_objective("jensun", target_class=2)),
    "undial": (undial, forget_objective("undial")),
    "bad_teacher": (bad_teacher, forget_objective("bad_teacher")),
    "random_label": (random_label, forget_objective("random_label")),
    "boundary": (boundary, forget_objective("boundary")),
    "dpo": (dpo, forget_objective("dpo")),
    "dpo-1": (lambda given: dpo(given, 1.0), forget_objective("dpo", beta=1.0)),
    "rmu": (rmu, forget_objective("rmu")),
    "rmu-20": (lambda given: rmu(given, 20.0), forget_objective("rmu", steering=20.0)),
    "second_nll": (second_nll, forget_objective("second_nll")),
}
SAME_VALUE = {"inverted_hinge", "jensun", "jensun-2", "undial", "bad_teacher", "random_label"}
SAME_VALUE |= {"boundary", "dpo", "dpo-1", "second_nll", "rmu", "rmu-20"}
"""Those whose value is the negative of the paper's; of the others it differs by what differentiation does not see."""


def made(name: str, seed: int) -> Predictions:
    second = SECOND_LENGTHS if SECOND in CASES[name][1].needs else None
    return predictions_of(LENGTHS, seed, second=second)


def relative_difference(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def test_every_objective_is_compared():
    elsewhere = {"cross_entropy", "npo", "simnpo", "logit_margin"}
    assert {objective.name for _, objective in CASES.values()} | elsewhere == set(FORGET_OBJECTIVES)


@pytest.mark.parametrize("name", CASES)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 8.0))
@settings(max_examples=25, deadline=None)
def test_the_gradient_is_that_of_the_paper(name, seed, scale):
    paper, objective = CASES[name]
    given = made(name, seed)
    given = replace(given, logits=scale * given.logits)
    assert relative_difference(gradient(objective.loss, given), -gradient(paper, given)) < 1e-9
    if name in SAME_VALUE:
        torch.testing.assert_close(objective.loss(given), -paper(given))


@pytest.mark.parametrize("name", [name for name in CASES if name != "satimp-3-0.4"])
def test_autograd_agrees_with_finite_differences(name):
    """Value and gradient belong together, so that a step's predicted and actual changes do."""
    objective = CASES[name][1]
    given = made(name, seed=3)
    logits = given.logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: objective.loss(replace(given, logits=x)), (logits,))


@pytest.mark.parametrize(("beta1", "beta2"), [(5.0, 1.0), (1.0, 0.0), (3.0, 2.0), (2.5, 0.5)])
def test_satimp_is_the_integral_of_its_weight(beta1, beta2):
    given = predictions_of([6], seed=1)
    values = forget_objective("satimp", beta1=beta1, beta2=beta2).loss(given)
    for value, loss in zip(values.tolist(), nll(given).tolist(), strict=True):
        expected, _ = quad(lambda t: t ** (beta1 - 1) * (1 - t) ** beta2, math.exp(-loss), 1)
        assert value == pytest.approx(expected, rel=1e-9, abs=0 if beta2 == int(beta2) else 1e-3)


@pytest.mark.parametrize("beta2", [2.0, 5.0, 10.0])
def test_satimp_does_not_cancel_in_float32(beta2):
    given = predictions_of([6], seed=1)
    objective = forget_objective("satimp", beta2=beta2)
    single = objective.loss(replace(given, logits=given.logits.float()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), objective.loss(given), rtol=1e-3, atol=0)
    with pytest.raises(ValueError, match=r"beta2 must be .* at most 10"):
        forget_objective("satimp", beta2=40.0)


def test_a_target_class_that_does_not_exist_is_one_line():
    given = predictions_of([2])
    with pytest.raises(ValueError, match=r"method\.target_class: there is no class 4, only 0 to 3; give one"):
        forget_objective("jensun", target_class=4).loss(given)


def test_jensun_is_the_divergence_of_scipy():
    given = predictions_of([5], seed=2)
    p = given.logits.softmax(-1).numpy()
    uniform = np.full(p.shape[1], 1 / p.shape[1])
    expected = [-(jensenshannon(row, uniform) ** 2) for row in p]
    assert forget_objective("jensun").loss(given).tolist() == pytest.approx(expected)
    other = given.teachers["original"].softmax(-1).numpy()
    retain = METHODS["jensun"].retain
    expected = [jensenshannon(one, two) ** 2 for one, two in zip(p, other, strict=True)]
    assert retain.loss(given).tolist() == pytest.approx(expected)
    assert retain.needs == {"original"}


@pytest.mark.parametrize(
    ("name", "low", "high"), [("wga", 0, 1), ("inverted_hinge", -2, 0), ("ceu", -1e9, 0)]
)
def test_bounds(name, low, high):
    for scale in (1.0, 50.0):
        given = predictions_of([4, 2], seed=5)
        values = forget_objective(name).loss(replace(given, logits=scale * given.logits))
        assert ((values >= low) & (values <= high)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_extreme_predictions_have_finite_gradients(name, dtype):
    """Also of a label that is certain or impossible in float32."""
    given = made(name, seed=4)
    for scale in (1e4, -1e4):
        low = {key: value.to(dtype) for key, value in given.teachers.items()}
        found = gradient(
            CASES[name][1].loss, replace(given, logits=(scale * given.logits).to(dtype), teachers=low)
        )
        assert found.isfinite().all()


def test_a_certain_label_is_still_moved_by_ceu():
    """Where 1 - p is 0 in float32."""
    certain = Predictions(torch.tensor([[40.0, 0.0, 1.0]]), torch.tensor([0]), torch.tensor([0]), 1)
    assert gradient(forget_objective("ceu").loss, certain)[0, 0] == pytest.approx(-1.0, abs=1e-5)


def test_dpo_starts_as_the_difference_of_likelihoods_and_saturates():
    """For every beta: which makes learning rates comparable with gradient ascent's and NPO's."""
    given = made("dpo", seed=7)
    second = given.second
    at = replace(given, logits=given.teachers["original"])
    at = replace(at, second=replace(second, logits=second.teachers["original"]))

    def difference(seen: Predictions) -> Tensor:
        return log_likelihoods(seen.second, seen.second.logits) - log_likelihoods(seen, seen.logits)

    for beta in (0.01, 0.1, 1.0):
        found = gradient(forget_objective("dpo", beta=beta).loss, at)
        torch.testing.assert_close(found, gradient(difference, at))
    far = replace(at, logits=-50 * at.logits.abs() * F.one_hot(at.labels, 4))
    assert gradient(forget_objective("dpo", beta=1.0).loss, far).norm() < gradient(difference, far).norm() / 2


def test_second_answers_are_of_whole_examples_of_the_forget_set():
    with pytest.raises(ValueError, match="needs second answers, whose items are others; set its unit to ex"):
        Objective("o", second_nll, needs=frozenset({SECOND}))
    with pytest.raises(ValueError, match="its retain objective cannot need second"):
        replace(METHODS["dpo"], retain=forget_objective("second_nll"))
    with pytest.raises(ValueError, match=r"needs second \(the outputs for second answers\), found None"):
        forget_objective("second_nll").loss(predictions_of([2]))


def test_splitmix64_of_whole_numbers():
    """The published algorithm, in Python's integers."""
    bits = (1 << 64) - 1

    def next_of(state: int) -> int:
        z = (state + 0x9E3779B97F4A7C15) & bits
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & bits
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & bits
        return z ^ (z >> 31)

    for number in (0, 1, 12345, -7):
        state = (number * 0x9E3779B97F4A7C15) & bits
        assert int(mixed(torch.tensor(number))) & bits == next_of(state)
    assert next_of(0) == 0xE220A8397B1DCDAF, "the first output of seed 0"


def test_random_labels_are_uniform_other_labels_and_follow_the_example():
    count, classes = 6000, 5
    labels = torch.arange(count) % classes

    def drawn_at(order: Tensor, seed: int = 1) -> Tensor:
        given = Predictions(
            torch.zeros(len(order), classes), labels[order], torch.arange(len(order)), len(order)
        )
        return other_labels(replace(given, seeds=seeds_of(order, seed, torch.device("cpu"))))

    first = drawn_at(torch.arange(count))
    assert (first != labels).all()
    assert ((first >= 0) & (first < classes)).all()
    table = torch.bincount(labels * classes + first, minlength=classes**2).view(classes, classes)
    expected = count / classes / (classes - 1)
    off = table[~torch.eye(classes, dtype=torch.bool)]
    assert (off - expected).abs().max() < 5 * expected**0.5
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn_at(shuffled), first[shuffled]), "whatever the batch"
    assert (drawn_at(torch.arange(count), seed=2) != first).float().mean() > 0.5
    with pytest.raises(ValueError, match="needs seeds"):
        other_labels(Predictions(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([0]), 1))


def test_tokens_of_an_answer_get_different_labels():
    given = predictions_of([40], classes=50)
    assert len(other_labels(given).unique()) > 20
