"""Models with every weight from a checkpoint: `from_pretrained` that leaves nothing to chance."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hamu_ray.tasks.checkpoints import Checkpoint
from hamu_ray.tasks.hub import hub_or_cache, one_line

NAMED = 3
"""Weights that a message names, at most."""


def pretrained(auto: Any, checkpoint: Checkpoint, *, new_head: bool = False, **options: Any) -> Any:
    """Return a checkpoint's model, an adapter merged into its base.

    Args:
        auto: the class of `transformers` that loads it, such as ``AutoModelForCausalLM``.
        checkpoint: what to load.
        new_head: whether what lies behind the backbone may be missing or of another shape: it is drawn anew.
        options: of `from_pretrained`.

    Raises:
        ValueError: It cannot be loaded, or weights are missing, left over or of another shape: names them.
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


def _loaded(
    auto: Any, checkpoint: Checkpoint, new_head: bool, options: Mapping[str, Any]
) -> tuple[Any, set[str]]:
    """Return the model and the names of its weights that are none of the checkpoint's, all of them of the head."""
    try:
        with hub_or_cache(checkpoint.name):
            model, info = auto.from_pretrained(
                checkpoint.name, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except Exception as error:  # transformers and the hub's client raise many unrelated types
        raise ValueError(f"{checkpoint.key}: {checkpoint.name} cannot be loaded: {one_line(error)}") from error
    fresh = {str(name) for name in info["missing_keys"]} | {str(name) for name, *_ in info["mismatched_keys"]}
    left_over = {str(name) for name in info["unexpected_keys"]}
    prefix = f"{model.base_model_prefix}."
    wrong = {name for name in fresh if name.startswith(prefix)} | (set() if new_head else left_over)
    if new_head:
        # A backbone's own pooler belongs to the head that it was saved with.
        wrong |= {name for name in left_over if name.startswith(prefix) and ".pooler." not in name}
    if wrong or info["error_msgs"]:
        raise _incomplete(checkpoint, wrong or set(info["error_msgs"]), left_over)
    return model, fresh


def _incomplete(checkpoint: Checkpoint, names: set[str], left_over: set[str] = frozenset()) -> ValueError:  # type: ignore[assignment]
    known = sorted(names)
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    what = "has weights that the model lacks" if names <= left_over else "lacks weights, or has others of another shape"
    return ValueError(
        f"{checkpoint.key}: {checkpoint.name} does not fit its own configuration: it {what}: "
        f"{', '.join(known[:NAMED])}{more}; give a whole checkpoint, or ask for a new head where only that is missing"
    )


def _with_its_adapter(model: nn.Module, checkpoint: Checkpoint) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model with the adapter merged into it, and the names of modules that the adapter holds whole."""
    from peft import PeftModel
    from peft.utils.save_and_load import load_peft_weights

    try:
        with hub_or_cache(checkpoint.name):
            adapted: Any = PeftModel.from_pretrained(model, checkpoint.name)
            weights = load_peft_weights(checkpoint.name, device="cpu")
    except Exception as error:  # peft and the hub's client raise many unrelated types
        raise ValueError(f"{checkpoint.key}: {checkpoint.name} cannot be loaded: {one_line(error)}") from error
    check_adapter(checkpoint, adapted, weights)
    saved = adapted.peft_config["default"].modules_to_save or ()
    return adapted.merge_and_unload(), tuple(saved)


def check_adapter(checkpoint: Checkpoint, model: Any, weights: Mapping[str, Tensor]) -> None:
    """Check that an adapter's weights are those of a model with an adapter; raises `ValueError`."""
    from peft import get_peft_model_state_dict

    expected: Mapping[str, Tensor] = get_peft_model_state_dict(model)
    for name in sorted(set(weights) | set(expected)):
        found, wanted = (held[name].shape if name in held else None for held in (weights, expected))
        if found != wanted:
            raise ValueError(
                f"{checkpoint.key}: {checkpoint.name} does not fit: {name} is {_shape(found)} there and "
                f"{_shape(wanted)} here; change rank or target_modules"
            )


def _shape(shape: Any) -> str:
    return "missing" if shape is None else "x".join(map(str, shape))
