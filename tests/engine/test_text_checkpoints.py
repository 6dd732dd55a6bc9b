"""A user's published language model: sharded, of several families, complete or as an adapter."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from cheap_runs import ReportList, done, same_bits

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.language import ForgetSplit
from hamu_ray.config.task.language_model import LanguageModelConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.resident import Resident
from hamu_ray.pairing.group import Alone
from hamu_ray.tasks.language.documents.corpus import load_corpus
from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer
from hamu_ray.tasks.models.start import Origin
from tests.made_texts import LORA, pairs, text_run, tofu

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama(**tokens: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**SIZES, intermediate_size=24, max_position_embeddings=64, **tokens)


def qwen(**tokens: Any) -> Any:
    from transformers import Qwen2Config

    return Qwen2Config(
        **SIZES, num_key_value_heads=1, intermediate_size=24, max_position_embeddings=64, **tokens
    )


def gpt2(**tokens: Any) -> Any:
    from transformers import GPT2Config

    return GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, **tokens)


def opt(**tokens: Any) -> Any:
    from transformers import OPTConfig

    return OPTConfig(**SIZES, ffn_dim=24, word_embed_proj_dim=16, max_position_embeddings=64, **tokens)


FAMILIES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "llama": (llama, ("q_proj", "v_proj", "down_proj")),
    "qwen": (qwen, ("q_proj", "o_proj", "up_proj")),
    "gpt2": (gpt2, ("c_attn", "c_fc")),
    "opt": (opt, ("q_proj", "out_proj", "fc1")),
}
"""Configurations by family, with layers that get an adapter."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("published-storage"), torch.device("cpu"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, text_corpus: Path) -> Callable[..., Path]:
    """Write a tiny model of a family as published, in shards; the seed determines its weights."""
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(
        LanguageModelConfig(vocabulary=300), load_corpus(tofu(text_corpus), ForgetSplit()).texts, None
    )
    root = tmp_path_factory.mktemp("published")

    def write(family: str, seed: int = 0) -> Path:
        folder = root / f"{family}-{seed}"
        if folder.exists():
            return folder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            ids = {
                f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
            }
            config = FAMILIES[family][0](vocab_size=len(tokenizer), **ids)
            model: Any = AutoModelForCausalLM.from_config(config)
            for parameter in model.parameters():
                parameter.data += 0.05 * torch.randn_like(parameter)  # including biases and norms
        model.save_pretrained(folder, max_shard_size="12KB")
        tokenizer.save_pretrained(folder)
        return folder

    return write


def run_of(corpus: Path, base: Path, family: str, parameters: str, **sections: Any) -> RunConfig:
    lora = {**LORA, "target_modules": list(FAMILIES[family][1])} if parameters == "lora" else None
    model = {"name": str(base), "lora": lora}
    training = {"parameters": parameters, "epochs": 1}
    return text_run(corpus, **{"model": model, "training": training, **sections})


