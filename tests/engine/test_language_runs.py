"""Language runs in the engine: saved files, resuming, different numbers of workers, other programs' loaders."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cheap_runs import ReportList, done, same_bits
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.tensors import load_model, load_tensors
from hamu_ray.engine.planning import unlearning_plan
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.state import changing_state
from hamu_ray.engine.step import PairedStep
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone, Distributed
from hamu_ray.results.outcome import Status
from tests.made_texts import LORA, text_run
from tests.ports import free_port

WAYS: dict[str, dict[str, Any]] = {
    "all": {},
    "lora on an original trained whole": {"model": {"lora": LORA}},
    "lora throughout": {"model": {"lora": LORA}, "training": {"parameters": "lora"}},
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("texts-storage"), torch.device("cpu"))


def run_of(way: str, corpus: Path, base: Path, **sections: Any) -> RunConfig:
    settings = {
        name: {**WAYS[way].get(name, {}), **sections.get(name, {})} for name in {*WAYS[way], *sections}
    }
    if way == "lora throughout":
        settings["model"]["name"] = str(base)
    return text_run(corpus, **settings)


@pytest.mark.parametrize("way", WAYS)
def test_only_what_can_change_is_saved(
    way: str, texts: Resident, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    run = run_of(way, text_corpus, text_checkpoint, checkpoint={"every_steps": 2, "keep": True})
    ended = done(run, texts, tmp_path / "run")
    assert ended.outcome.status is Status.FINISHED
    *_, newest = sorted((tmp_path / "run").glob("checkpoints/*/step-*"))
    in_checkpoint = {name.partition(".")[2] for name in load_tensors(newest)[0] if name.startswith("model.")}
    assert in_checkpoint == set(ended.weights)
    original, _ = base_models(run, texts.task(run), Alone(), ReportList(), texts.models)
    stored = load_tensors(original.path)[0]
    is_adapter = [all(".lora_" in name for name in names) for names in (ended.weights, stored)]
    assert is_adapter == {"all": [False, False], "lora throughout": [True, True]}.get(way, [True, False])
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"| forget_prob | {ended.outcome.measures['forget_prob']:.4g} |" in card


@pytest.mark.parametrize("method", ["hamu-q", "kl", "dpo", "rmu"])
@pytest.mark.parametrize("way", WAYS)
def test_resumed_is_as_undisturbed(
    way: str, method: str, texts: Resident, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    """Including dropout, which is a function of the step."""
    sections: dict[str, Any] = {"checkpoint": {"every_steps": 2}, "method": {"name": method}}
    if way != "all":
        sections["model"] = {"lora": {**LORA, "dropout": 0.2}}
    run = run_of(way, text_corpus, text_checkpoint, optimizer={"momentum": 0.9}, **sections)
    undisturbed = done(run, texts, tmp_path / "undisturbed")
    with pytest.raises(ConnectionError):
        done(run, texts, tmp_path / "run", ReportList(dies_at=4))
    resumed = done(run, Resident(texts.storage, torch.device("cpu")), tmp_path / "run")
    assert resumed.outcome.resumed_at == 2
    np.testing.assert_equal(resumed.recorder.history, undisturbed.recorder.history)  # with its NaN
    assert same_bits(resumed.weights, undisturbed.weights)
    assert resumed.outcome.measures == pytest.approx(undisturbed.outcome.measures, rel=0, nan_ok=True)


METHODS = ("hamu-q", "kl", "npo", "dpo", "rmu")
"""Losses per answer token, with the original's outputs, per whole answer, with second answers and hidden states."""


