"""Models in the formats of `transformers` and `peft`: the files in addition to the weights."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

CARD = "README.md"
"""The placeholder model card that `peft` writes; the engine replaces it."""

LOADING = """from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
"""


def exported(
    model: nn.Module, tokenizer: Any, base: str | None, weights: Mapping[str, Tensor]
) -> Mapping[str, bytes]:
    """Return the contents of the files, by name, that `transformers` or `peft` need to load a folder.

    For a fully trained model: its configuration, in addition to a `MODEL_FILE` with all weights. For a model with an
    adapter: the adapter and its configuration, which names the base model, ``base`` if given. The tokenizer is included
    in both cases. ``weights`` are the trained ones, by their names in these files.
    """
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        if isinstance(model, PeftModel):
            if base is not None:
                model.peft_config["default"].base_model_name_or_path = base
            model.save_pretrained(folder, save_embedding_layers=False, state_dict=dict(weights))
        else:
            whole: Any = model
            whole.config.save_pretrained(folder)
            whole.generation_config.save_pretrained(folder)
        files = [path for path in Path(folder).iterdir() if path.is_file() and path.name != CARD]
        return {path.name: path.read_bytes() for path in sorted(files)}
