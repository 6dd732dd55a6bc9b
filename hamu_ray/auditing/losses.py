"""The loss of each example of a task's training data under a model, without the task's metrics."""

import numpy as np
import torch
from torch import Tensor, nn

from hamu_ray.methods import Predictions
from hamu_ray.metrics.attacks.margins import Floats
from hamu_ray.tasks.modes import eval_mode
from hamu_ray.tasks.task import Task


def example_losses(task: Task, model: nn.Module, examples: Tensor, size: int) -> Floats:
    """Return the loss of each training example in eval mode, the mean over its items, float64 ``(n,)``.

    Takes distinct examples in increasing order, int64 ``(n,)``, of which at most ``size`` are in a batch. An example
    without items has no loss: NaN.
    """
    losses = torch.empty(len(examples), dtype=torch.float64, device=task.device)
    with eval_mode(model), torch.no_grad():
        for part in task.parts(examples, size):
            outputs = task.forward(model, part)
            predictions = Predictions(
                outputs.logits,
                outputs.labels,
                outputs.examples,
                count=len(part),
                item_loss=outputs.item_loss,
            )
            totals = predictions.sum_per_example(-predictions.label_log_probabilities.double())
            at = torch.searchsorted(examples, part).to(task.device)
            losses[at] = totals / predictions.lengths
    return losses.cpu().numpy()


def confidence(losses: Floats) -> float:
    """Return the mean of ``exp(-loss)``: the probability of the labels, or per token of the answers."""
    return float(np.exp(-losses).mean())
