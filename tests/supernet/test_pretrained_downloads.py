"""Weights of torchvision and timm, downloaded from a local server into the libraries' caches."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from source_networks import source_network
from torch import nn
from torchvision import models
from weights_server import Answer, Server, served, timm_config

import edgenas
from edgenas.errors import SpaceError, WeightsError
from edgenas.supernet.pretrained.hub_files import check_hub_file
from edgenas.supernet.pretrained.networks import read
from edgenas.supernet.pretrained.sources import installed_networks, load_pretrained
from edgenas.supernet.pretrained.weights_file import check_pinned

NETWORK, REPOSITORY = "mobilenet_v3_small", "someone/net"
TIMM_NETWORK = "mobilenetv3_small_050"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A publisher, and empty caches."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with served() as server:
        yield server


@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("timm")
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return server


def pickled(module: nn.Module) -> bytes:
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    return stream.getvalue()


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, content: bytes, digits: str | None = None) -> str:
    """Let torchvision's weights of NETWORK be a file of the server, named with its digest as torchvision does."""
    name = f"{NETWORK}-{digits or hashlib.sha256(content).hexdigest()[:8]}.pth"
    url = server.serve(name, content)
    monkeypatch.setattr(models.MobileNet_V3_Small_Weights.DEFAULT.value, "url", url)
    return name


def same_logits(module: nn.Module, other: nn.Module, resolution: int = 64) -> bool:
    images = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.equal(module(images), other(images))


