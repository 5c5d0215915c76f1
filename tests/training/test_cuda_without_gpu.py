"""The CUDA path without a GPU: fake tensors track devices, and `meta` runs whole steps. Neither computes."""

from collections.abc import Iterator

import pytest
import torch
from spaces import SMALL, random_archs
from torch._subclasses.fake_tensor import FakeTensorMode

from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.space.loading import load_space, preset_names
from edgenas.space.space import SearchSpace
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.augment import augment
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_for
from edgenas.training.optimizer import make_optimizer
from edgenas.training.recipe import StepPlan
from edgenas.training.schedule import sandwich
from edgenas.training.training_step import accumulate_gradients

# Supernets cache modules by space, and fake ones must not reach other tests.
FAKE = SearchSpace.model_validate({**SMALL.model_dump(), "name": "fake"})
CUDA = torch.device("cuda", 0)
MIXED = "same device|two devices|different from other tensors"


@pytest.fixture
def fake_cuda() -> Iterator[None]:
    """Create tensors without data that have a device, CUDA included; mixing devices raises."""
    # The batch norms create a tensor on `meta`, which is not fake.
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def net_on_cuda() -> SuperNet:
    # `.to` cannot move fake parameters, so they are created on the device.
    with CUDA:
        return SuperNet(FAKE.with_classes(4))


@pytest.mark.usefixtures("fake_cuda")
def test_forward_and_losses_stay_on_cuda() -> None:
    net = net_on_cuda().train()
    images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8).to(CUDA)
    labels = torch.zeros(4, dtype=torch.int64).to(CUDA)
    generator = torch.Generator().manual_seed(0)
    images, labels = augment(images, labels, AugmentConfig(shift=0.1, flip=True), 4, generator)
    logits = net(preprocess_for(FAKE.largest)(images), FAKE.largest)
    losses = [hard_loss(logits, labels, 0.1)]
    for arch in [FAKE.smallest, *random_archs(FAKE, 4)]:
        losses.append(distillation_loss(net(preprocess_for(arch)(images), arch), logits.detach()))
    assert {loss.device for loss in [images, logits, *losses]} == {CUDA}


@pytest.mark.usefixtures("fake_cuda")
def test_a_tensor_left_on_the_cpu_is_caught() -> None:
    net, arch = net_on_cuda(), FAKE.largest
    with pytest.raises(RuntimeError, match=MIXED):
        net(torch.zeros(2, 3, arch.resolution, arch.resolution), arch)
    logits = net(torch.zeros(2, 3, arch.resolution, arch.resolution, device=CUDA), arch)
    with pytest.raises(RuntimeError, match=MIXED):
        hard_loss(logits, torch.zeros(2, dtype=torch.int64), 0.0)
    net.blocks["stage1_block0"].depthwise.norm.running_mean = torch.zeros(96)
    with pytest.raises(RuntimeError, match=MIXED):
        net(torch.zeros(2, 3, arch.resolution, arch.resolution, device=CUDA), arch)


@pytest.mark.parametrize("name", preset_names())
def test_a_whole_training_step_runs_on_meta(name: str) -> None:
    space = load_space(name)
    net = SuperNet(space.with_classes(4)).to("meta").train()
    optimizer = make_optimizer(net, TrainConfig(epochs=1))
    images = torch.zeros(4, 3, 40, 32, dtype=torch.uint8, device="meta")
    labels = torch.zeros(4, dtype=torch.int64, device="meta")
    loss = accumulate_gradients(
        net, images, labels, StepPlan(tuple(sandwich(space, 4, seed=0, step=0))), label_smoothing=0.1
    )[0]
    optimizer.step()
    assert loss.device.type == "meta"
    assert {parameter.grad.device.type for parameter in net.parameters() if parameter.grad is not None} == {"meta"}
    assert all(state["exp_avg"].device.type == "meta" for state in optimizer.state.values())
