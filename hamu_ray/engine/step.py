"""One step: both gradients, the method's decision, the optimizer. Nothing here synchronises with the device."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from hamu_ray.engine.plan import Plan
from hamu_ray.methods import (
    Blocks,
    Decision,
    clip_gram,
    combine,
    gram_matrix,
    promise_kept,
    promised_changes,
)
from hamu_ray.methods.method import Taken
from hamu_ray.pairing.batches import micro_batches
from hamu_ray.pairing.exchange import make_exchange, summed
from hamu_ray.pairing.flat import FlatParameters
from hamu_ray.pairing.group import Group
from hamu_ray.pairing.optimizer import hold, make_optimizer
from hamu_ray.pairing.roles import Role, assign
from hamu_ray.pairing.sharding import Gathered
from hamu_ray.pairing.support import Masks, Support
from hamu_ray.tasks.task import Task, Teacher

RUNNING, NON_FINITE, INFEASIBLE, CRITERION, OUT_OF_REACH = range(5)
"""Reason to stop; kept on the device, so that steps need not synchronise."""


class PairedStep:
    """The state of a run, and the function that advances it by one step.

    Once a stop rule fires, further calls do not change the weights: the rule is applied on the device, and the host
    detects it when it reads the diagnostics.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        plan: Plan,
        group: Group,
        teachers: Mapping[str, Teacher],
        masks: Masks | None = None,
    ) -> None:
        """Take over the model: its parameters, or its shards, become views of one flat buffer.

        With masks of the parameters, only the weights that they name change.
        """
        self.task, self.model, self.plan, self.group, self.teachers = task, model, plan, group, teachers
        workers = plan.workers.sized(group.size)
        self.replicas, self.shards = group.split(workers.shards)
        self.flat = FlatParameters(model, segments=self.replicas.size)
        self.support = Support(self.flat, masks) if masks is not None else None
        forget_replicas = workers.forget_workers and workers.forget_workers // workers.shards
        part = assign(self.replicas.rank, self.replicas.size, plan.needed, forget_replicas)
        self.part = part.divided(self.shards.rank, self.shards.size)
        self.gradients = {role: self.flat.gradient() for role in self.part.roles}
        self.exchange = make_exchange(
            self.replicas,
            plan.needed,
            self.flat.padded,
            strategy=workers.exchange,
            wire=workers.wire,
            forget_workers=forget_replicas,
        )
        segment = self.exchange.segment
        whole = Blocks.from_shapes(self.flat.shapes, plan.settings.granularity)
        self.block_names = self.flat.names if plan.settings.granularity == "tensor" else ["model"]
        self.blocks = whole.segment(min(segment.start, whole.total), min(segment.stop, whole.total))
        self.segment = nn.Parameter(self.flat.values[segment])
        self.optimizer = make_optimizer(self.segment, plan.optimizer)
        zeros = next(iter(self.gradients.values())).buffer[segment]
        self._held = hold(self.optimizer, self.segment, zeros)
        self.stop = torch.tensor(RUNNING, device=task.device)
        self.state = plan.method.initial_state(plan.settings, task.device)
        """The method's state, carried from step to step, 0-d by name; the same on every rank."""
        self.outside_guarantee = torch.zeros((), dtype=torch.int64, device=task.device)
        """Number of steps outside the method's guarantee, 0-d."""
        self._losses_before = torch.zeros(len(Role), dtype=torch.float64, device=task.device)
        self._before = [torch.empty_like(value) for value in self._changing()]

    def __call__(self, step: int) -> tuple[dict[str, Tensor], Decision]:
        """Run a step (counted from 0); return its diagnostics as 0-d tensors, and the underlying decision."""
        self._seed(step)
        self._losses_before.zero_()
        for index, role in enumerate(Role):
            if role in self.part.roles:
                self._accumulate(role, step, self._losses_before[index])
        with torch.no_grad():
            return self._apply({role: gradient.buffer for role, gradient in self.gradients.items()}, step)

    def _seed(self, step: int) -> None:
        """Seed dropout by the step, so that a resumed run needs no generator state."""
        torch.manual_seed((self.plan.seed * 1_000_003 + step) * 1_009 + self.group.rank)

    def _accumulate(self, role: Role, step: int, total: Tensor) -> None:
        """Accumulate this worker's part of a role's gradient, and of its loss into ``total`` in float64."""
        gradient = self.gradients[role]
        gradient.reset()
        for loss in self._losses(role, step):
            loss.backward()
            gradient.add_loss(loss)
            total += loss.detach()
        if self.support is not None:
            self.support.restrict(gradient.buffer)

    def _losses(self, role: Role, step: int) -> Iterator[Tensor]:
        """Yield the losses of this worker's micro-batches, 0-d float64, which sum to its part of the role's loss.

        They are divided by the global batch's number of items or examples.
        """
        side = self.plan.sides[role]
        batch = side.batches(step)
        scale = 1.0 / (self.task.count(batch) if side.objective.unit == "item" else len(batch))
        for examples, weight in micro_batches(batch, self.part, self.shards, self._parts):
            predictions = self.plan.predictions(self.task, self.model, role, examples, step, self.teachers)
            yield side.objective.loss(predictions).sum(dtype=torch.float64) * (scale * weight)

    def _parts(self, share: Tensor) -> Sequence[Tensor]:
        """Split a worker's examples into micro-batches."""
        return self.task.parts(share, self.plan.micro_batch_size or max(len(share), 1))

    def _apply(self, local: dict[Role, Tensor], step: int) -> tuple[dict[str, Tensor], Decision]:
        """Compute the weights of the two gradients, and apply the optimizer to the combined gradient."""
        rate = self.plan.learning_rate(step)
        met = self.exchange.meet(local)
        count = self.blocks.total  # the segment without its padding
        retain, forget = met.retain[:count], met.forget[:count]
        total = self.exchange.total(gram_matrix(retain, forget, self.blocks), met.losses)
        gram, losses = summed(self.shards, *total)
        norms = gram.sum(0).diagonal().sqrt()
        clipped, scales = clip_gram(gram, self.plan.optimizer.clip_norm)
        context = self.plan.context(step, losses, dict(self.state))
        decision = self.plan.method.weighting(clipped, context)
        weights, others = decision.unclipped(scales)
        promises = others is not None and self.plan.promise_every is not None
        conflicting = self._conflicting_gram(retain, forget) if promises else None
        # The update takes the memory of the first gradient, which has no further use.
        update = getattr(met, self.plan.needed[0])
        combine(weights, retain, forget, self.blocks, conflict_weights=others, out=update[:count])
        if decision.l1_penalty is not None:
            update += decision.l1_penalty * self.segment.sign()
        if decision.rate_scale is not None:
            decision = decision.scaled(decision.rate_scale)
        self._update_stop(decision, losses)
        for before, value in zip(self._before, self._changing(), strict=True):
            before.copy_(value)
        self._step(rate, decision.rate_scale, update)
        self.exchange.publish(self.flat.values)
        by_role = dict(zip(Role, zip(losses, norms, strict=True), strict=True))
        diagnostics = {f"step_{role}_loss": by_role[role][0] for role in self.plan.needed}
        diagnostics |= {f"{role}_norm_before_clipping": by_role[role][1] for role in self.plan.needed}
        diagnostics |= decision.totals()
        kept = taken = self.stop == RUNNING
        if self.plan.promise_every is not None:
            weights, others = decision.unclipped(scales)
            promised = promised_changes(gram, weights, rate, conflict_weights=others, conflicting=conflicting)
            actual = torch.full_like(promised, torch.nan)
            if self.plan.looks_at_promise(step):
                before, after = self._losses_before_and_after(step)
                actual = (after - before).masked_fill(~taken, torch.nan)
            diagnostics |= self._promises(promised, actual, decision)
            if self.plan.review is not None:
                step_taken = Taken(
                    context=context,
                    decision=decision,
                    gram=gram,
                    losses=before,
                    promised=promised,
                    actual=actual,
                )
                following, accepted = self.plan.review(step_taken)
                kept = taken & accepted
                self._carry(following, taken)
                self._revert(taken & ~accepted)
                diagnostics["step_refused"] = taken & ~accepted
        self._carry(decision.state, kept)
        if decision.rate_scale is not None:
            diagnostics["radius_scale"] = decision.rate_scale
        if decision.within_guarantee is not None:
            self.outside_guarantee += kept & ~decision.within_guarantee
        return diagnostics, decision

    def _conflicting_gram(self, retain: Tensor, forget: Tensor) -> Tensor:
        """Return the Gram matrices of the elements of the segment's gradients that conflict, over all workers."""
        own = gram_matrix(retain, forget, self.blocks, conflicting=True)
        return summed(self.shards, *self.exchange.total(own, own.new_zeros(2)))[0]

    def _carry(self, following: Mapping[str, Tensor], where: Tensor) -> None:
        """Take over the method's state for the next step, if this one counts."""
        for name, value in following.items():
            self.state[name] = torch.where(where, value, self.state[name])

    def _promises(self, promised: Tensor, actual: Tensor, decision: Decision) -> dict[str, Tensor]:
        """Return the predicted and the actual changes of both losses by the step.

        NaN marks values that were not computed, or steps not taken because a stop rule fired.
        """
        pairs = dict(zip(Role, zip(promised, actual, strict=True), strict=True))
        diagnostics = {f"promised_{role}_change": pairs[role][0] for role in self.plan.needed}
        diagnostics |= {f"actual_{role}_change": pairs[role][1] for role in self.plan.needed}
        if decision.constraint is not None:
            diagnostics["promise_kept"] = promise_kept(promised, actual, decision.constraint)
        return diagnostics

    def _revert(self, refused: Tensor) -> None:
        """Revert a refused step.

        The optimizer's state is reverted with the weights, because momentum and moments belong to steps that were
        taken.
        """
        for before, value in zip(self._before, self._changing(), strict=True):
            value.copy_(torch.where(refused, before, value))

    def _losses_before_and_after(self, step: int) -> Tensor:
        """Return both objectives on the step's batches before and after it ``(2, roles)``, over all workers.

        Dropout is the same as in the step, and the model does not change, including its running statistics.
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

    def _step(self, rate: float, scale: Tensor | None, update: Tensor) -> None:
        """Let the optimizer update this worker's segment and its state, or neither once a stop rule has fired."""
        self._held.copy_(self.stop != RUNNING)
        # Scale the learning rate: AdamW's step does not depend on the norm of its gradient.
        self.optimizer.param_groups[0]["lr"] = rate if scale is None else (rate * scale).float()
        self.segment.grad = update
        self.optimizer.step()
        if self.support is not None:
            self.support.restore(self.segment, self.exchange.segment)

    def _changing(self) -> list[Tensor]:
        """Return what a review may have to revert: all weights, and this worker's optimizer state."""
        if self.plan.review is None:
            return []
        return [self.flat.values, *self._optimizer_tensors().values()]

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state = self.optimizer.state[self.segment]
        return {key: value for key, value in state.items() if value is not None}

    def steps_outside_guarantee(self) -> int | None:
        """Return the number of steps outside the method's guarantee, None if it has none; synchronises."""
        return int(self.outside_guarantee) if self.plan.method.has_guarantee else None

    def carried_state(self) -> dict[str, Tensor]:
        """Return the tensors, 0-d, that are carried from step to step besides the optimizer's, by name."""
        return {
            "steps_outside_guarantee": self.outside_guarantee,
            **{f"method.{name}": value for name, value in self.state.items()},
        }

    def optimizer_state(self) -> dict[str, Tensor | Gathered]:
        """Return the optimizer's state of all parameters, independent of the numbers of workers and of shards.

        Every rank must call it.
        """
        state = self._optimizer_tensors()
        return {key: self._whole(value) if value.ndim else value for key, value in state.items()}

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Load this worker's part of the output of `optimizer_state` from a group of any size."""
        for key, own in self._optimizer_tensors().items():
            value = state[key]
            own.copy_(self.flat.part(value, self.shards)[self.exchange.segment] if value.ndim else value)

    def _whole(self, value: Tensor) -> Tensor | Gathered:
        rows = self.replicas.gather_rows(value) if len(value) < self.flat.padded else value
        return self.flat.whole(rows, self.shards)

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
