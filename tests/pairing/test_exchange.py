"""The exchange against a brute-force sum, in real processes over gloo."""

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hamu_ray.pairing.exchange import AllGather
from hamu_ray.pairing.group import Distributed
from hamu_ray.pairing.roles import Role, assign


def contribution(rank: int) -> torch.Tensor:
    return torch.randn(17, generator=torch.Generator().manual_seed(rank))


def expected(role: Role, size: int, needed: tuple[Role, ...]) -> torch.Tensor:
    parts = [contribution(rank) for rank in range(size) if role in assign(rank, size, needed).roles]
    return sum(parts, torch.zeros(17))


def in_group(rank: int, size: int, port: int, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=size)
    group = Distributed()
    found = {}
    for needed in ((Role.RETAIN, Role.FORGET), (Role.RETAIN,), (Role.FORGET,)):
        (role,) = assign(rank, size, needed).roles
        retain, forget = AllGather(group, needed).meet({role: contribution(rank)})
        found["+".join(needed)] = (retain.tolist(), forget.tolist())
    found["rows"] = group.gather_rows(torch.full((rank, 2), float(rank))).tolist()
    found["agree"] = group.agree(rank == 0)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 4])
def test_roles_meet_in_their_means(size: int, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(in_group, args=(size, port, tmp_path), nprocs=size)
    by_rank = {rank: json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(size)}
    for found in by_rank.values():
        for needed in ((Role.RETAIN, Role.FORGET), (Role.RETAIN,), (Role.FORGET,)):
            for role, values in zip(Role, found["+".join(needed)], strict=True):
                exact = expected(role, size, needed) if role in needed else torch.zeros(17)
                torch.testing.assert_close(torch.tensor(values), exact)
        assert found["rows"] == [[float(r)] * 2 for r in range(size) for _ in range(r)]
        assert found["agree"] is True
    assert all(found == by_rank[0] for found in by_rank.values()), "every rank must get the same bits"
