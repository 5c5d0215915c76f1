"""Optimisers, weight averages, early stopping, precision, and running out of memory."""

import re
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked
from halves import CONFIG, problem, quiet, supernet
from spaces import SMALL

from edgenas.errors import EdgenasError
from edgenas.exits import exit_codes
from edgenas.files import read_jsonl
from edgenas.supernet.blocks.base import ElasticBlock
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint, trainer
from edgenas.training import training_loop as loop
from edgenas.training.optimizer import (
    averaged,
    make_optimizer,
    new_average,
    set_learning_rate,
    update_average,
    zero_last_norms,
)


def trained(folder: Path, **update: object) -> tuple[SuperNet, list[dict[str, object]]]:
    net = supernet()
    config = CONFIG.model_copy(update=update)
    loop.train(net, problem(), config, seed=5, folder=folder, progress=quiet)
    return net, read_jsonl(folder / "training.jsonl")


def test_kernel_transforms_do_not_decay() -> None:
    net = SuperNet(SMALL.with_classes(2), kernel_transforms=True)
    decay = {
        id(p): group["weight_decay"] for group in make_optimizer(net, CONFIG).param_groups for p in group["params"]
    }
    transforms = [decay[id(parameter)] for name, parameter in net.named_parameters() if ".transforms." in name]
    assert transforms
    assert set(transforms) == {0.0}
    assert len(decay) == len(list(net.parameters()))


def test_sgd_is_nesterovs() -> None:
    optimizer = make_optimizer(supernet(), CONFIG.model_copy(update={"optimizer": "sgd", "momentum": 0.8}))
    assert isinstance(optimizer, torch.optim.SGD)
    assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.8, True)}
    plain = make_optimizer(supernet(), CONFIG.model_copy(update={"optimizer": "sgd", "momentum": 0.0}))
    assert not plain.param_groups[0]["nesterov"]


def test_layer_decay_lowers_the_rate_of_every_block_below_the_last() -> None:
    net = supernet()
    optimizer = make_optimizer(net, CONFIG.model_copy(update={"layer_decay": 0.5}))
    set_learning_rate(optimizer, 0.8)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates.keys() == {id(parameter) for parameter in net.parameters()}
    expected = 0.8
    for block in ("head", "stage3_block1", "stage3_block0", "stage2_block1"):
        assert {rates[id(parameter)] for parameter in net.blocks[block].parameters()} == {expected}, block
        expected /= 2
    assert {rates[id(parameter)] for parameter in net.blocks["stem"].parameters()} == {0.8 / 2 ** (len(net.blocks) - 1)}
    assert len(make_optimizer(net, CONFIG).param_groups) == 2


def test_residual_blocks_begin_as_identities() -> None:
    net = supernet().eval()
    zero_last_norms(net)
    norms = {name: block.last_norm for name, block in net.blocks.items() if isinstance(block, ElasticBlock)}
    zeroed = {name for name, norm in norms.items() if norm is not None and not norm.weight.any()}
    assert zeroed == {name for name in net.blocks if "block" in name and not name.endswith("block0")}
    shallow = SMALL.parse("r16_w16-k3e1_w24-k3e2_w40-k5e3_w64-k3e2")
    deep = SMALL.parse("r16_w16-k3e1_w24-k3e2-k5e4-k3e2_w40-k5e3-k7e4_w64-k3e2-k5e4")
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(net(x, deep), net(x, shallow))


