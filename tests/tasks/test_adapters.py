"""Adapters: given ones with their own configuration, and new ones on the layers of different families."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig, OPTConfig
from transformers.pytorch_utils import Conv1D

from hamu_ray.config.task.language_model import LanguageModelConfig, LoraConfig
from hamu_ray.tasks.language.adapter import linear_layers, with_adapter
from hamu_ray.tasks.language.encoding.encoder import Encoder
from hamu_ray.tasks.language.encoding.tokenizer import load_tokenizer
from hamu_ray.tasks.language.models import build_language_model
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.models.pretrained import pretrained
from tests.made_texts import tofu

FAMILIES: dict[str, Any] = {
    "llama": LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    ),
    "gpt2": GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "opt": OPTConfig(
        vocab_size=50,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        word_embed_proj_dim=16,
        max_position_embeddings=64,
    ),
}
ENDS = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
}
TOKENS = torch.arange(12)[None]


def family(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(FAMILIES[name]).eval()


def moved(model: nn.Module) -> nn.Module:
    """Change all trained parameters, so that an adapter has an effect."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.linspace(-0.3, 0.3, parameter.numel()).view_as(parameter))
    return model


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("error:fan_in_fan_out")
def test_every_linear_layer_gets_an_adapter(name: str, tmp_path: Path) -> None:
    """For each family, loaded again by plain transformers and peft."""
    model = family(name)
    before = model(input_ids=TOKENS).logits
    assert {layer.rpartition(".")[2] for layer in linear_layers(model)} == ENDS[name]
    count = sum(isinstance(layer, nn.Linear | Conv1D) for layer in model.modules()) - 1
    adapted: Any = with_adapter(model, LoraConfig(rank=2), 0).eval()
    assert sum("lora_A" in parameter for parameter, _ in adapted.named_parameters()) == count
    torch.testing.assert_close(adapted(input_ids=TOKENS).logits, before)
    after = moved(adapted)(input_ids=TOKENS).logits
    assert (after - before).abs().max() > 1e-2
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(family(name), tmp_path).eval()
    torch.testing.assert_close(loaded(input_ids=TOKENS).logits, after)


SAID = {"r": 3, "lora_alpha": 7, "lora_dropout": 0.2, "target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 40}},
        {"rank_pattern": {"v_proj": 5}},
    ],
)
def test_a_given_adapter_computes_what_it_did(more: dict[str, Any], tmp_path: Path) -> None:
    """Its configuration determines everything, and nothing needs to be configured."""
    theirs: Any = moved(
        get_peft_model(family("llama"), PeftConfig(**SAID, **more, task_type="CAUSAL_LM"))
    ).eval()
    expected = theirs(input_ids=TOKENS).logits
    theirs.save_pretrained(tmp_path)
    ours: Any = with_adapter(family("llama"), LoraConfig(adapter=str(tmp_path)), 0).eval()
    torch.testing.assert_close(ours(input_ids=TOKENS).logits, expected)
    trained = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    assert ours.peft_config["default"].lora_dropout == 0.2
    for key, value in (("rank", 2), ("alpha", 64), ("dropout", 0.0), ("target_modules", ["q_proj"])):
        config = LoraConfig.model_validate({"adapter": str(tmp_path), key: value})
        with pytest.raises(ValueError, match=rf"^model\.lora\.{key}: .* differs from .*; set it to null"):
            with_adapter(family("llama"), config, 0)


def adapter_of(base: str, folder: Path) -> Checkpoint:
    """Save an adapter that names its base so, as `peft` writes what its training script had."""
    with warnings.catch_warnings(action="ignore"):
        adapted: Any = get_peft_model(family("llama"), PeftConfig(**SAID, task_type="CAUSAL_LM"))
        adapted.peft_config["default"].base_model_name_or_path = base
        adapted.save_pretrained(folder)
    return Checkpoint("original.path", str(folder))


@pytest.mark.filterwarnings("error::FutureWarning:transformers", "error:The PEFT config:UserWarning")
def test_what_peft_warns_about_is_not_shown(tmp_path: Path) -> None:
    family("llama").save_pretrained(tmp_path / "base")
    adapter = adapter_of(str(tmp_path / "base"), tmp_path / "adapter")
    with_adapter(pretrained(AutoModelForCausalLM, adapter), LoraConfig(adapter=adapter.name), 0)


def test_a_relative_base_is_found_from_other_working_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers have other working directories than the user."""
    family("llama").save_pretrained(tmp_path / "project" / "models" / "base")
    adapter = adapter_of("models/base", tmp_path / "project" / "out" / "adapter")
    elsewhere = adapter_of("models/base", tmp_path / "other")
    assert adapter.base == Checkpoint("original.path", str(tmp_path / "project" / "models" / "base"))
    assert elsewhere.base == Checkpoint("original.path", "models/base")  # perhaps on the hub
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(ValueError, match=rf"names its base models/base, .*; write {tmp_path}.* there"):
        _ = elsewhere.base


def test_an_adapter_of_another_model(tmp_path: Path) -> None:
    get_peft_model(family("opt"), PeftConfig(target_modules=["fc1"], r=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^model\.lora\.adapter: .* does not fit the model: "):
        with_adapter(family("llama"), LoraConfig(adapter=str(tmp_path)), 0)


def test_an_attention_that_the_model_lacks_is_named(text_corpus: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(LanguageModelConfig(vocabulary=300), ["a"], None)
    encoder = Encoder(tokenizer, tofu(text_corpus))
    gemma = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
    )
    AutoModelForCausalLM.from_config(gemma).save_pretrained(tmp_path)
    config = LanguageModelConfig(name=str(tmp_path), attn_implementation="eager")
    build_language_model(config, encoder, 0, torch.device("cpu"))
    with pytest.raises(
        ValueError,
        match=r"^model\.attn_implementation: .* does not support sdpa here: .*; use another, such as eager$",
    ):
        build_language_model(
            config.model_copy(update={"attn_implementation": "sdpa"}),
            encoder,
            0,
            torch.device("cpu"),
        )
