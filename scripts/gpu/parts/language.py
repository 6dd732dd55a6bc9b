"""Llamas of random weights: a step over its two gradients, tokens a second, memory, and greedy answers."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hamu_ray.footprint.compute.costs import work_of
from hamu_ray.pairing.group import Alone
from hamu_ray.tasks.language.scores import greedy_answers
from scripts.gpu.machine import Machine
from scripts.gpu.parts.memory import COPIES, Peak
from scripts.gpu.plans import gradients_of, plan_of, stepper_of
from scripts.gpu.record import Record, measured, not_run
from scripts.gpu.texts import LLAMAS, SMALL, Llama, RandomTexts

MICRO = 10
"""Texts per forward pass, as in the recipe."""

ACTIVATIONS = 8e9
"""Bytes that a forward pass of as many texts may take beside the weights."""

SECONDS = 45
"""Time that has to be left for another model."""


def check(machine: Machine) -> Iterator[Record]:
    precision = machine.precision
    batch, answer = machine.sized(cuda=(50, 100), cpu=(8, 20))
    llamas = machine.sized(cuda=LLAMAS, cpu={"5M": SMALL})
    for name, llama in llamas.items():
        title = f"LoRA on {name}, 2 x {batch} answers of {answer} tokens"
        if problem := _too_large(2 * llama.parameters + ACTIVATIONS, machine):
            yield not_run(title, problem)
            continue
        texts = RandomTexts(2 * batch, answer, llama, machine.device, precision=precision)
        model = texts.build_model(0, lora=True)
        yield _step(title, texts, model, batch, machine)
        yield _generation(f"greedy answers of {name}", texts, model, batch, machine)
        del model
        machine.release()
    if not machine.cuda:
        missing = ", ".join(LLAMAS)
        yield not_run(f"LoRA on {missing}", "for a GPU alone: minutes on a CPU")
    yield _all_weights(llamas, batch, answer, precision, machine)


def _step(title: str, texts: RandomTexts, model: nn.Module, batch: int, machine: Machine) -> Record:
    peak = Peak(machine)
    batches = [texts.splits[role][:batch] for role in ("retain", "forget")]
    parts = [part for whole in batches for part in whole.split(MICRO)]
    rounds = machine.sized(cuda=3, cpu=2)
    flops = work_of(lambda: gradients_of(texts, model, parts[:1])).flops * len(parts)
    gradients = machine.seconds(lambda: gradients_of(texts, model, parts), rounds=rounds)
    model.zero_grad(set_to_none=True)
    stepper = stepper_of(texts, model, plan_of(texts, batch=batch, micro=MICRO))
    step = machine.seconds(lambda: stepper(1), rounds=rounds)
    machine.found[f"step {title.partition(',')[0]}"] = step
    return measured(
        title,
        **{
            "trainable": stepper.flat.count,
            "ms": 1e3 * step,
            "over gradients": step / gradients,
            "tokens/s": 2 * batch * texts.tokens / step,
            "share of FLOP/s": flops / step / machine.flops(texts.precision),
            "GB": peak.bytes() / 1e9,
        },
    )


def _generation(title: str, texts: RandomTexts, model: nn.Module, batch: int, machine: Machine) -> Record:
    new_tokens = machine.sized(cuda=100, cpu=10)
    numbers = torch.arange(batch)
    found: list[Any] = []

    def generate() -> None:
        with (
            torch.no_grad(),
            torch.autocast(machine.device.type, torch.bfloat16, enabled=texts.precision == "bfloat16"),
        ):
            found[:] = [greedy_answers(model, texts.texts, numbers, batch, new_tokens, 0, Alone())]

    model.eval()
    seconds = machine.seconds(generate, rounds=1)
    tokens = int((found[0] != texts.texts.pad).sum())
    machine.found[title] = seconds / batch
    return measured(title, **{"answers": batch, "answers/s": batch / seconds, "tokens/s": tokens / seconds})


def _all_weights(
    llamas: dict[str, Llama], batch: int, answer: int, precision: str, machine: Machine
) -> Record:
    for name, llama in reversed(llamas.items()):
        if _too_large(4 * COPIES["sgd"] * llama.parameters + ACTIVATIONS, machine):
            continue
        texts = RandomTexts(2 * batch, answer, llama, machine.device, precision=precision)
        title = f"all weights of {name}, 2 x {batch} answers of {answer} tokens"
        return _step(title, texts, texts.build_model(0, lora=False), batch, machine)
    return not_run("all weights", "none of the models fits by the formula")


def _too_large(needed: float, machine: Machine) -> str:
    """Return why a model is not tried; empty where it is."""
    if machine.remaining < SECONDS:
        return f"less than {SECONDS} s left"
    if machine.cuda:
        free, _ = torch.cuda.mem_get_info(machine.device)
        if needed > 0.95 * free:
            return f"needs about {needed / 1e9:.0f} GB, {free / 1e9:.0f} are free"
    return ""