def test_the_average_follows_the_weights() -> None:
    net = supernet()
    average, expected = new_average(net), net.blocks["stem"].conv.conv.weight.detach().clone()
    for step in range(100):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter += 0.1
        update_average(average, net, 0.9, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net.blocks["stem"].conv.conv.weight.detach()
    torch.testing.assert_close(average["blocks.stem.conv.conv.weight"], expected)
    weight = net.blocks["stem"].conv.conv.weight.detach().clone()
    with averaged(net, average):
        torch.testing.assert_close(net.blocks["stem"].conv.conv.weight.detach(), expected)
    assert torch.equal(net.blocks["stem"].conv.conv.weight, weight)


def test_training_ends_with_the_average(tmp_path: Path) -> None:
    plain, _ = trained(tmp_path / "plain")
    net, _ = trained(tmp_path / "average", average=0.999)
    stored = supernet()
    checkpoint.load(tmp_path / "average", stored)
    torch.testing.assert_close(stored.state_dict(), net.state_dict(), rtol=0, atol=0)
    name = "blocks.head.classifier.weight"
    start = supernet().state_dict()[name]
    assert 0 < (net.state_dict()[name] - start).norm() < (plain.state_dict()[name] - start).norm()


@pytest.mark.parametrize("norm", [1e-3, 1e3])
def test_gradients_are_scaled_down_to_the_norm(norm: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.SGD.step

    def recorded(self: torch.optim.SGD, *arguments: object) -> object:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    trained(tmp_path, optimizer="sgd", clip_norm=norm)
    assert norms
    if norm < 1:
        assert norms == pytest.approx([norm] * len(norms), rel=1e-3)
    else:
        assert max(norms) < norm


def test_training_stops_early_and_loads_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.8, 0.7, 0.8, 0.6, 0.9])
    weights = []

    def validate(net: SuperNet, dataset: object, pool: object) -> dict[str, float]:
        weights.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        score = next(scores)
        return {"smallest": score - 0.1, "middle": score, "largest": score + 0.1}

    monkeypatch.setattr(loop, "validate", validate)
    net, rows = trained(tmp_path, epochs=4.0, validations=24, patience=3)
    # The second was the best; an equal one later does not count.
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [0, 1, 2, 3, 4]
    torch.testing.assert_close(net.state_dict(), weights[1], rtol=0, atol=0)
    again, rows = trained(tmp_path, epochs=4.0, validations=24, patience=3)
    torch.testing.assert_close(again.state_dict(), weights[1], rtol=0, atol=0)
    assert len([row for row in rows if row["kind"] == "validation"]) == 5


def test_bf16_is_used_if_requested(tmp_path: Path) -> None:
    dtypes: set[torch.dtype] = set()

    def note(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Conv2d) and module.training:
            dtypes.add(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        net, _ = trained(tmp_path, precision="bf16", epochs=0.34, validations=1)
        # Recalibration, at the end, is in full precision.
        assert dtypes == {torch.bfloat16, torch.float32}
    finally:
        hook.remove()
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("fitting", "advice"), [(7, "set it to 4, which fits"), (3, "set it to 2, which fits"), (1, "no batch fits")]
)
def test_after_running_out_of_memory_the_message_gives_a_batch_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitting: int, advice: str
) -> None:
    accumulate_gradients = trainer.accumulate_gradients

    def small(net: SuperNet, images: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if len(images) > fitting:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return accumulate_gradients(net, images, *arguments, **options)

    monkeypatch.setattr(trainer, "accumulate_gradients", small)
    with pytest.raises(EdgenasError, match=rf"memory ran out at step 0 with train\.batch_size 8: {advice}"):
        trained(tmp_path)


def hungry(folder: Path) -> None:
    """Train with large batches in little more memory than a training of small ones has taken."""
    dataset, net = problem(2048), supernet()
    small, large = (CONFIG.model_copy(update=update) for update in ({"epochs": 0.02}, {"batch_size": 2048}))
    loop.train(net, dataset, small, seed=5, folder=folder / "small", progress=quiet)
    status = Path("/proc/self/status").read_text().splitlines()
    used = 1024 * int(next(line for line in status if line.startswith("VmSize")).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, (used + 64_000_000, resource.RLIM_INFINITY))
    with exit_codes():
        loop.train(net, dataset, large, seed=5, folder=folder / "large", progress=quiet)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_process_that_runs_out_of_memory_names_a_batch_that_fits(tmp_path: Path) -> None:
    done = Forked(hungry, tmp_path, cwd=tmp_path, stdout=tmp_path / "stdout", stderr=tmp_path / "stderr").ended()
    assert done.returncode == 1, done.stderr
    (fits,) = re.findall(r"train\.batch_size 2048: set it to (\d+), which fits", done.stderr)
    assert 2 <= int(fits) < 2048
    assert "Traceback" not in done.stderr