@pytest.mark.parametrize("parameters", ["all", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_through_original_unlearning_and_home(
    family: str,
    parameters: str,
    published: Callable[..., Path],
    texts: Resident,
    text_corpus: Path,
    tmp_path: Path,
) -> None:
    """The result folder gives, in plain transformers, the logits of the run."""
    from transformers import AutoModelForCausalLM

    base = published(family)
    assert len(list(base.glob("model-*-of-*.safetensors"))) > 1, "it is in shards"
    run = run_of(text_corpus, base, family, parameters)
    ended = done(run, texts, tmp_path / "run")
    assert ended.outcome.reference_kind == Origin.SHARED
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "run").eval()
    task: Any = texts.task(run)
    train = task._texts
    start, length, prompt = int(train.starts[0]), int(train.lengths[0]), int(train.prompts[0])
    tokens = train.tokens[start : start + length]
    logits = plain(input_ids=tokens[None]).logits[0, prompt - 1 : -1]
    from hamu_ray.engine.files.tensors import load_model

    model = task.unlearner(task.build_model(run.seed), run.seed)
    load_model(model, tmp_path / "run" / "model.safetensors")
    torch.testing.assert_close(
        logits, task.forward(model.eval(), torch.tensor([0])).logits, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_published_original_has_its_published_weights(
    family: str, published: Callable[..., Path], texts: Resident, text_corpus: Path, tmp_path: Path
) -> None:
    """Sharded, with a declared base: without any step, the run's result equals the original's weights."""
    from transformers import AutoModelForCausalLM

    tuned, base = published(family, 1), published(family)
    sections: dict[str, Any] = {"original": {"path": str(tuned)}, "duration": {"steps": 0}}
    run = run_of(text_corpus, tuned, family, "all", reference={"start": str(base)}, **sections)
    ended = done(run, texts, tmp_path / "run")
    assert ended.outcome.reference_kind == Origin.DECLARED
    theirs: Any = AutoModelForCausalLM.from_pretrained(tuned)
    mine: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    assert same_bits(mine.state_dict(), theirs.state_dict())
    refused = run_of(text_corpus, tuned, family, "all", **sections)
    with pytest.raises(ValueError, match=r"^reference\.start: .*own weights"):
        base_models(refused, texts.task(refused), Alone(), ReportList(), texts.models)


@pytest.mark.parametrize("parameters", ["all", "lora"])
def test_a_published_adapter_is_an_original(
    parameters: str, published: Callable[..., Path], texts: Resident, text_corpus: Path, tmp_path: Path
) -> None:
    """Merged if all weights are unlearned, kept if the adapter is."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    base = published("llama")
    network: Any = AutoModelForCausalLM.from_pretrained(base)
    shape = {"r": LORA["rank"], "lora_alpha": LORA["alpha"], "target_modules": list(FAMILIES["llama"][1])}
    adapted: Any = get_peft_model(network, LoraConfig(task_type="CAUSAL_LM", **shape))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    sections: dict[str, Any] = {"original": {"path": str(folder)}, "duration": {"steps": 0}}
    run = run_of(text_corpus, base, "llama", parameters, **sections)
    ended = done(run, texts, tmp_path / "run")
    assert ended.outcome.reference_kind == Origin.UNDECLARED
    tokens = torch.arange(20)[None]
    expected = adapted.eval()(input_ids=tokens).logits
    mine: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "run").eval()
    torch.testing.assert_close(mine(input_ids=tokens).logits, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(adapted, PeftModel)
    with_it = run_of(
        text_corpus,
        base,
        "llama",
        parameters,
        model={
            "name": str(base),
            "lora": {**LORA, "target_modules": shape["target_modules"], "adapter": str(folder)},
        },
        **sections,
    )
    if parameters == "lora":
        with pytest.raises(ValueError, match=r"^reference\.start: .*own weights.*reference\.start=BASE"):
            base_models(with_it, texts.task(with_it), Alone(), ReportList(), texts.models)
        clean = with_it.model_copy(
            update={"reference": with_it.reference.model_copy(update={"start": str(base)})}
        )
        task: Any = texts.task(clean)
        from hamu_ray.engine.files.given import built, given

        fresh = built(task, 0, given(clean, "reference.start", str(base))).state_dict()
        assert not any(weight.any() for name, weight in fresh.items() if "lora_B" in name)


def test_a_given_adapter_that_may_have_met_the_data_is_no_start_of_a_reference(
    published: Callable[..., Path], texts: Resident, text_corpus: Path, tmp_path: Path
) -> None:
    base = published("llama")
    first = run_of(text_corpus, base, "llama", "lora")
    done(first, texts, tmp_path / "adapter")
    lora = {**LORA, "target_modules": list(FAMILIES["llama"][1]), "adapter": str(tmp_path / "adapter")}
    run = run_of(text_corpus, base, "llama", "lora", model={"name": str(base), "lora": lora})
    with pytest.raises(
        ValueError, match=r"^reference\.start: .*an adapter \(model\.lora\.adapter\) that may"
    ):
        base_models(run, texts.task(run), Alone(), ReportList(), texts.models)


@pytest.mark.parametrize("broken", ["shard", "weight", "cut"])
def test_a_checkpoint_that_is_not_whole(
    broken: str, published: Callable[..., Path], texts: Resident, text_corpus: Path, tmp_path: Path
) -> None:
    base, folder = published("llama"), shutil.copytree(published("llama", 1), tmp_path / "model")
    first, *_ = sorted(folder.glob("model-*.safetensors"))
    if broken == "shard":
        first.unlink()
    elif broken == "cut":
        first.write_bytes(first.read_bytes()[:-7])
    else:
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        shard = index["weight_map"].pop("model.norm.weight")
        index["weight_map"] = {n: f for n, f in index["weight_map"].items() if f != shard}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    run = run_of(
        text_corpus, base, "llama", "all", original={"path": str(folder)}, reference={"start": str(base)}
    )
    recorder = ReportList()
    with pytest.raises(ValueError, match=r"^original\.path: ") as error:
        base_models(run, texts.task(run), Alone(), recorder, texts.models)
    assert "\n" not in str(error.value)
    assert not recorder.reports, "before anything trains"


def test_a_name_on_the_hub_is_a_model_by_its_commit(
    published: Callable[..., Path],
    texts: Resident,
    text_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the hub's cache, as after a download: another commit is another model."""
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("hamu_ray.tasks.models.hub.hub_answers", lambda: False)
    place = cache / "models--somebody--tuned"
    keys = []
    for seed, commit in ((1, "a" * 40), (2, "b" * 40)):
        shutil.copytree(published("llama", seed), place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)
        run = run_of(
            text_corpus,
            published("llama"),
            "llama",
            "all",
            original={"path": "somebody/tuned"},
            reference={"start": str(published("llama"))},
        )
        keys.append(base_models(run, texts.task(run), Alone(), ReportList(), texts.models)[0].key)
    assert keys[0] != keys[1]


def write_tofu(folder: Path) -> Path:
    """Write a data set in the layout of `locuslab/TOFU`, with a hold-out of authors that are in no other part."""
    parts = {"forget01": pairs(4, "Bo"), "retain99": pairs(12, "Ada"), "holdout01": pairs(5, "Eve")}
    folder.mkdir()
    configs = []
    for name, rows in parts.items():
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
        configs.append({"config_name": name, "data_files": [{"split": "train", "path": f"{name}.parquet"}]})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    return folder


def test_a_published_tofu_original_is_judged_on_texts_that_it_never_met(
    published: Callable[..., Path], texts: Resident, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was trained on all of forget and retain: its test texts come from the hold-out."""
    data = {"layout": "locuslab", "test_subset": "holdout01"}
    corpus = write_tofu(tmp_path / "tofu")
    run = text_run(corpus, data=data, model={"name": str(published("llama"))}, training={"epochs": 60})
    task: Any = texts.task(run)
    full = train_on_everything(task, run, texts, tmp_path / "published")
    tuned = run.model_copy(
        update={
            "original": run.original.model_copy(update={"source": "path", "path": str(full)}),
            "reference": run.reference.model_copy(update={"start": str(published("llama"))}),
        }
    )
    ended = done(tuned, texts, tmp_path / "run")
    assert ended.outcome.reference_kind == Origin.DECLARED
    encoder, sequences = task._encodings.encoder, task._texts
    starts, lengths, prompts = (
        sequences.starts.tolist(),
        sequences.lengths.tolist(),
        sequences.prompts.tolist(),
    )

    def label_of(index: int) -> str:
        begin, end = starts[index] + prompts[index], starts[index] + lengths[index]
        return encoder.decode(sequences.tokens[begin:end].tolist())

    test = {label_of(index) for index in task._test.tolist()}
    trained = {label_of(index) for split in task.splits.values() for index in split.tolist()}
    assert len(test) == 5
    assert all(text.startswith("Eve") for text in test)
    assert not test & trained
    original = next(ended.recorder.of("original")).measures
    assert original["forget_prob"] > 0.5 > original["test_prob"], "it learned what it was trained on by heart"
    assert "held out of the retain examples" not in caplog.text
    done(
        tuned.model_copy(update={"data": tuned.data.model_copy(update={"test_subset": None})}),
        texts,
        tmp_path / "x",
    )
    assert "held out of the retain examples" in caplog.text


def train_on_everything(task: Any, run: RunConfig, texts: Resident, folder: Path) -> Path:
    """Publish a model that was trained on all of forget and retain: a stored original in its own folder."""
    original, _ = base_models(run, task, Alone(), ReportList(), texts.models)
    return shutil.copytree(original.folder, folder)
