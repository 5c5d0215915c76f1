"""MobileNetV3-Small as BlockSpecs, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf

from edgenas.space.cost import cost
from edgenas.space.mobilenet_v3 import mobilenet_v3_small
from edgenas.supernet.subnet import Subnet


def torchvisions(width: float) -> nn.Module:
    """Theirs, without what ours has not: a bias in the head's middle layer, and another epsilon."""
    settings, last = _mobilenet_v3_conf("mobilenet_v3_small", width_mult=width)
    net = MobileNetV3(settings, last, num_classes=7).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    nn.init.zeros_(net.classifier[0].bias)
    return net


def weights(net: nn.Module) -> list[torch.Tensor]:
    """All but counts of batches, in the order in which an image meets them."""
    return [
        t for name, t in net.state_dict().items() if not name.endswith(("num_batches_tracked", "classifier.0.bias"))
    ]


@pytest.mark.parametrize("width", [0.35, 0.5, 1.0, 1.25])
def test_it_computes_what_torchvisions_does(width: float) -> None:
    torch.manual_seed(0)
    theirs, ours = torchvisions(width), Subnet(mobilenet_v3_small(7, 64, width=width)).eval()
    own = ours.state_dict()
    names = [name for name in own if not name.endswith("num_batches_tracked")]
    copied = dict(zip(names, weights(theirs), strict=True))
    assert all(copied[name].shape == own[name].shape for name in names)
    ours.load_state_dict(own | copied)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_at_full_width_it_has_the_published_size() -> None:
    found = cost(mobilenet_v3_small(1000, 224))
    # 56.5 M MACs and 2.54 M parameters, of which 1,024 are the bias that ours has not.
    assert found.macs == pytest.approx(56.5e6, rel=0.01)
    assert found.params == 2_542_856 - 1024


@pytest.mark.parametrize(("stride", "size"), [(32, 1), (16, 2), (8, 4), (4, 8), (1, 32)])
def test_small_images_keep_some_size(stride: int, size: int) -> None:
    specs = mobilenet_v3_small(10, 32, stride=stride)
    assert specs[-1].in_size == size
    assert [spec.out_channels for spec in specs] == [spec.out_channels for spec in mobilenet_v3_small(10, 32)]
