import pytest
import torch
from torch.nn import functional

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import DigitsData, ForgetClass
from hamu_ray.config.training import AugmentConfig
from hamu_ray.methods.draws import seeds_of
from hamu_ray.tasks import build_task, load_data

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_gradient_never_waits_for_the_gpu() -> None:
    data = load_data(DigitsData(), torch.device("cuda"))
    config = ModelConfig(precision="bfloat16")
    task = build_task(data, forget=ForgetClass(), model=config, batch_size=100, seed=41)
    model = task.build_model(0)
    teacher = task.teacher(model)
    augmented = task.augmented(AugmentConfig(crop=1))
    examples = task.splits["retain"][:64]
    torch.cuda.set_sync_debug_mode("error")
    try:
        outputs = task.forward(model, examples)
        functional.cross_entropy(outputs.logits, outputs.labels).backward()
        answers = [teacher(examples) for _ in range(2)]
        changed = augmented(model, examples, seeds_of(examples, 3, data.device)).logits
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(answers[0], answers[1])
    assert outputs.logits.isfinite().all()
    assert changed.isfinite().all()
    assert not torch.equal(changed, outputs.logits)


def test_weights_do_not_depend_on_the_device() -> None:
    models = []
    for device in ("cpu", "cuda"):
        data = load_data(DigitsData(), torch.device(device))
        task = build_task(data, forget=ForgetClass(), model=ModelConfig(), batch_size=100, seed=41)
        models.append(task.build_model(7))
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other.cpu())
