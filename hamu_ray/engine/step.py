"""One step: both gradients, the method's decision, the optimizer. Nothing here waits for the device."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hamu_ray.config.run import OptimizerConfig
from hamu_ray.engine.plan import Plan
from hamu_ray.methods import (
    Blocks,
    Decision,
    Predictions,
    agreement,
    clip_gram,
    combine,
    gram_matrix,
    next_scale,
    promise_kept,
    promised_changes,
)
from hamu_ray.pairing.exchange import make_exchange
from hamu_ray.pairing.flat import FlatParameters
from hamu_ray.pairing.group import Group
from hamu_ray.pairing.roles import Role, assign
from hamu_ray.tasks.task import Task, Teacher

RUNNING, NON_FINITE, INFEASIBLE, CRITERION, OUT_OF_REACH = range(5)
"""Why no further step is taken; kept on the device, so that no step has to ask."""


class PairedStep:
    """The state of a run, and what advances it by one step.

    Once a stop rule fires, further calls leave the weights alone: the rule is applied on the device, and the host
    learns of it whenever it reads the diagnostics.
    """

    def __init__(
        self, task: Task, model: nn.Module, plan: Plan, group: Group, teacher: Teacher | None
    ) -> None:
        """Take the model over: its parameters become views of one flat buffer."""
        self.task, self.model, self.plan, self.group, self.teacher = task, model, plan, group, teacher
        workers = plan.workers
        self.flat = FlatParameters(model, segments=group.size)
        self.part = assign(group.rank, group.size, plan.needed, workers.forget_workers)
        self.gradients = {role: self.flat.gradient() for role in self.part.roles}
        self.exchange = make_exchange(
            group,
            plan.needed,
            self.flat.padded,
            strategy=workers.exchange,
            wire=workers.wire,
            forget_workers=workers.forget_workers,
        )
        segment = self.exchange.segment
        whole = Blocks.from_shapes(self.flat.shapes, plan.settings.granularity)
        self.block_names = self.flat.names if plan.settings.granularity == "tensor" else ["model"]
        self.blocks = whole.segment(min(segment.start, whole.total), min(segment.stop, whole.total))
        self.segment = nn.Parameter(self.flat.values[segment])
        self.optimizer = make_optimizer(self.segment, plan.optimizer)
        self.stop = torch.tensor(RUNNING, device=task.device)
        self.state = {
            "radius_scale": torch.ones((), dtype=torch.float64, device=task.device),
            "steps_outside_guarantee": torch.zeros((), dtype=torch.int64, device=task.device),
        }
        """What steps hand on to the next, 0-d; the same on every rank."""
        self._losses_before = torch.zeros(len(Role), dtype=torch.float64, device=task.device)
        self._before = torch.empty_like(self.segment, requires_grad=False)
        self._update = torch.zeros_like(self._before)
        self._values_before = torch.empty_like(self.flat.values if plan.settings.trust_region else self.stop)

    def __call__(self, step: int) -> tuple[dict[str, Tensor], Decision]:
        """Take a step (counted from 0) and return its diagnostics as 0-d tensors, and the decision behind it."""
        self._seed(step)
        self._losses_before.zero_()
        for index, role in enumerate(Role):
            if role in self.part.roles:
                self._accumulate(role, step, self._losses_before[index])
        with torch.no_grad():
            return self._apply({role: gradient.buffer for role, gradient in self.gradients.items()}, step)

    def _seed(self, step: int) -> None:
        """Make dropout a function of the step, so that a resumed run needs no generator state."""
        torch.manual_seed((self.plan.seed * 1_000_003 + step) * 1_009 + self.group.rank)

    def _accumulate(self, role: Role, step: int, total: Tensor) -> None:
        """Sum this worker's share of a role's gradient, and of its loss into ``total`` in float64."""
        gradient = self.gradients[role]
        gradient.reset()
        for loss in self._losses(role, step):
            loss.backward()
            gradient.add_loss(loss)
            total += loss.detach()

    def _losses(self, role: Role, step: int) -> Iterator[Tensor]:
        """Yield the losses of this worker's micro-batches, 0-d float64, which sum to its share of the role's.

        They are divided by the global batch's number of items or examples.
        """
        side = self.plan.sides[role]
        batch = side.batches(step)
        share = self.part.shard(batch)
        scale = 1.0 / (self.task.count(batch) if side.objective.unit == "item" else len(batch))
        for examples in self.task.parts(share, self.plan.micro_batch_size or max(len(share), 1)):
            if len(examples) == 0:
                continue
            outputs = self.task.forward(self.model, examples)
            teacher = self.teacher(examples) if side.objective.needs_original and self.teacher else None
            predictions = Predictions(
                outputs.logits,
                outputs.labels,
                outputs.examples,
                len(examples),
                teacher,
                outputs.item_loss,
            )
            yield side.objective.loss(predictions).sum(dtype=torch.float64) * scale

    def _apply(self, local: dict[Role, Tensor], step: int) -> tuple[dict[str, Tensor], Decision]:
        """Decide on the weights of the two gradients, and let the optimizer take the combined one."""
        rate = self.plan.learning_rate(step)
        met = self.exchange.meet(local)
        count = self.blocks.total  # the segment less its padding
        retain, forget = met.retain[:count], met.forget[:count]
        gram, losses = self.exchange.total(gram_matrix(retain, forget, self.blocks), met.losses)
        norms = gram.sum(0).diagonal().sqrt()
        clipped, scales = clip_gram(gram, self.plan.optimizer.clip_norm)
        settings = self.plan.settings_at(losses[list(Role).index(Role.FORGET)])
        decision = self.plan.method.weighting(clipped, rate, settings)
        if self.plan.settings.trust_region:
            decision = decision.scaled(self.state["radius_scale"])
        self._update_stop(decision, losses)
        if self.plan.settings.trust_region:
            self._values_before.copy_(self.flat.values)
        weights = decision.weights * scales
        combine(weights, retain, forget, self.blocks, out=self._update[:count])
        self._step(rate)
        self.exchange.publish(self.flat.values)
        by_role = dict(zip(Role, zip(losses, norms, strict=True), strict=True))
        diagnostics = {f"step_{role}_loss": by_role[role][0] for role in self.plan.needed}
        diagnostics |= {f"{role}_norm_before_clipping": by_role[role][1] for role in self.plan.needed}
        diagnostics |= decision.totals()
        taken = self.stop == RUNNING
        if self.plan.promise_every is not None:
            promised = promised_changes(gram, weights, rate)
            actual = torch.full_like(promised, torch.nan)
            if self.plan.looks_at_promise(step):
                before, after = self._losses_before_and_after(step)
                actual = (after - before).masked_fill(~taken, torch.nan)
            diagnostics |= self._promises(promised, actual, decision)
            if self.plan.settings.trust_region and decision.constraint is not None:
                agreed = agreement(promised, actual, before, gram, decision.constraint)
                diagnostics |= self._trust(agreed, taken)
                taken = taken & (agreed > 0)
        if decision.within_guarantee is not None:
            self.state["steps_outside_guarantee"] += taken & ~decision.within_guarantee
        return diagnostics, decision

    def _promises(self, promised: Tensor, actual: Tensor, decision: Decision) -> dict[str, Tensor]:
        """Return what the step promised of both losses, and what came of it.

        NaN marks values that were not computed, or steps not taken because a stop rule fired.
        """
        pairs = dict(zip(Role, zip(promised, actual, strict=True), strict=True))
        diagnostics = {f"promised_{role}_change": pairs[role][0] for role in self.plan.needed}
        diagnostics |= {f"actual_{role}_change": pairs[role][1] for role in self.plan.needed}
        if decision.constraint is not None:
            diagnostics["promise_kept"] = promise_kept(promised, actual, decision.constraint)
        return diagnostics

    def _trust(self, agreed: Tensor, taken: Tensor) -> dict[str, Tensor]:
        """Set the radius of the next step, and take back one of which nothing came as promised.

        The optimizer's state stays as it is: momentum and moments are of gradients that were there.
        """
        scale, refused = self.state["radius_scale"], taken & ~(agreed > 0)
        self.state["radius_scale"] = torch.where(taken, next_scale(scale, agreed), scale)
        self.flat.values.copy_(torch.where(refused, self._values_before, self.flat.values))
        return {"radius_scale": scale, "step_refused": refused}

    def _losses_before_and_after(self, step: int) -> Tensor:
        """Return both objectives on the step's batches before and after it ``(2, roles)``, over all workers.

        The same dropout as in the step, and nothing of the model changes: not its running statistics either.
        """
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        after = torch.zeros_like(self._losses_before)
        self._seed(step)
        for index, role in enumerate(Role):
            if role in self.part.roles:
                for loss in self._losses(role, step):
                    after[index] += loss
        for buffer, kept in buffers:
            buffer.copy_(kept)
        return self.group.all_gather(torch.stack((self._losses_before, after))).sum(0)

    def _step(self, rate: float) -> None:
        """Let the optimizer change this worker's segment, or nothing once a stop rule has fired."""
        self._before.copy_(self.segment)
        self.segment.grad = self._update
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.segment.copy_(torch.where(self.stop == RUNNING, self.segment, self._before))

    def steps_outside_guarantee(self) -> int | None:
        """Return how many steps were not within the method's guarantee, None if it has none; waits for the device."""
        return int(self.state["steps_outside_guarantee"]) if self.plan.method.has_guarantee else None

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state of all parameters, whatever the number of workers that share it.

        Every rank must call it.
        """
        state = {key: value for key, value in self.optimizer.state[self.segment].items() if value is not None}
        return {key: self._whole(value) if value.ndim else value for key, value in state.items()}

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Take this worker's part of what `optimizer_state` returned, of a group of any size."""
        for key, value in state.items():
            if value.ndim:
                padded = value.new_zeros(self.flat.padded)
                padded[: self.flat.count] = value
                value = padded[self.exchange.segment].to(self.segment.device)
            self.optimizer.state[self.segment][key] = value

    def _whole(self, value: Tensor) -> Tensor:
        rows = self.group.gather_rows(value) if len(value) < self.flat.padded else value
        return rows[: self.flat.count]

    def _update_stop(self, decision: Decision, losses: Tensor) -> None:
        """Keep the first reason to stop."""
        reason = torch.zeros_like(self.stop)
        exact = self.plan.stop.criterion == "exact"
        met = decision.exact_criterion_met if exact else decision.criterion_met
        if self.plan.stop.criterion and met is not None:
            reason = torch.where(met, CRITERION, reason)
        if self.plan.settings.infeasible in ("stop", "finish"):
            ending = INFEASIBLE if self.plan.settings.infeasible == "stop" else OUT_OF_REACH
            reason = torch.where(decision.infeasible_blocks > 0, ending, reason)
        finite = torch.isfinite(losses).all() & decision.finite
        reason = torch.where(finite, reason, NON_FINITE)
        self.stop = torch.where(self.stop == RUNNING, reason, self.stop)


def make_optimizer(values: nn.Parameter, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer of the flat parameters."""
    if config.name == "adamw":
        return torch.optim.AdamW([values], lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        [values], lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
