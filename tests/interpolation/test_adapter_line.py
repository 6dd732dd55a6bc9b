"""The line from an original to a real language model's adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.tensors import load_tensors
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.interpolation.line import Ends, Line
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Report, Verdict
from tests.made_texts import LORA, text_run

RATES = (0.02, 0.03)


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("storage"), torch.device("cpu"))


@pytest.fixture(scope="module")
def runs(resident: Resident, text_corpus: Path) -> list[tuple[RunConfig, Path, Outcome]]:
    """Two runs that fine-tune an adapter by gradient descent and ascent."""
    made = []
    for number, rate in enumerate(RATES):
        run = text_run(
            text_corpus,
            model={"lora": LORA},
            method={"name": "gdiff"},
            optimizer={"name": "adamw", "learning_rate": rate},
            duration={"steps": 10},
        )
        folder = resident.storage / f"{number}"
        made.append((run, folder, unlearn(run, resident, Alone(), folder, go_on)))
    return made


def go_on(report: Report) -> Verdict:
    return Verdict.GO_ON


def products(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight, before scaling."""
    return {
        name: weights[name.replace("lora_A", "lora_B")] @ tensor
        for name, tensor in weights.items()
        if "lora_A" in name
    }


def test_half_an_adapter_adds_half_and_other_programs_load_it(
    runs: list[tuple[RunConfig, Path, Outcome]], resident: Resident, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    run, folder, outcome = runs[0]
    line = Line(Ends(run, folder), resident, go_on)
    written = line.write(0.5, tmp_path / "half", outcome)
    trained, half = (products(load_tensors(place / MODEL_FILE)[0]) for place in (folder, tmp_path / "half"))
    assert max(product.abs().max() for product in trained.values()) > 1e-3
    for name, product in trained.items():
        torch.testing.assert_close(half[name], product / 2)
    whole = line.measure(1.0, frozenset({"forget_prob"}))["forget_prob"]
    assert whole == pytest.approx(outcome.measures["forget_prob"], rel=1e-5)
    assert written.measures["forget_prob"] != pytest.approx(whole, rel=0.05)

    line.measure(0.5, frozenset({"forget_prob"}))
    task: Any = resident.task(run)
    expected = task.forward(line.model.eval(), torch.tensor([0])).logits
    start, length = int(task._texts.starts[0]), int(task._texts.lengths[0])
    tokens = task._texts.tokens[start : start + length]
    loaded: Any = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "half").eval()
    logits = loaded(input_ids=tokens[None]).logits[0, int(task._texts.prompts[0]) - 1 : -1]
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_there_is_no_adapter_of_the_same_rank_between_two(
    runs: list[tuple[RunConfig, Path, Outcome]], resident: Resident
) -> None:
    (_, first, _), (run, second, _) = runs
    with pytest.raises(ValueError, match="the sum of two has a higher rank"):
        Line(Ends(run, second, first), resident, go_on)


def test_an_objective_that_only_a_full_evaluation_defines_is_measured(
    runs: list[tuple[RunConfig, Path, Outcome]], resident: Resident, text_corpus: Path
) -> None:
    """Without TOFU's evaluation sets `retain_utility` is there, but undefined."""
    data = {"utility": "model_utility"}
    run = text_run(text_corpus, data=data, model={"lora": LORA}, method={"name": "gdiff"})
    line = Line(Ends(run, runs[0][1]), resident, go_on)
    measures = line.measure(0.5, frozenset({"retain_utility"}))
    assert measures["retain_utility"] == measures["model_utility"]
