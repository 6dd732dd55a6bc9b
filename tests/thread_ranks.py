"""Ranks that measure one model together: one alone, or a group of threads."""

import threading
from dataclasses import dataclass

import torch
from torch import Tensor


class Alone:
    rank = 0
    size = 1

    def gather_rows(self, rows: Tensor) -> Tensor:
        return rows


class Meeting:
    """Where the ranks of one group, each a thread, hand over their rows."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
        self.rows: dict[int, Tensor] = {}


@dataclass
class OneOf:
    """A rank of a group of threads."""

    rank: int
    size: int
    meeting: Meeting

    def gather_rows(self, rows: Tensor) -> Tensor:
        self.meeting.rows[self.rank] = rows
        self.meeting.barrier.wait()
        gathered = torch.cat([self.meeting.rows[rank] for rank in range(self.size)])
        self.meeting.barrier.wait()
        return gathered
