"""The language task against loops over single texts, without padding and caches."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn
from torch.nn import functional

from hamu_ray.config.task.language import ForgetSplit
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.metrics.openunlearning_names import CONVENTION, MEASURED, ON_MUSE, OPENUNLEARNING, PREFIX
from hamu_ray.pairing.group import Alone
from hamu_ray.tasks import build_task, load_data, metric_names
from hamu_ray.tasks.language.data import LanguageData
from hamu_ray.tasks.language.documents.sequences import Sequences
from hamu_ray.tasks.language.scores import answer_logits, answer_scores, greedy_answers
from hamu_ray.tasks.language.task import LanguageTask
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.validation import validation_mask
from tests.made_texts import FORGET, LORA, RETAIN, tofu

CPU = torch.device("cpu")


def task_of(
    corpus: Path,
    *,
    parameters: str = "all",
    data: dict[str, Any] | None = None,
    convention: str | None = None,
    **model: Any,
) -> Any:
    config = LanguageModelConfig.model_validate(
        {"hidden_size": 16, "layers": 2, "heads": 2, "vocabulary": 300, **model}
    )
    loaded = load_data(tofu(corpus, **(data or {})), CPU)
    assert isinstance(loaded, LanguageData)
    return build_task(
        loaded,
        forget=ForgetSplit(),
        model=config,
        batch_size=4,
        seed=3,
        parameters=parameters,  # type: ignore[arg-type]
        convention=convention,
    )


@pytest.fixture(scope="module")
def task(text_corpus: Path) -> LanguageTask:
    return task_of(text_corpus, data={"duplicates": "semantic"})


@pytest.fixture(scope="module")
def model(task: LanguageTask) -> nn.Module:
    """A model with confident predictions: weights ten times as large as initial ones."""
    built = task.build_model(1)
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
    return built


def text_of(sequences: Sequences, at: int) -> Tensor:
    start = int(sequences.starts[at])
    return sequences.tokens[start : start + int(sequences.lengths[at])]


def alone(model: Any, sequences: Sequences, at: int) -> Tensor:
    """The logits of one text's answer tokens, from a plain forward pass."""
    tokens = text_of(sequences, at)
    prompt = int(sequences.prompts[at])
    return model(input_ids=tokens[None]).logits[0, prompt - 1 : -1]


def test_an_example_is_identified_by_question_and_answer(task: LanguageTask) -> None:
    (known,) = task.identities(task.splits["forget"][2:3])
    assert known.place == "row 2 of the forget split"
    question, answer = (
        "Where did Bo number 2 live as a child as a child?",
        "Bo 2 lived in a small village by the sea",
    )
    content = f"{question}\n{answer} and wrote books and wrote books."
    assert known.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_batched_logits_are_those_of_each_text_alone(task: LanguageTask, model: nn.Module) -> None:
    examples = torch.tensor([9, 0, 21, 3, 17])
    outputs = task.forward(model, examples)
    each = [alone(model, task._texts, int(at)) for at in examples]
    torch.testing.assert_close(outputs.logits, torch.cat(each), rtol=1e-5, atol=1e-4)
    assert outputs.examples.tolist() == [n for n, logits in enumerate(each) for _ in logits]
    assert task.count(examples) == len(outputs.labels) == sum(map(len, each))
    answers = [text_of(task._texts, int(at))[int(task._texts.prompts[at]) :] for at in examples]
    assert torch.equal(outputs.labels, torch.cat(answers))


def test_micro_batches_are_of_like_lengths_and_all_there(task: LanguageTask) -> None:
    examples = task.splits["retain"][torch.randperm(len(task.splits["retain"]))]
    parts = task.parts(examples, 5)
    assert sorted(torch.cat(list(parts)).tolist()) == sorted(examples.tolist())
    lengths = task._texts.lengths[torch.cat(list(parts))]
    assert (lengths.diff() >= 0).all()


def likelihoods(model: nn.Module, sequences: Sequences) -> Iterator[tuple[float, float]]:
    """Each answer's mean log-probability, and its fraction of right tokens."""
    for at in range(len(sequences)):
        answer = text_of(sequences, at)[int(sequences.prompts[at]) :]
        logits = alone(model, sequences, at)
        loss = functional.cross_entropy(logits, answer)
        yield -loss.item(), (logits.argmax(-1) == answer).float().mean().item()


