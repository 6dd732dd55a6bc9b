"""Models as `transformers` and `peft` have them on disk: the files beside the weights that the engine writes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

CARD = "README.md"
"""The placeholder card that `peft` writes; the engine's card replaces it."""

LOADING = """from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
"""


def exported(model: nn.Module, tokenizer: Any, base: str | None) -> Mapping[str, bytes]:
    """Return the contents of files by name that make a folder one which `transformers` or `peft` loads.

    Of a model that is trained whole: the configuration, to go beside a `MODEL_FILE` with all weights. Of
    one with an adapter: the adapter and its configuration, which names the model below it, ``base`` if given.
    Either with the tokenizer.
    """
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        if isinstance(model, PeftModel):
            if base is not None:
                model.peft_config["default"].base_model_name_or_path = base
            model.save_pretrained(folder, save_embedding_layers=False)
        else:
            whole: Any = model
            whole.config.save_pretrained(folder)
            whole.generation_config.save_pretrained(folder)
        files = [path for path in Path(folder).iterdir() if path.is_file() and path.name != CARD]
        return {path.name: path.read_bytes() for path in sorted(files)}