def test_weights_of_torchvision_are_downloaded_once_and_checked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, reported = source_network(NETWORK), []
    name = publish(server, monkeypatch, pickled(module))
    assert f"torchvision:{NETWORK}" not in installed_networks()
    network = load_pretrained(f"torchvision:{NETWORK}", lambda *report: reported.append(report))
    assert same_logits(network.module, module)
    cached = tmp_path / "torch/hub/checkpoints" / name
    assert network.facts.sha256 == hashlib.sha256(cached.read_bytes()).hexdigest()
    assert (network.facts.hash_from, network.facts.origin) == ("published", f"{server.url}/{name}")
    assert network.facts.published_top1_percent == 67.668
    label, done, total = reported[-1]
    assert (label, done, total) == (f"download {name}: MB", total, -(-cached.stat().st_size // 10**6))
    # The second time, nothing is asked for, and torchvision itself finds the file.
    server.answers.clear()
    assert same_logits(load_pretrained(f"torchvision:{NETWORK}").module, module)
    assert models.MobileNet_V3_Small_Weights.DEFAULT.get_state_dict(progress=False).keys() == module.state_dict().keys()
    assert f"torchvision:{NETWORK}" in installed_networks()


def test_each_weights_of_torchvision_has_its_own_normalisation() -> None:
    """Its second version of weights is evaluated on a larger part of the image."""
    from edgenas.supernet.pretrained.torchvision_weights import TorchvisionSource

    crops = [read(TorchvisionSource("mobilenet_v2", f"IMAGENET1K_V{n}").module()).pixels.crop for n in (1, 2)]
    assert crops == [224 / 256, 224 / 232]
    assert read(TorchvisionSource("efficientnet_b1").module()).resolution == 240


def test_a_file_of_another_digest_is_refused_and_not_loaded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    name = publish(server, monkeypatch, b"anything", digits="0badc0de")
    with pytest.raises(WeightsError, match=f"{name} has SHA-256 .*, but the published one is 0badc0de: remove .*again"):
        load_pretrained(f"torchvision:{NETWORK}")


def test_a_download_that_ends_early_leaves_no_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = publish(server, monkeypatch, b"half")
    server.answers[f"/{name}"] = Answer(b"half", length=8)
    with pytest.raises(WeightsError, match=r"cannot download .*ended after 4 of 8 bytes"):
        load_pretrained(f"torchvision:{NETWORK}")
    assert not list((tmp_path / "torch/hub/checkpoints").iterdir())


def test_without_network_the_message_says_what_to_fetch_where_to_put_it_and_to_repeat(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = source_network(NETWORK)
    name = publish(server, monkeypatch, pickled(module))
    answer = server.answers.pop(f"/{name}")
    with pytest.raises(WeightsError) as refusal:
        load_pretrained(f"torchvision:{NETWORK}")
    cached = tmp_path / "torch/hub/checkpoints" / name
    assert f"{server.url}/{name}" in str(refusal.value)
    assert f"save it as {cached}, and repeat the command" in str(refusal.value)
    # As the message says.
    cached.write_bytes(answer.body)
    assert same_logits(load_pretrained(f"torchvision:{NETWORK}").module, module)


def test_unknown_weights_of_torchvision_are_answered_with_its_own() -> None:
    with pytest.raises(WeightsError, match=r"'IMAGENET1K_V7' are unknown to torchvision's mobilenet_v2; did you mean"):
        load_pretrained("torchvision:mobilenet_v2@IMAGENET1K_V7")


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_an_unsupported_family_is_refused_before_a_download(name: str, server: Server) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(SpaceError, match=r"resnet\.ResNet: expected one of"):
        load_pretrained(name)
    assert not server.asked


def timm_network(seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return pytest.importorskip("timm").create_model(TIMM_NETWORK, pretrained=False, **options).eval()


def repository(module: nn.Module, **config: object) -> dict[str, bytes]:
    return {
        "config.json": timm_config(TIMM_NETWORK, **config),
        "model.safetensors": safetensors.torch.save(module.state_dict()),
        "README.md": b"---\nlicense: cc-by-4.0\n---\n# A network\n",
    }


def test_weights_of_a_repository_on_the_hub_are_downloaded_and_compared_with_its_digest(hub: Server) -> None:
    module, reported = timm_network(), []
    hub.serve_repository(REPOSITORY, repository(module))
    network = load_pretrained(f"hf:{REPOSITORY}", lambda *report: reported.append(report))
    assert same_logits(network.module, module)
    assert (
        network.facts.sha256
        == hashlib.sha256(hub.answers[f"/{REPOSITORY}/resolve/main/model.safetensors"].body).hexdigest()
    )
    assert (network.facts.hash_from, network.facts.licence) == ("published", "cc-by-4.0")
    assert read(network.module).pixels.mean == (0.5, 0.5, 0.5)
    assert reported[-1][0] == "download model.safetensors: MB"
    assert reported[-1][1] == reported[-1][2] > 0
    hub.answers.clear()
    hub.asked.clear()
    assert same_logits(load_pretrained(f"hf:{REPOSITORY}").module, module)
    assert not hub.asked


def test_weights_of_timm_come_from_its_repository(hub: Server) -> None:
    module = timm_network()
    hub.serve_repository("timm/mobilenetv3_small_050.lamb_in1k", repository(module))
    network = load_pretrained(f"timm:{TIMM_NETWORK}")
    assert same_logits(network.module, module)
    assert network.facts.origin == "https://huggingface.co/timm/mobilenetv3_small_050.lamb_in1k"
    assert "timm:mobilenetv3_small_050.lamb_in1k" in installed_networks()
    assert same_logits(load_pretrained("timm:mobilenetv3_small_050.lamb_in1k").module, module)


def test_a_network_with_another_number_of_classes_is_loaded(hub: Server) -> None:
    module = timm_network(num_classes=7)
    hub.serve_repository(REPOSITORY, repository(module, num_classes=7))
    network = load_pretrained(f"hf:{REPOSITORY}")
    assert network.facts.num_classes == 7
    assert same_logits(network.module, module)
    net = edgenas.SuperNet.from_network(edgenas.space_from(network.module), network.module)
    assert net.space.num_classes == 7


def test_a_space_takes_only_the_description_of_a_repository(hub: Server) -> None:
    hub.serve_repository(REPOSITORY, {"config.json": timm_config(TIMM_NETWORK)})
    space = edgenas.space_from(f"hf:{REPOSITORY}")
    assert space.name == "net"
    assert space.stages == edgenas.space_from(f"timm:{TIMM_NETWORK}").stages


def test_a_file_that_is_not_the_one_the_hub_states_is_refused(hub: Server) -> None:
    hub.serve_repository(REPOSITORY, repository(timm_network()), etag="0" * 64)
    with pytest.raises(
        WeightsError, match=f"but the published one is {'0' * 64}: remove the folder .*models--someone--net"
    ):
        load_pretrained(f"hf:{REPOSITORY}")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", r"is gated: accept its conditions on .*/someone/net, log in with `hf auth login`"),
        (404, "RepoNotFound", r"/someone/net does not exist, or is private: check the name"),
        (404, "EntryNotFound", r"has no config\.json: expected a repository of timm"),
    ],
)
def test_a_repository_that_cannot_be_had_is_answered_with_the_remedy(
    status: int, code: str, message: str, hub: Server
) -> None:
    hub.refuse_repository(REPOSITORY, status, code)
    with pytest.raises(WeightsError, match=f"weights hf:{REPOSITORY}: .*{message}"):
        load_pretrained(f"hf:{REPOSITORY}")


def test_without_network_the_message_says_how_to_bring_a_repository(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    closed = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", closed)
    with pytest.raises(WeightsError, match=r"cannot download config\.json .*run `hf download someone/net ") as refusal:
        load_pretrained(f"hf:{REPOSITORY}")
    assert f"to {tmp_path / 'hub/models--someone--net'}, and repeat the command" in str(refusal.value)


def test_pickles_of_the_hub_are_not_loaded(hub: Server) -> None:
    files = repository(timm_network())
    hub.serve_repository(
        REPOSITORY, {"config.json": files["config.json"], "pytorch_model.bin": files["model.safetensors"]}
    )
    with pytest.raises(WeightsError, match=r"has no model\.safetensors: .*pickles.*can hold code"):
        load_pretrained(f"hf:{REPOSITORY}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"{", "does not describe a network of timm"),
        (b'{"model_type": "bert"}', "architecture is missing"),
        (timm_config("resnet18"), r"ResNet: expected one of"),
        (timm_config("no_such_network"), "no_such_network"),
        (timm_config(TIMM_NETWORK, model_args={"act_layer": "gelu"}), r"model_args \['act_layer'\]"),
        (timm_config(TIMM_NETWORK, pretrained_cfg={"input_size": [3, 224, 224]}), r"pretrained_cfg\.mean is missing"),
    ],
)
def test_a_repository_of_another_network_is_refused(config: bytes, message: str, hub: Server) -> None:
    hub.serve_repository(REPOSITORY, repository(timm_network()) | {"config.json": config})
    with pytest.raises(WeightsError, match=f"weights hf:{REPOSITORY}: .*{message}"):
        load_pretrained(f"hf:{REPOSITORY}")
    assert not any(path.endswith("safetensors") for path in hub.asked)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_the_users_own_is_loaded_into_the_network_that_its_name_states(suffix: str, tmp_path: Path) -> None:
    module = models.mobilenet_v3_small(num_classes=4).eval()
    file = tmp_path / f"flowers.{suffix}"
    save = safetensors.torch.save_file if suffix == "safetensors" else torch.save
    save(module.state_dict(), file)
    network = load_pretrained(f"torchvision:{NETWORK}@{file}")
    assert same_logits(network.module, module)
    assert (network.facts.num_classes, network.facts.hash_from) == (4, "file")
    assert str(tmp_path) not in network.facts.origin
    with pytest.raises(WeightsError, match=r"do not fit the network: they lack .* also have"):
        load_pretrained(f"torchvision:mobilenet_v2@{file}")


def test_a_checkpoint_without_counts_of_batches_is_loaded(tmp_path: Path) -> None:
    """As torchvision's of 2018."""
    module = source_network("mnasnet1_0")
    state = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "net.pth")
    assert same_logits(load_pretrained(f"torchvision:mnasnet1_0@{tmp_path / 'net.pth'}").module, module)


@pytest.mark.parametrize(
    ("name", "space"),
    [("efficientnet-lite0", "efficientnet-lite0"), ("torchvision:mobilenet_v2@IMAGENET1K_V1", "mobilenet_v2")],
)
def test_a_space_takes_the_same_names_without_a_download(name: str, space: str, server: Server) -> None:
    if name.startswith("efficientnet"):
        pytest.importorskip("efficientnet_lite_pytorch")
    assert edgenas.space_from(name).name == space
    assert not server.asked


def test_a_file_without_a_published_digest_is_pinned_when_it_is_first_used(tmp_path: Path) -> None:
    file, pin = tmp_path / "net.safetensors", tmp_path / "net.safetensors.sha256"
    file.write_bytes(b"weights")
    digest = check_pinned(file, "get it again")
    # As sha256sum writes it.
    assert pin.read_text() == f"{hashlib.sha256(b'weights').hexdigest()}  net.safetensors\n"
    assert check_pinned(file, "get it again") == digest
    file.write_bytes(b"other weights")
    with pytest.raises(WeightsError, match=rf"but {digest} when it was first used: get it again; if you trust"):
        check_pinned(file, "get it again")
    pin.write_bytes(b"\xff\xfe")
    with pytest.raises(WeightsError, match="holds no SHA-256"):
        check_pinned(file, "get it again")


def test_without_symbolic_links_a_file_of_the_hub_is_pinned(hub: Server, tmp_path: Path) -> None:
    """As in the cache of Windows, where the name of no blob states the digest."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    sha256, stated = check_hub_file(tmp_path / "model.safetensors", REPOSITORY)
    assert (sha256, stated) == (hashlib.sha256(b"weights").hexdigest(), False)
    assert (tmp_path / "model.safetensors.sha256").exists()