def in_group(
    rank: int, size: int, port: int, runs: dict[str, RunConfig], storage: Path, folder: Path
) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=size)
    resident, group = Resident(storage, torch.device("cpu")), Distributed()
    drawn_from: list[bytes] = []

    def before_forward(module: nn.Module, _: Any) -> None:
        if isinstance(module, nn.Dropout) and module.training:
            drawn_from.append(torch.get_rng_state().numpy().tobytes())

    register_module_forward_pre_hook(before_forward)
    for name, run in runs.items():
        recorder = ReportList()
        unlearn(run, resident, group, folder / name, recorder)
        if rank == 0:
            torch.save([recorder.history, recorder.reports[-1].measures], folder / name / "recorder.pt")
    torch.save(drawn_from, folder / f"drawn-from-{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may abort the interpreter while it ends (pytorch/pytorch#179291)


def runs_of_methods(corpus: Path, **sections: Any) -> dict[str, RunConfig]:
    fast = {"model": {"lora": LORA}, "optimizer": {"learning_rate": 0.5}}
    return {name: text_run(corpus, **fast, method={"name": name}, **sections) for name in METHODS}


@pytest.fixture(scope="module")
def two_workers(texts: Resident, text_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two processes for the methods' runs, and for one with dropout."""
    folder = tmp_path_factory.mktemp("two")
    runs = runs_of_methods(text_corpus, batch={"micro": 3}, workers={"count": 2})
    with_dropout = {"model": {"lora": {**LORA, "dropout": 0.5}}, "workers": {"count": 2}}
    runs["dropout"] = text_run(text_corpus, **with_dropout)
    port = free_port()
    mp.spawn(in_group, args=(2, port, runs, texts.storage, folder), nprocs=2)
    return folder


def test_two_workers_give_the_numbers_of_one(
    two_workers: Path, texts: Resident, text_corpus: Path, tmp_path: Path
) -> None:
    """Seven and five answers of different lengths: one worker processes them at once, two in micro-batches of three."""
    for method, run in runs_of_methods(text_corpus).items():
        alone = done(run, texts, tmp_path / method)
        history, measures = torch.load(two_workers / method / "recorder.pt", weights_only=False)
        for loss in ("step_retain_loss", "step_forget_loss"):
            assert history[loss] == pytest.approx(alone.recorder.history[loss], rel=1e-5, abs=1e-6), method
        weights = load_tensors(two_workers / method / "model.safetensors")[0]
        torch.testing.assert_close(weights, alone.weights, rtol=1e-5, atol=1e-5)
        learned = [tensor.abs().max() for name, tensor in weights.items() if "lora_B" in name]
        assert max(learned) > 1e-3
        assert measures == pytest.approx(alone.outcome.measures, rel=1e-3, abs=1e-5, nan_ok=True)


def test_each_worker_draws_its_own_dropout_in_every_step(two_workers: Path) -> None:
    """No two workers and no two steps share a mask; only measuring a step's effect on the losses repeats its mask."""
    by_rank = [torch.load(two_workers / f"drawn-from-{rank}.pt", weights_only=True) for rank in range(2)]
    assert all(len(states) >= text_run(two_workers).duration.steps for states in by_rank)
    assert not set(by_rank[0]) & set(by_rank[1])
    assert all(max(Counter(states).values()) <= 2 for states in by_rank)
    assert all(min(Counter(states).values()) == 1 for states in by_rank)


@pytest.mark.parametrize("way", WAYS)
def test_other_programs_load_what_is_left(
    way: str, texts: Resident, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    """Only `transformers`, which uses peft for adapters."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = run_of(way, text_corpus, text_checkpoint)
    done(run, texts, tmp_path / "run")
    task: Any = texts.task(run)
    original, _ = base_models(run, task, Alone(), ReportList(), texts.models)
    model = task.build_model(run.seed)
    load_model(model, original.path)
    examples = torch.tensor([0])
    folder_of_original = original.path.parent
    for folder in (folder_of_original, tmp_path / "run"):
        if folder == tmp_path / "run":
            model = task.unlearner(model, run.seed)
            load_model(model, folder / "model.safetensors")
        expected = task.forward(model.eval(), examples).logits
        start, length = int(task._texts.starts[0]), int(task._texts.lengths[0])
        tokens = task._texts.tokens[start : start + length]
        loaders: list[Any] = [AutoModelForCausalLM]
        loaders += [AutoPeftModelForCausalLM] if (folder / "adapter_config.json").exists() else []
        for loader in loaders:
            loaded = loader.from_pretrained(folder).eval()
            logits = loaded(input_ids=tokens[None]).logits[0, int(task._texts.prompts[0]) - 1 : -1]
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
        assert (
            AutoTokenizer.from_pretrained(folder).get_vocab() == task._encodings.encoder.tokenizer.get_vocab()
        )


@pytest.mark.parametrize("way", ["all", "lora throughout"])
def test_the_original_may_be_a_file_of_other_programs(
    way: str, texts: Resident, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    """The files that `save_pretrained` writes for a model, or for an adapter."""
    trained = run_of(way, text_corpus, text_checkpoint)
    original, _ = base_models(trained, texts.task(trained), Alone(), ReportList(), texts.models)
    folder = tmp_path / "theirs"
    if way == "all":
        from transformers import AutoModelForCausalLM

        AutoModelForCausalLM.from_pretrained(original.path.parent).save_pretrained(folder)
    name = "model.safetensors" if way == "all" else "adapter_model.safetensors"
    given = (folder if way == "all" else original.path.parent) / name
    run = run_of(way, text_corpus, text_checkpoint, original={"source": "path", "path": str(given)})
    found, _ = base_models(run, texts.task(run), Alone(), ReportList(), texts.models)
    assert found.measures == pytest.approx(original.measures, nan_ok=True)


def test_unlearning_starts_from_a_given_adapter(
    texts: Resident, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    run = run_of("lora throughout", text_corpus, text_checkpoint)
    ended = done(run, texts, tmp_path / "run")
    lora = {**LORA, "adapter": str(tmp_path / "run")}
    again = run_of("lora throughout", text_corpus, text_checkpoint, model={"lora": lora})
    model = texts.task(again).build_model(0)
    assert same_bits(changing_state(model), ended.weights)
    narrower = run_of("lora throughout", text_corpus, text_checkpoint, model={"lora": {**lora, "rank": 1}})
    with pytest.raises(
        ValueError, match=r"model\.lora\.rank: 1 differs from .*, which has 2; set it to null to use"
    ):
        texts.task(narrower).build_model(0)


@pytest.mark.parametrize("method", ["scrub", "hamu-u"])
def test_micro_batches_of_like_lengths_add_up(
    method: str, texts: Resident, text_corpus: Path, text_checkpoint: Path
) -> None:
    found = []
    for micro in (None, 2):
        run = run_of(
            "lora on an original trained whole",
            text_corpus,
            text_checkpoint,
            batch={"retain": 7, "forget": 5, "micro": micro},
            method={"name": method},
        )
        task = texts.task(run)
        original, _ = base_models(run, task, Alone(), ReportList(), texts.models)
        model = task.build_model(run.seed)
        load_model(model, original.path)
        model = task.unlearner(model, run.seed)
        stepper = PairedStep(
            task, model, unlearning_plan(run, task.splits), Alone(), {"original": task.teacher(model)}
        )
        for step in range(3):
            stepper(step)
        found.append(stepper.flat.values.clone())
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_the_recipe_of_an_original_knows_an_adapter_only_if_it_is_trained(
    texts: Resident, text_corpus: Path, text_checkpoint: Path
) -> None:
    def key(way: str, **sections: Any) -> str:
        run = run_of(way, text_corpus, text_checkpoint, **sections)
        return base_models(run, texts.task(run), Alone(), ReportList(), texts.models)[0].key

    wider: dict[str, Any] = {"model": {"lora": {**LORA, "rank": 3}}}
    assert key("all") == key("lora on an original trained whole", **wider)
    assert key("lora throughout") != key("lora throughout", **wider)
    longer: dict[str, Any] = {"data": {"prompt": "{question} Answer:"}}
    assert key("all") != key("all", **longer)


@pytest.mark.parametrize("way", WAYS)
def test_the_random_teacher_is_a_whole_untrained_model(
    way: str, texts: Resident, text_corpus: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    """Also beside an adapter, whose base is pretrained."""
    method = {"name": "ga", "forget_objective": "bad_teacher"}
    run = run_of(way, text_corpus, text_checkpoint, method=method)
    ended = done(run, texts, tmp_path / "run")
    assert ended.outcome.status is Status.FINISHED
    history = ended.recorder.history
    assert all(np.isfinite(value) and value < 0 for value in history["step_forget_loss"])
    assert history["actual_forget_change"][0] > 0, "it comes closer to the teacher"
