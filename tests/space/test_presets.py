"""Each shipped space: a training step, an export, a measurement; and what is particular to some of them."""

from pathlib import Path

import pytest
import torch
from spaces import random_archs

from edgenas.config.train_config import TrainConfig
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport import Job
from edgenas.space.blocks.spec import LANES
from edgenas.space.cost import cost
from edgenas.space.loading import load_space, preset_names
from edgenas.supernet.supernet import SuperNet
from edgenas.testing import FakeTransport, graph_latency_us
from edgenas.training.materialise import materialise
from edgenas.training.optimizer import make_optimizer
from edgenas.training.recipe import StepPlan
from edgenas.training.schedule import sandwich
from edgenas.training.training_step import accumulate_gradients

MOBILENETV4_CONV_M = (
    "r224_w48-fk3e4_w80-ua3k5e4-ua3k3e2"
    "_w160-ua3k5e6-ua3k3e4-ua3k3e4-ua3k5e4-ua3k3e4-ua3k0e4-ua0k0e2-ua3k0e4"
    "_w256-ua5k5e6-ua5k5e4-ua3k5e4-ua3k5e4-ua0k0e4-ua3k0e4-ua3k5e2-ua5k5e4-ua0k0e4-ua0k0e4-ua5k0e2"
    "_w960-ck1"
)
MOBILE_MACS = 600e6
"""The bound of the mobile setting (arXiv 1707.07012), for classifiers of ImageNet at 224 pixels."""


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_trains_a_step_and_its_export_is_measured(name: str, tmp_path: Path) -> None:
    whole = load_space(name)
    space = load_space({"preset": name, "resolution": list(whole.resolution[:1])})
    torch.manual_seed(0)
    net = SuperNet(space.with_classes(4)).train()
    before = net.blocks["stem"].conv.conv.weight.detach().clone()
    images, labels = torch.randint(0, 256, (4, 3, 40, 32), dtype=torch.uint8), torch.arange(4)
    plan = StepPlan(tuple(sandwich(space, 3, seed=0, step=0)))
    loss = accumulate_gradients(net, images, labels, plan, label_smoothing=0.1)[0]
    make_optimizer(net, TrainConfig(epochs=1)).step()
    assert torch.isfinite(loss)
    assert not torch.equal(net.blocks["stem"].conv.conv.weight, before)
    model = export_onnx(materialise(net, space.smallest, images), tmp_path / "model.onnx")
    fake = FakeTransport()
    measured = measure_networks(
        {name: model}, fake.device(), rounds=8, seed=0, out=tmp_path / "rows.jsonl", transport=fake
    )
    assert measured[name].p50_us == pytest.approx(graph_latency_us(model, Job((model,), 1, 0)))


def test_mobilenetv4_conv_m_is_an_architecture_of_its_preset() -> None:
    space = load_space("mobilenetv4-conv-224").with_classes(1000)
    costs = cost(space.unroll(space.parse(MOBILENETV4_CONV_M)))
    # Of timm's mobilenetv4_conv_medium at 224 pixels, by torch's counter.
    assert (costs.params, costs.macs) == (9_715_512, 827_649_984)


def test_the_largest_mobile_224_is_a_mobile_network() -> None:
    space = load_space("mobile-224").with_classes(1000)
    assert 0.9 * MOBILE_MACS < cost(space.unroll(space.largest)).macs < MOBILE_MACS


def test_mobile_int8_has_whole_vectors_of_channels_and_activations_that_int8_folds() -> None:
    space = load_space("mobile-int8").with_classes(10)
    for arch in [space.smallest, space.largest, *random_archs(space, 20)]:
        stem, *blocks, head = space.unroll(arch)
        convs = [*stem.convs(), *(conv for block in blocks for conv in block.convs()), *head.convs()[:-1]]
        assert {conv.out_channels % LANES for conv in convs} == {0}
        assert all(block.gates == 0 and "relu6" in block.key for block in (stem, *blocks, head))


def test_mobile_int8_is_of_the_size_of_mobile_96() -> None:
    ends = [
        [cost(space.unroll(arch)).macs for arch in (space.smallest, space.largest)]
        for space in (load_space(name).with_classes(10) for name in ("mobile-int8", "mobile-96"))
    ]
    assert [0.8 < int8 / other < 1.2 for int8, other in zip(*ends, strict=True)] == [True, True]
