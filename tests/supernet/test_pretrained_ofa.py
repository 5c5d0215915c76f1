"""The public once-for-all checkpoints by name, as sources of a run's initial weights."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ofa_networks import ofa_network
from weights_server import Server, served

import edgenas
from edgenas.errors import SpaceError, WeightsError
from edgenas.space.loading import load_space
from edgenas.supernet.ofa import import_ofa_checkpoint
from edgenas.supernet.pixels import IMAGENET
from edgenas.supernet.pretrained import ofa_weights
from edgenas.supernet.pretrained.sources import load_pretrained
from edgenas.training.initial_weights import load_network

CHECKPOINT = "ofa_mbv3_d234_e346_k357_w1.0"
SPACE = load_space("ofa-mbv3-w1.0")


@pytest.fixture(scope="module")
def content() -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": ofa_network(1.0, 12).state_dict()}, stream)
    return stream.getvalue()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Two folders of a publisher, both empty, and an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with served() as server:
        monkeypatch.setattr(ofa_weights, "FOLDERS", (f"{server.url}/gone", f"{server.url}/moved"))
        yield server


def test_a_checkpoint_is_downloaded_from_the_first_folder_that_has_it_and_pinned(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    server.serve(f"moved/{CHECKPOINT}", content)
    network = load_pretrained("ofa:w1.0")
    cached = tmp_path / "torch/hub/checkpoints" / CHECKPOINT
    expected = import_ofa_checkpoint(cached, SPACE)
    assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in network.module.state_dict().items())
    assert (network.pixels, network.facts.hash_from) == (IMAGENET, "first download")
    assert server.asked == [f"/gone/{CHECKPOINT}", f"/moved/{CHECKPOINT}"]
    assert load_pretrained("ofa:w1.0").facts == network.facts
    cached.write_bytes(content + b"\0")
    with pytest.raises(
        WeightsError, match=rf"but {network.facts.sha256} when it was first used: .*remove {CHECKPOINT}\.sha"
    ):
        load_pretrained("ofa:w1.0")


def test_without_network_every_place_is_named_and_where_to_put_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as refusal:
        load_pretrained("ofa:w1.0")
    for text in (f"{server.url}/gone/{CHECKPOINT}", f"{server.url}/moved/{CHECKPOINT}"):
        assert text in str(refusal.value)
    assert f"save it as {tmp_path}/torch/hub/checkpoints/{CHECKPOINT}, and repeat" in str(refusal.value)


def test_a_supernet_starts_from_it_with_its_own_classifier(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    network = load_pretrained(f"ofa:w1.0@{tmp_path / CHECKPOINT}")
    space = edgenas.space_from("ofa:w1.0")
    assert space == SPACE
    net = edgenas.SuperNet(space.with_classes(3), kernel_transforms=True, pixels=network.pixels)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    load_network(network.module, net, ("a", "b", "c"), torch.zeros(2, 3, 224, 224))
    for name, tensor in net.state_dict().items():
        classifier = name.startswith("blocks.head.classifier.")
        assert torch.equal(tensor, before[name] if classifier else network.module.state_dict()[name])
    with pytest.raises(SpaceError, match=r"has kernel transforms: set train\.kernel_transforms to true"):
        edgenas.SuperNet.from_network(space, network.module)
    with pytest.raises(SpaceError, match=r"mobile-32 does not fit a supernet of ofa-mbv3-w1\.0"):
        edgenas.SuperNet.from_network(load_space("mobile-32"), network.module, kernel_transforms=True)


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"net\.pth is not a once-for-all MobileNetV3 checkpoint"):
        load_pretrained(f"ofa:w1.2@{tmp_path / 'net.pth'}")


def test_an_unknown_width_is_answered_with_those_there_are() -> None:
    with pytest.raises(WeightsError, match=r"valid: ofa:w1\.0, ofa:w1\.2"):
        load_pretrained("ofa:w1.1")
