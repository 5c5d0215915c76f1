from pathlib import Path

import pytest
import torch
from spaces import SMALL

from edgenas.config.sections import DataConfig
from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.space.arch import Arch
from edgenas.supernet.supernet import SuperNet
from edgenas.training import training_loop as loop
from edgenas.training.data.dataset import Dataset, load_dataset
from edgenas.training.materialise import materialise, predict
from edgenas.training.optimizer import make_optimizer
from edgenas.training.recipe import StepPlan
from edgenas.training.schedule import sandwich
from edgenas.training.trainer import validate
from edgenas.training.training_step import accumulate_gradients

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU (see tests/gpu/README)")


@pytest.fixture
def digits() -> Dataset:
    return load_dataset(DataConfig(name="digits", limit=256), seed=0)


def supernet() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(SMALL.with_classes(10))


def test_a_training_step_computes_in_bf16_and_keeps_float32_weights(digits: Dataset) -> None:
    net = supernet().to(device="cuda", memory_format=torch.channels_last).train()
    optimizer = make_optimizer(net, TrainConfig(epochs=1))
    seen: set[torch.dtype] = set()

    def note(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Conv2d):
            seen.add(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        images, labels = digits.train.images[:64].cuda(), digits.train.labels[:64].cuda()
        loss = accumulate_gradients(net, images, labels, StepPlan(tuple(sandwich(SMALL, 4, seed=0, step=0))))[0]
    finally:
        hook.remove()
    before = net.blocks["stem"].conv.conv.weight.detach().clone()
    optimizer.step()
    assert seen == {torch.bfloat16}
    assert loss.isfinite()
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert not torch.equal(net.blocks["stem"].conv.conv.weight, before)


def test_losses_agree_with_the_cpu(digits: Dataset) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        net = supernet().to(device).train()
        images, labels = digits.train.images[:64].to(device), digits.train.labels[:64].to(device)
        losses.append(float(accumulate_gradients(net, images, labels, StepPlan((SMALL.largest, SMALL.smallest)))[0]))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_training_runs_and_learns(digits: Dataset, tmp_path: Path) -> None:
    config = TrainConfig(epochs=10, batch_size=64, augment=AugmentConfig(shift=0.1), device="cuda")
    net = supernet()
    loop.train(net, digits, config, seed=0, folder=tmp_path, progress=lambda *_: None)
    assert next(net.parameters()).is_cuda
    assert validate(net, digits)["largest"] > 0.5


@pytest.mark.parametrize("arch", [SMALL.smallest, SMALL.largest], ids=str)
def test_materialised_subnets_agree_with_the_cpu(digits: Dataset, arch: Arch, monkeypatch: pytest.MonkeyPatch) -> None:
    # TF32 rounds to ten bits, which would hide real differences.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    net = supernet()
    on_cpu = materialise(net, arch, digits.train.images)
    on_cuda = materialise(net.cuda(), arch, digits.train.images)
    logits = predict(on_cuda, digits.test.images)
    assert logits.device.type == "cpu"
    torch.testing.assert_close(logits, predict(on_cpu, digits.test.images), rtol=1e-3, atol=1e-3)
