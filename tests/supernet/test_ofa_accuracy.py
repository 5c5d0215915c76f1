"""Once-for-all's own accuracy predictor."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from edgenas.errors import DataError, SpaceError
from edgenas.space.load import load_space
from edgenas.supernet.ofa_accuracy import INPUTS, OFAAccuracy

SPACE = load_space("ofa-mbv3-w1.2")


def state(*widths: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    return {f"{n}.{k}": v for n, layer in enumerate(layers) for k, v in layer.state_dict().items()}


@pytest.mark.slow
def test_the_published_predictor_tells_the_published_top1(shared_data: Path) -> None:
    predictor = OFAAccuracy.load(shared_data / "ofa" / "imagenet_top1_predictor_w1.2.pth")
    settings = {"ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 3, 2], "r": 192}
    assert 100 * predictor.top1([SPACE.from_ofa(settings)])[0] == pytest.approx(79.94157, abs=1e-5)


def test_it_computes_what_torch_computes(tmp_path: Path) -> None:
    weights = state(INPUTS, 8, 8, 1)
    torch.save(weights, tmp_path / "p.pth")
    network = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
    )
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    features = torch.zeros(1, INPUTS)
    for stage in range(5):
        for block in range(2):
            # Kernel 3 and expand ratio 3 are the first of three; two blocks are active.
            features[0, 3 * (4 * stage + block)] = features[0, 60 + 3 * (4 * stage + block)] = 1
    features[0, 120 + 1] = 1
    expected = network(features).item()
    assert OFAAccuracy.load(tmp_path / "p.pth").top1([SPACE.smallest])[0] == pytest.approx(expected, rel=1e-5)
    assert OFAAccuracy.load(tmp_path / "p.pth").top1([]).shape == (0,)


@pytest.mark.parametrize("widths", [(12, 1), (INPUTS, 2), (INPUTS,)])
def test_other_networks_are_refused(tmp_path: Path, widths: tuple[int, ...]) -> None:
    torch.save(state(*widths), tmp_path / "p.pth")
    with pytest.raises(DataError, match="wanted layers from 128 inputs to one output"):
        OFAAccuracy.load(tmp_path / "p.pth")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.pth").write_bytes(b"no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": 1}, tmp_path / "number.pth")
    for name in ("p.pth", "list.pth", "number.pth", "missing.pth"):
        with pytest.raises(DataError, match="cannot be read as an accuracy predictor"):
            OFAAccuracy.load(tmp_path / name)


def test_archs_that_it_cannot_read_are_refused() -> None:
    predictor = OFAAccuracy(((np.zeros((1, INPUTS), dtype=np.float32), np.zeros(1, dtype=np.float32)),))
    for arch in (load_space("mobile-32").smallest, SPACE.parse(str(SPACE.smallest).replace("r128", "r132"))):
        with pytest.raises(SpaceError, match="wanted one of the once-for-all"):
            predictor.top1([arch])
