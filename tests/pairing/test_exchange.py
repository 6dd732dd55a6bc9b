"""Both exchanges against a brute-force sum, in real processes with gloo."""

import json
import os
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hamu_ray.pairing.exchange import default_strategy, make_exchange, pack, unpack
from hamu_ray.pairing.group import Distributed
from hamu_ray.pairing.roles import Role, assign, roles_by_rank
from tests.ports import free_ports

BOTH = (Role.RETAIN, Role.FORGET)
NEEDED = (BOTH, (Role.RETAIN,), (Role.FORGET,))
PARAMETERS = 24  # a multiple of every group's size here
CASES = list(product(NEEDED, ("all_gather", "segments"), ("float32", "bfloat16")))
GROUPS = ((2, None), (4, None), (4, 1), (3, 1))
"""Group sizes, and the number of forget workers; None is half of them."""


def contribution(rank: int) -> torch.Tensor:
    """A worker's gradient, and its loss in the last element."""
    return torch.randn(PARAMETERS + 1, generator=torch.Generator().manual_seed(rank))


def expected(role: Role, roles: tuple[Role, ...]) -> torch.Tensor:
    parts = [contribution(rank) for rank, own in enumerate(roles) if own is role]
    return sum(parts, torch.zeros(PARAMETERS + 1))


def in_groups(rank: int, ports: list[int], folder: Path) -> None:
    """Run as a worker of every group that is large enough, one after the other."""
    for port, (size, forget_workers) in zip(ports, GROUPS, strict=True):
        if rank < size:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            dist.init_process_group("gloo", rank=rank, world_size=size)
            in_group(rank, size, forget_workers, folder / f"{size}-{forget_workers}")
            dist.destroy_process_group()
    os._exit(0)  # gloo's threads may abort the interpreter while it ends (pytorch/pytorch#179291)


def in_group(rank: int, size: int, forget_workers: int | None, folder: Path) -> None:
    group = Distributed()
    found: dict[str, object] = {}
    for number, (needed, strategy, wire) in enumerate(CASES):
        (role,) = assign(rank, size, needed, forget_workers).roles
        exchange = make_exchange(
            group, needed, PARAMETERS, strategy=strategy, wire=wire, forget_workers=forget_workers
        )
        before = group.traffic.bytes
        met = exchange.meet({role: contribution(rank)})
        sent = group.traffic.bytes - before
        gram, losses = exchange.total(torch.ones(1, 2, 2, dtype=torch.float64), met.losses)
        values = torch.zeros(PARAMETERS)
        values[exchange.segment] = met.retain - met.forget
        exchange.publish(values)
        found[str(number)] = (values.tolist(), losses.tolist(), gram[0, 0, 0].item(), sent)
    found["rows"] = group.gather_rows(torch.full((rank, 2), float(rank))).tolist()
    found["agree"] = group.agree(7 - rank)
    folder.mkdir(exist_ok=True)
    (folder / f"{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def found_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    mp.spawn(in_groups, args=(free_ports(len(GROUPS)), folder), nprocs=max(size for size, _ in GROUPS))
    return folder


@pytest.mark.parametrize(("size", "forget_workers"), GROUPS)
def test_the_workers_agree_on_the_sums_of_their_roles(
    size: int, forget_workers: int | None, found_by_workers: Path
) -> None:
    folder = found_by_workers / f"{size}-{forget_workers}"
    by_rank = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]
    assert all(found == by_rank[0] for found in by_rank), "every rank must have the same bits"
    for number, (needed, strategy, wire) in enumerate(CASES):
        roles = roles_by_rank(size, needed, forget_workers)
        retain, forget = (expected(role, roles) for role in Role)
        values, losses, parts, sent = by_rank[0][str(number)]
        tolerance = {"rtol": 1e-6, "atol": 1e-6} if wire == "float32" else {"rtol": 0.02, "atol": 0.05}
        torch.testing.assert_close(torch.tensor(values), (retain - forget)[:-1], **tolerance)
        torch.testing.assert_close(torch.tensor(losses), torch.stack((retain[-1], forget[-1])))
        assert parts == (1 if strategy == "all_gather" else size)
        width = 4 if wire == "float32" else 2
        whole = PARAMETERS * width + 4
        assert sent == (size - 1) * (whole if strategy == "all_gather" else PARAMETERS // size * width)
    assert by_rank[0]["rows"] == [[float(r)] * 2 for r in range(size) for _ in range(r)]
    assert by_rank[0]["agree"] == 7


def test_the_loss_keeps_its_bits_on_a_narrow_wire() -> None:
    buffer = contribution(0)
    there = unpack(pack(buffer, "bfloat16").unsqueeze(0), "bfloat16")[0]
    assert there[-1] == buffer[-1]
    assert torch.equal(there[:-1], buffer[:-1].bfloat16().float())


def test_two_workers_gather_and_more_take_segments() -> None:
    assert [default_strategy(size) for size in (1, 2, 4, 8)] == ["all_gather"] * 2 + ["segments"] * 2


@pytest.mark.parametrize(("size", "forget_workers"), [(3, None), (2, 2), (2, 0)])
def test_roles_that_cannot_be_shared_out_are_refused(size: int, forget_workers: int | None) -> None:
    with pytest.raises(ValueError, match="worker"):
        roles_by_rank(size, BOTH, forget_workers)


@pytest.mark.parametrize(("size", "forget_workers"), [(2, None), (8, None), (4, 1), (5, 2), (8, 3)])
def test_roles_have_the_number_of_workers_asked_for(size: int, forget_workers: int | None) -> None:
    roles = roles_by_rank(size, BOTH, forget_workers)
    assert len(roles) == size
    assert roles.count(Role.FORGET) == (forget_workers or size // 2)
    if forget_workers is None:
        assert roles == BOTH * (size // 2)
