"""Small custom tasks on made-up tensors."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

FEATURES, CLASSES = 8, 3


def inputs(count: int = 240) -> Tensor:
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(7))


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def splits(data: Dataset) -> dict[str, Any]:
    """120 examples to retain, 40 to forget, 80 for test."""
    return {
        "retain": torch.utils.data.Subset(data, range(120)),
        "forget": torch.utils.data.Subset(data, range(120, 160)),
        "test": torch.utils.data.Subset(data, range(160, 240)),
    }


def classification() -> dict[str, Any]:
    data = inputs()
    return {"model": build, **splits(TensorDataset(data, data[:, :CLASSES].argmax(1)))}


class Line(nn.Module):
    """A regression whose inputs come by name, with a BatchNorm and a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES)
        self.layer = nn.Linear(FEATURES, 2)
        self.scale = nn.Parameter(torch.tensor([2.0]), requires_grad=False)

    def forward(self, values: Tensor, factor: Tensor) -> Tensor:
        return self.scale * self.layer(self.norm(values)) * factor[:, None]


class Rows(Dataset):
    """Examples whose inputs are a mapping and whose targets are two numbers."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        row = self.values[index]
        return {"values": row, "factor": row.abs().max()}, torch.stack((row.sum(), row.max()))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(dim=1)


def closeness(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1 / (1 + (outputs - targets).abs().mean())


def regression() -> dict[str, Any]:
    return {"model": Line, **splits(Rows(inputs())), "loss": squared, "metrics": [closeness]}


SHORT = {
    "training.epochs": 4,
    "training.batch_size": 40,
    "training.optimizer.learning_rate": 0.01,
    "duration.steps": 6,
    "batch.retain": 40,
    "batch.forget": 20,
    "optimizer.learning_rate": 0.02,
}
