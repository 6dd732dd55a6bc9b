"""Pretrained models with every weight from a checkpoint: a strict `from_pretrained`; and models without training."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from hamu_ray.tasks.models.checkpoints import CONFIG, Checkpoint
from hamu_ray.tasks.models.hub import hub_or_cache, one_line

NAMED = 3
"""Maximum number of weights listed in a message."""


def pretrained(auto: Any, checkpoint: Checkpoint, *, new_head: bool = False, **options: Any) -> Any:
    """Return a checkpoint's model, with an adapter merged into its base.

    Args:
        auto: the class of `transformers` that loads it, such as ``AutoModelForCausalLM``.
        checkpoint: the checkpoint to load.
        new_head: whether the head may be missing or have another shape, in which case it is newly initialised.
        options: options of `from_pretrained`.

    Raises:
        ValueError: It cannot be loaded, or weights are missing, unexpected or have another shape; the message lists
            them.
    """
    base = checkpoint.base
    if base is None:
        model, fresh = _loaded(auto, checkpoint, new_head, options)
        if fresh and not new_head:
            raise _incomplete(checkpoint, fresh)
        return model
    model, fresh = _loaded(auto, base, True, options)
    model, saved = _with_its_adapter(model, checkpoint)
    if uncovered := {name for name in fresh if not any(f".{part}." in f".{name}" for part in saved)}:
        raise _incomplete(base, uncovered)
    return model


@contextmanager
def without_bars() -> Iterator[None]:
    """Within, `transformers` and the hub's client draw no progress bars."""
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


@contextmanager
def without_report() -> Iterator[None]:
    """Within, `transformers` does not log which weights do not fit, which is checked here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Within, `peft` does not warn that it uses what `transformers` deprecates, or that a base model has moved."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings(
            "ignore", "The PEFT config's `base_model_name_or_path` was renamed", UserWarning
        )
        yield


def _loaded(
    auto: Any, checkpoint: Checkpoint, new_head: bool, options: Mapping[str, Any]
) -> tuple[Any, set[str]]:
    """Return the model and the names of its weights that are not in the checkpoint, all of them in the head."""
    try:
        bars = without_bars() if checkpoint.local else nullcontext()
        with hub_or_cache(checkpoint.name), bars, without_report():
            model, info = auto.from_pretrained(
                checkpoint.name, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except Exception as error:  # transformers and the hub's client raise many unrelated types
        raise ValueError(
            f"{checkpoint.key}: {checkpoint.name} cannot be loaded: {one_line(error)}"
        ) from error
    fresh = {str(name) for name in info["missing_keys"]} | {str(name) for name, *_ in info["mismatched_keys"]}
    left_over = {str(name) for name in info["unexpected_keys"]}
    backbone = f"{model.base_model_prefix}."
    if new_head:  # a backbone's pooler belongs to the head that it was saved with
        left_over = {name for name in left_over if name.startswith(backbone) and ".pooler." not in name}
    if wrong := {name for name in fresh if name.startswith(backbone)} | set(info["error_msgs"]):
        raise _incomplete(checkpoint, wrong)
    if left_over:
        raise ValueError(
            f"{checkpoint.key}: {checkpoint.name} has weights that the model of its {CONFIG} lacks: "
            f"{_listed(left_over)}; give a checkpoint written by save_pretrained"
        )
    return model, fresh


def _incomplete(checkpoint: Checkpoint, names: set[str]) -> ValueError:
    return ValueError(
        f"{checkpoint.key}: {checkpoint.name} lacks weights of the model that its {CONFIG} describes, or has them in "
        f"another shape: {_listed(names)}; give a whole checkpoint, or request a new head if only that is missing"
    )


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more


def _with_its_adapter(model: nn.Module, checkpoint: Checkpoint) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model with the adapter merged into it, and the names of modules that the adapter stores whole."""
    from peft import PeftModel
    from peft.utils.save_and_load import load_peft_weights

    try:
        with hub_or_cache(checkpoint.name), without_warnings():
            adapted: Any = PeftModel.from_pretrained(model, checkpoint.name)
            weights = load_peft_weights(checkpoint.name, device="cpu")
    except Exception as error:  # peft and the hub's client raise many unrelated types
        raise ValueError(
            f"{checkpoint.key}: {checkpoint.name} cannot be loaded: {one_line(error)}"
        ) from error
    check_weights(checkpoint, adapted, weights)
    saved = adapted.peft_config["default"].modules_to_save or ()
    merged: nn.Module = adapted.merge_and_unload()
    return merged.requires_grad_(True), tuple(saved)  # peft had frozen the weights below the adapter


def check_weights(checkpoint: Checkpoint, model: Any, weights: Mapping[str, Tensor]) -> None:
    """Check that an adapter's weights match a model with an adapter; raises `ValueError`."""
    from peft import get_peft_model_state_dict

    expected: Mapping[str, Tensor] = get_peft_model_state_dict(model)
    for name in sorted(set(weights) | set(expected)):
        found, wanted = (held[name].shape if name in held else None for held in (weights, expected))
        if found != wanted:
            raise ValueError(
                f"{checkpoint.key}: {checkpoint.name} does not fit: {name} is {_shape(found)} there and "
                f"{_shape(wanted)} here; give the adapter of this model"
            )


def _shape(shape: Any) -> str:
    return "missing" if shape is None else "x".join(map(str, shape))


def untrained(model: Any, seed: int) -> nn.Module:
    """Return a model of the same architecture with newly initialised weights, on the same device, frozen.

    The weights depend on the seed, not on the device; global random states do not change. A model with an adapter gives
    one without.

    Raises:
        ValueError: A module has parameters, but no way to initialise them.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if hasattr(base, "from_pretrained"):
            fresh = type(base)(deepcopy(base.config))
        else:
            fresh = deepcopy(base).cpu()
            for name, module in fresh.named_modules():
                _initialise(name, module)
    device = next(model.parameters()).device
    return fresh.requires_grad_(False).to(device).eval()


def _initialise(name: str, module: Any) -> None:
    # torch's attention and transformers have it under a name of their own.
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if reset is not None:
        reset()
    elif own := [key for key, _ in module.named_parameters(recurse=False)]:
        place = f"{name}.{own[0]}" if name else own[0]
        raise ValueError(
            f"method.name: its random teacher needs the model's weights initialised anew, and {type(module).__name__}, "
            f"which has {place}, has no reset_parameters(); add it, or use another method"
        )
