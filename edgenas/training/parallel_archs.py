"""Gradients of several archs: one after another with all threads, or side by side with a share of them each.

A small network keeps several cores busy for part of the time only: between its many short operations they wait for each
other. Archs that run side by side do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.supernet.layers import Cut, Weights
from edgenas.supernet.supernet import SuperNet

LossOf = Callable[[int, Cut], Tensor]
"""The loss, a scalar, of the arch at a place, with the weights cut out for it."""
STATISTICS = ("running_mean", "running_var")
KEPT = 0.9
"""What a batch norm keeps of its running statistics at each step: torch's default."""


def room_for(archs: int, device: torch.device, at_a_time: int | None = None) -> int:
    """How many archs learn at a time: as many as asked for, by default one a thread of torch's.

    One after another elsewhere than on a CPU, and in a group of processes, whose exchanges must not cross.
    """
    grouped = dist.is_initialized() and dist.get_world_size() > 1
    return 1 if device.type != "cpu" or grouped else min(archs, at_a_time or torch.get_num_threads())


def one_by_one(net: SuperNet, archs: Sequence[Arch], loss_of: LossOf) -> Tensor:
    """Add the gradients of all losses to those of `net`; returns the losses, (archs,).

    Each arch goes backward before the next goes forward, so that only one arch's activations are alive.
    """
    losses = []
    for place, arch in enumerate(archs):
        loss = loss_of(place, net.cut(arch))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return torch.stack(losses)


@dataclass(frozen=True)
class _Statistics:
    """Running statistics of an arch: views of the supernet's, and what its own step made of a copy."""

    shared: Cut
    own: Cut


@dataclass(frozen=True)
class _Learnt:
    """What came of one arch."""

    loss: Tensor
    gradients: tuple[Tensor | None, ...]
    statistics: _Statistics


def side_by_side(
    net: SuperNet, archs: Sequence[Arch], loss_of: LossOf, first: Future[Tensor], at_a_time: int
) -> Tensor:
    """`one_by_one`, `at_a_time` archs at once; sums are in the order of `archs`, so that equal runs give equal bits.

    Args:
        net: the supernet.
        archs: what learns.
        loss_of: called in threads; it may wait for `first`, which the loss of the first arch brings about.
        first: told where the first arch fails, so that nobody waits in vain.
        at_a_time: archs that go forward and backward at the same time.
    """
    parameters, threads = list(net.parameters()), torch.get_num_threads()

    def learn(place: int) -> _Learnt:
        try:
            return _learn(net, archs[place], parameters, lambda weights: loss_of(place, weights))
        except BaseException as error:
            if place == 0 and not first.done():
                first.set_exception(error)
            raise

    share, losses = max(1, threads // at_a_time), []
    try:
        with ThreadPoolExecutor(at_a_time, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            running = {place: pool.submit(learn, place) for place in _heaviest_first(net, archs)}
            learnt = []
            for place in range(len(archs)):
                one = running.pop(place).result()
                _add(parameters, one.gradients)
                learnt.append(one.statistics)
                losses.append(one.loss)
    finally:
        # Workers' own numbers end with them, but what new threads begin with is common to all.
        torch.set_num_threads(threads)
    _follow(learnt)
    return torch.stack(losses)


def _heaviest_first(net: SuperNet, archs: Sequence[Arch]) -> list[int]:
    """Places of archs; the first one, whom others may wait for, leads."""
    macs = [cost(net.space.unroll(arch, net.num_classes)).macs for arch in archs]
    return [0, *sorted(range(1, len(archs)), key=lambda place: -macs[place])]


def _learn(
    net: SuperNet, arch: Arch, parameters: list[torch.nn.Parameter], loss_of: Callable[[Cut], Tensor]
) -> _Learnt:
    weights = net.cut(arch)
    shared = {place: _only(STATISTICS, block) for place, block in weights.items()}
    own = {place: {name: tensor.clone() for name, tensor in block.items()} for place, block in shared.items()}
    loss = loss_of({place: block | own[place] for place, block in weights.items()})
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return _Learnt(loss.detach(), gradients, _Statistics(shared, own))


def _add(parameters: list[torch.nn.Parameter], gradients: tuple[Tensor | None, ...]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


@torch.no_grad()
def _follow(learnt: list[_Statistics]) -> None:
    """Move running statistics as if archs had followed each other; each began with what there was before all."""
    begun = [[one.clone() for one in _tensors(statistics.shared)] for statistics in learnt]
    for statistics, start in zip(learnt, begun, strict=True):
        own = _tensors(statistics.own)
        for shared, before, after in zip(_tensors(statistics.shared), start, own, strict=True):
            shared.sub_(before).mul_(KEPT).add_(after)


def _only(endings: tuple[str, ...], weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if name.endswith(endings)}


def _tensors(cut: Cut) -> list[Tensor]:
    return [tensor for block in cut.values() for tensor in block.values()]
