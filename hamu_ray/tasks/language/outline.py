"""A language model without its weights, and its passes over the longest texts."""

from functools import reduce
from operator import or_

import torch
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.language import TextSection
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.metrics.text.tokens import score_tokens
from hamu_ray.tasks.forecast import Forecast, Longest
from hamu_ray.tasks.language.adapter import as_fresh, with_adapter
from hamu_ray.tasks.language.documents.sequences import Batch
from hamu_ray.tasks.language.models import outlined_language_model
from hamu_ray.tasks.language.scores import answer_logits, rows_at
from hamu_ray.tasks.outline import Generation, Outline
from hamu_ray.tasks.task import Outputs


def outline_language(run: RunConfig, forecast: Forecast | None) -> Outline:
    """Return the outline of a run's model; texts are as long as the forecast's, or as the configuration allows.

    Raises `ValueError`, in one line, if the model's configuration cannot be loaded.
    """
    model, data = run.model, run.data
    assert isinstance(model, LanguageModelConfig)
    assert isinstance(data, TextSection)
    longest = _longest(data, forecast)

    def build(unlearned: bool) -> nn.Module:
        adapters_only = run.training.parameters == "lora"
        is_low = adapters_only and model.precision == "bfloat16"
        dtype = torch.bfloat16 if is_low else torch.float32
        built = outlined_language_model(model, data.longest, dtype)
        if model.lora is None or not (unlearned or adapters_only):
            return built
        lora = model.lora if model.lora.adapter is None else as_fresh(model.lora)
        with torch.device("meta"):
            return with_adapter(built, lora, seed=0)

    def autocast(cached: bool = True) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, model.precision == "bfloat16", cached)

    def forward(network: nn.Module, examples: int, sharded: bool) -> Outputs:
        batch = batch_of(examples, longest.text, longest.answer)
        with autocast(not sharded):
            return Outputs(answer_logits(network, batch), batch.labels, batch.texts)

    def evaluate(network: nn.Module, examples: int) -> object:
        outputs = forward(network, examples, False)
        scores = score_tokens(outputs.logits, outputs.labels)
        del outputs
        prompts = batch_of(
            min(examples, data.generated), longest.prompt + (data.new_tokens or longest.answer), 1
        )
        with autocast(), rows_at(network.get_output_embeddings(), prompts):  # type: ignore[operator]
            return scores, network(input_ids=prompts.tokens, use_cache=True)

    def answer(network: nn.Module, answers: int) -> object:
        with autocast():
            return network(input_ids=torch.zeros(answers, 1, dtype=torch.int64), use_cache=False)

    generation = Generation(data.generated, data.new_tokens or longest.answer, answer)
    examples = f"texts of {longest.text} tokens"
    return Outline(examples, build, forward, evaluate, model.freeze_batchnorm, generation=generation)


def batch_of(texts: int, length: int, answer: int) -> Batch:
    """Return a batch of equally long texts, each of which ends with an answer; lengths are in tokens."""
    rows = torch.arange(texts).repeat_interleave(answer)
    columns = torch.arange(length - 1 - answer, length - 1).repeat(texts)
    return Batch(torch.zeros(texts, length, dtype=torch.int64), rows, columns, torch.zeros_like(rows), rows)


def _longest(data: TextSection, forecast: Forecast | None) -> Longest:
    sides = [side.longest for side in forecast.splits.values() if side.longest] if forecast else []
    return reduce(or_, sides) if sides else Longest(data.longest, data.longest // 2, data.longest - 1)
