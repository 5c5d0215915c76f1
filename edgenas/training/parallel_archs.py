"""Gradients of several architectures: one after another with all threads, or in parallel with a share of them each.

A small network cannot keep several cores busy, because they wait for each other between its many short operations.
Architectures that run in parallel do not.
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
from edgenas.supernet.elastic_layers import Cut, Weights
from edgenas.supernet.supernet import SuperNet

LossFunction = Callable[[int, Cut], Tensor]
"""Returns the loss, a scalar, of the architecture at an index, computed with the weights that were cut out for it."""
STATISTICS = ("running_mean", "running_var")
RETAINED = 0.9
"""Fraction of its running statistics that a batch norm retains at each step: torch's default."""


def archs_at_a_time(archs: int, device: torch.device, requested: int | None = None) -> int:
    """Return how many architectures to train in parallel: as many as requested, by default one a thread of torch.

    It is one on other devices than a CPU, and in a group of processes, whose exchanges must not cross.
    """
    grouped = dist.is_initialized() and dist.get_world_size() > 1
    return 1 if device.type != "cpu" or grouped else min(archs, requested or torch.get_num_threads())


def sequential_gradients(net: SuperNet, archs: Sequence[Arch], loss_of: LossFunction) -> Tensor:
    """Add the gradients of all losses to those of `net`; return the losses, shape (archs,).

    Each architecture goes backward before the next goes forward, so that only one's activations are alive.
    """
    losses = []
    for index, arch in enumerate(archs):
        loss = loss_of(index, net.cut(arch))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return torch.stack(losses)


@dataclass(frozen=True)
class _Statistics:
    """Running statistics of an architecture: views of the supernet's, and a copy that its own step updated."""

    shared: Cut
    updated: Cut


@dataclass(frozen=True)
class _Gradients:
    """Loss, gradients and statistics of one architecture."""

    loss: Tensor
    gradients: tuple[Tensor | None, ...]
    statistics: _Statistics


def parallel_gradients(
    net: SuperNet, archs: Sequence[Arch], loss_of: LossFunction, first: Future[Tensor], at_a_time: int
) -> Tensor:
    """Do what `sequential_gradients` does, with `at_a_time` architectures in parallel.

    Sums are in the order of `archs`, so that equal runs give equal bits.

    Args:
        net: the supernet.
        archs: the architectures.
        loss_of: called in threads. It may wait for `first`, which the loss of the first architecture resolves.
        first: gets the exception if the first architecture fails, so that no thread waits forever.
        at_a_time: architectures that go forward and backward at the same time.
    """
    parameters, threads = list(net.parameters()), torch.get_num_threads()

    def gradients_of(index: int) -> _Gradients:
        try:
            return _gradients(net, archs[index], parameters, lambda weights: loss_of(index, weights))
        except BaseException as error:
            if index == 0 and not first.done():
                first.set_exception(error)
            raise

    share, losses, statistics = max(1, threads // at_a_time), [], []
    try:
        with ThreadPoolExecutor(at_a_time, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            running = {index: pool.submit(gradients_of, index) for index in _heaviest_first(net, archs)}
            for index in range(len(archs)):
                result = running.pop(index).result()
                _add(parameters, result.gradients)
                statistics.append(result.statistics)
                losses.append(result.loss)
    finally:
        # Each worker's setting ends with it, but the setting that new threads start with is global.
        torch.set_num_threads(threads)
    _merge_statistics(statistics)
    return torch.stack(losses)


def _heaviest_first(net: SuperNet, archs: Sequence[Arch]) -> list[int]:
    """Return the indices in order of falling MACs, after the first architecture, which the others may wait for."""
    macs = [cost(net.space.unroll(arch)).macs for arch in archs]
    return [0, *sorted(range(1, len(archs)), key=lambda index: -macs[index])]


def _gradients(
    net: SuperNet, arch: Arch, parameters: list[torch.nn.Parameter], loss_of: Callable[[Cut], Tensor]
) -> _Gradients:
    weights = net.cut(arch)
    shared = {name: _statistics_of(block) for name, block in weights.items()}
    copies = {name: {key: tensor.clone() for key, tensor in block.items()} for name, block in shared.items()}
    loss = loss_of({name: block | copies[name] for name, block in weights.items()})
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return _Gradients(loss.detach(), gradients, _Statistics(shared, copies))


def _add(parameters: list[torch.nn.Parameter], gradients: tuple[Tensor | None, ...]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


@torch.no_grad()
def _merge_statistics(results: list[_Statistics]) -> None:
    """Update running statistics as if the architectures had run in turn, though all began with the same ones."""
    before = [[tensor.clone() for tensor in _tensors(result.shared)] for result in results]
    for result, start in zip(results, before, strict=True):
        for shared, old, new in zip(_tensors(result.shared), start, _tensors(result.updated), strict=True):
            shared.sub_(old).mul_(RETAINED).add_(new)


def _statistics_of(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if name.endswith(STATISTICS)}


def _tensors(cut: Cut) -> list[Tensor]:
    return [tensor for block in cut.values() for tensor in block.values()]
