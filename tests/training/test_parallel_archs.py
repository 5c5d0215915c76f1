"""Architectures trained in parallel have the losses, gradients and statistics of those trained in turn."""

from __future__ import annotations

import copy

import pytest
import torch
from spaces import SMALL, random_archs
from torch import Tensor

from edgenas.space.arch import Arch
from edgenas.supernet.elastic_layers import Cut
from edgenas.supernet.supernet import SuperNet
from edgenas.training.parallel_archs import archs_at_a_time
from edgenas.training.recipe import StepPlan
from edgenas.training.training_step import accumulate_gradients

CLASSES = 4
IMAGES = torch.randint(0, 256, (6, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % CLASSES
ARCHS = (SMALL.largest, SMALL.smallest, *random_archs(SMALL, 2))
PLANS = {
    "sandwich": StepPlan(ARCHS, teacher="first"),
    "sandwich with labels": StepPlan(ARCHS, teacher="first", labels=True, student_weight=0.5),
    "uniform": StepPlan(ARCHS, teacher=None),
    "the same twice": StepPlan((SMALL.largest, SMALL.largest, SMALL.smallest, SMALL.smallest), teacher="first"),
    "one arch": StepPlan(ARCHS[:1]),
}


def supernet() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(SMALL.with_classes(CLASSES), kernel_transforms=True).double().train()


def trained(
    net: SuperNet, plan: StepPlan, at_a_time: int
) -> tuple[Tensor, dict[str, Tensor | None], dict[str, Tensor]]:
    losses = accumulate_gradients(net, IMAGES, LABELS, plan, at_a_time=at_a_time)
    return losses, {name: parameter.grad for name, parameter in net.named_parameters()}, dict(net.named_buffers())


@pytest.mark.parametrize("name", PLANS)
def test_losses_gradients_and_statistics_are_those_of_archs_in_turn(name: str) -> None:
    net = supernet()
    expected = trained(copy.deepcopy(net), PLANS[name], 1)
    for at_a_time in (3, 8):
        parallel = trained(copy.deepcopy(net), PLANS[name], at_a_time)
        torch.testing.assert_close(parallel, expected, rtol=1e-9, atol=1e-12)


def test_gradients_are_added_to_those_there_are() -> None:
    net = supernet()
    once = {k: v if v is None else v.clone() for k, v in trained(net, PLANS["uniform"], 2)[1].items()}
    twice = trained(net, PLANS["uniform"], 2)[1]
    for name, gradient in once.items():
        if gradient is not None:
            torch.testing.assert_close(twice[name], 2 * gradient, rtol=1e-9, atol=1e-12)


def test_equal_steps_give_equal_bits() -> None:
    nets = [supernet().float() for _ in range(2)]
    for _ in range(3):
        results = [trained(net, PLANS["sandwich"], 2) for net in nets]
    (losses, gradients, statistics), others = results
    assert torch.equal(losses, others[0])
    assert all(torch.equal(tensor, others[1][name]) for name, tensor in gradients.items() if tensor is not None)
    assert all(torch.equal(tensor, others[2][name]) for name, tensor in statistics.items())


@pytest.mark.parametrize("broken", [0, 2])
def test_an_error_of_one_arch_is_raised_and_no_thread_waits(broken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = SuperNet.forward

    def breaking(net: SuperNet, x: Tensor, arch: Arch, weights: Cut | None = None) -> Tensor:
        if arch == ARCHS[broken]:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] not enough memory")
        return forward(net, x, arch, weights)

    monkeypatch.setattr(SuperNet, "forward", breaking)
    with pytest.raises(RuntimeError, match="not enough memory"):
        trained(supernet(), PLANS["sandwich"], 2)


def test_torchs_threads_are_left_as_they_were() -> None:
    threads = torch.get_num_threads()
    trained(supernet(), PLANS["sandwich"], 4)
    assert torch.get_num_threads() == threads


def test_one_arch_a_thread_runs_in_parallel_on_cpus_only() -> None:
    assert archs_at_a_time(4, torch.device("cpu")) == min(4, torch.get_num_threads())
    assert archs_at_a_time(1, torch.device("cpu")) == 1
    assert archs_at_a_time(4, torch.device("cpu"), 3) == 3
    assert archs_at_a_time(4, torch.device("cpu"), 8) == 4
    assert archs_at_a_time(4, torch.device("cuda")) == 1