@torch.no_grad()
def test_measures_are_those_of_one_text_at_a_time(task: LanguageTask, model: nn.Module) -> None:
    measures = task.evaluate(model, Alone())
    known = metric_names("language")
    assert set(measures) <= set(known)
    with eval_mode(model):
        sequences = task._texts
        found = list(likelihoods(model, sequences))
        for name, numbers in task._evaluation.measured().items():
            probabilities = [math.exp(found[at][0]) for at in numbers.tolist()]
            assert measures[f"{name}_prob"] == pytest.approx(
                sum(probabilities) / len(probabilities), rel=1e-4
            )
            lengths = sequences.answers[numbers].tolist()
            right = sum(found[at][1] * n for at, n in zip(numbers.tolist(), lengths, strict=True))
            assert measures[f"{name}_exact_memorization"] == pytest.approx(right / sum(lengths), rel=1e-5)
        choices = task._encodings.choices["forget"]
        right_probs = [math.exp(p) for p, _ in likelihoods(model, choices.right)]
        wrong_probs = iter([math.exp(p) for p, _ in likelihoods(model, choices.wrong)])
        ratios = [
            sum(next(wrong_probs) for _ in range(count)) / count / right
            for count, right in zip(choices.counts, right_probs, strict=True)
        ]
    assert measures.per_item["forget_truth_ratio"] == pytest.approx([math.log(r) for r in ratios], rel=1e-3)
    alone = task.compare(measures, measures, None)
    distance = ks_2samp(measures.per_item["forget_losses"], measures.per_item["test_losses"]).statistic
    assert alone["forget_quality"] == pytest.approx(1 - distance)
    assert math.isnan(alone["forget_prob_quality"])
    assert math.isnan(alone["privleak"])
    compared = task.compare(measures, None, measures)
    assert compared["forget_quality"] == compared["forget_quality_ks"] == 1
    assert compared["retain_utility"] == measures["model_utility"]


def test_evaluation_sets_are_of_what_the_split_holds(task: LanguageTask) -> None:
    """Two of the retain examples are held out for test: their questions are not questions on the retain set."""
    asked = {name: len(positions[0]) for name, positions in task._evaluation.asked.items()}
    rows = task._encodings.corpus.rows
    held = {rows.questions[at] for at in task._test}
    first = task._encodings.choices["retain"].questions
    assert asked["retain"] == sum(question not in held for question in first)
    assert asked["forget"] == FORGET
    assert {name: len(at) for name, at in task._evaluation.measured().items()} == {
        "retain": RETAIN - 2,
        "forget": FORGET,
        "test": 2,
        "duplicate": FORGET,
    }
    assert len(task.splits["retain"]) == RETAIN - 2 + FORGET


@torch.no_grad()
def test_greedy_answers_are_the_likeliest_tokens_one_after_the_other(task: LanguageTask, model: Any) -> None:
    numbers, new_tokens = torch.tensor([4, 0, 7]), 6
    with eval_mode(model):
        end = task._encodings.encoder.end
        found = greedy_answers(model, task._texts, numbers, 2, new_tokens, end, Alone())
        for row, at in zip(found.tolist(), numbers.tolist(), strict=True):
            tokens = text_of(task._texts, at)[: int(task._texts.prompts[at])]
            answer: list[int] = []
            while len(answer) < new_tokens and (not answer or answer[-1] != model.config.eos_token_id):
                answer.append(int(model(input_ids=tokens[None]).logits[0, -1].argmax()))
                tokens = torch.cat([tokens, torch.tensor(answer[-1:])])
            assert row == answer + [task._texts.pad] * (new_tokens - len(answer))


def test_a_worker_without_texts_has_nothing_to_say(task: LanguageTask, model: nn.Module) -> None:
    """More workers than texts: some have none."""
    none = torch.empty(0, dtype=torch.int64)
    scores = answer_scores(lambda batch: answer_logits(model, batch), task._texts, none, 4, Alone())
    assert len(scores.lengths) == len(scores.log_probs) == 0
    assert greedy_answers(model, task._texts, none, 4, 5, 2, Alone()).shape == (0, 5)


def test_a_subset_is_the_same_draw_each_time(task: LanguageTask, model: nn.Module) -> None:
    one, other = (task.evaluate(model, Alone(), subset=3) for _ in range(2))
    assert one == pytest.approx(other, nan_ok=True)
    assert "retain_rouge" not in one
    whole, drawn = task._evaluation.measured(), task._evaluation.measured(3)
    assert all(len(at) == min(3, len(whole[name])) for name, at in drawn.items())


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_teacher_keeps_the_models_outputs(lora: dict[str, Any] | None, text_corpus: Path) -> None:
    task = task_of(text_corpus, lora=lora)
    built = task.build_model(1)
    examples = torch.tensor([3, 0, 5])
    said = task.forward(built, examples).logits.detach()
    model = task.unlearner(built, 1)
    torch.testing.assert_close(task.forward(model, examples).logits, said, rtol=0, atol=0)
    teacher = task.teacher(model)
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert not torch.allclose(task.forward(model, examples).logits, said, atol=1e-3)
    torch.testing.assert_close(teacher(examples), said, rtol=0, atol=0)
    assert model.training


def test_the_base_is_shared_from_model_to_model(text_corpus: Path, text_checkpoint: Path) -> None:
    """A trained adapter does not affect the next model's base."""
    task = task_of(text_corpus, parameters="lora", name=str(text_checkpoint), lora=LORA)
    examples = torch.tensor([3, 0, 5])
    first = task.build_model(1)
    frozen = {n: p.data_ptr() for n, p in first.named_parameters() if not p.requires_grad}
    said = task.forward(first, examples).logits.detach()
    fresh = {n: p.detach().clone() for n, p in first.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in first.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    again = task.build_model(1)
    assert {n: p.data_ptr() for n, p in again.named_parameters() if not p.requires_grad} == frozen
    assert all(torch.equal(p, fresh[n]) for n, p in again.named_parameters() if p.requires_grad)
    torch.testing.assert_close(task.forward(again, examples).logits, said, rtol=0, atol=0)
    other = dict(task.build_model(2).named_parameters())
    assert any(not torch.equal(other[name], tensor) for name, tensor in fresh.items())


def test_checkpointing_changes_no_gradient(text_corpus: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        task = task_of(text_corpus, gradient_checkpointing=checkpointing, lora=LORA)
        model = task.unlearner(task.build_model(1), 1).train()
        outputs = task.forward(model, torch.tensor([3, 0, 5]))
        functional.cross_entropy(outputs.logits, outputs.labels).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_low_precision_keeps_what_is_trained_in_float32(text_corpus: Path, text_checkpoint: Path) -> None:
    task = task_of(text_corpus, parameters="lora", name=str(text_checkpoint), lora=LORA, precision="bfloat16")
    model = task.build_model(1)
    dtypes = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
    outputs = task.forward(model, torch.tensor([3, 0, 5]))
    functional.cross_entropy(outputs.logits.float(), outputs.labels).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)
    assert math.isfinite(task.evaluate(model, Alone(), subset=2)["retain_loss"])


def test_a_sweep_selects_by_texts_that_no_other_number_is_of(text_corpus: Path) -> None:
    settings = {"utility": "test_prob", "test_share": 0.5}
    whole = task_of(text_corpus, data=settings)
    part = task_of(text_corpus, data={**settings, "validation": 0.5})
    assert part.fingerprint != whole.fingerprint
    held = validation_mask(len(whole._test), 0.5)
    model = part.build_model(1)
    probabilities = [math.exp(likelihood) for likelihood, _ in likelihoods(model.eval(), part._texts)]
    texts = part._test.numpy()
    for subset in (None, 1000):
        measures = part.evaluate(model, Alone(), subset=subset)
        for name, chosen in (("validation_prob", texts[held]), ("test_prob", texts[~held])):
            expected = sum(probabilities[at] for at in chosen) / len(chosen)
            assert measures[name] == pytest.approx(expected, rel=1e-4)
        assert part.compare(measures, None, measures)["retain_utility"] == measures["validation_prob"]


def test_metrics_by_the_convention_of_openunlearning(text_corpus: Path) -> None:
    plain, both = (task_of(text_corpus, convention=name) for name in (None, CONVENTION))
    assert both.fingerprint != plain.fingerprint
    model = both.build_model(1)
    own, found = plain.evaluate(model, Alone()), both.evaluate(model, Alone())
    assert {name: found[name] for name in own if name in found} == pytest.approx(dict(own), nan_ok=True)
    assert set(found) - set(own) == set(MEASURED)
    compared = both.compare(found, None, found)
    named = {metric.name for metric in OPENUNLEARNING if metric.name not in {*MEASURED, *ON_MUSE}}
    assert set(compared) - set(plain.compare(own, None, own)) == named
    assert compared[f"{PREFIX}privleak"] == 0
    assert set(both.evaluate(model, Alone(), subset=4)) == set(plain.evaluate(model, Alone(), subset=4))
