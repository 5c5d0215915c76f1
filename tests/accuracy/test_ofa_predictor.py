"""Once-for-all's accuracy predictor."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from damaging import call

from edgenas.accuracy.ofa_predictor import INPUTS, OFAAccuracy, PredictorFacts
from edgenas.errors import DataError, SpaceError
from edgenas.files import write_bytes
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa

SPACE = load_space("ofa-mbv3-w1.2")
FACTS = PredictorFacts(space=SPACE.structure_id)
SETTINGS = {"ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 3, 2], "r": 192}
PUBLISHED = Path("ofa") / "imagenet_top1_predictor_w1.2.pth"


def read(path: Path) -> OFAAccuracy:
    return OFAAccuracy.read_published(path, FACTS)


def state(*widths: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    return {f"{n}.{k}": v for n, layer in enumerate(layers) for k, v in layer.state_dict().items()}


@pytest.mark.slow
def test_the_published_predictor_gives_the_published_top1(shared_data: Path) -> None:
    predictor = read(shared_data / PUBLISHED)
    assert 100 * predictor.top1([arch_from_ofa(SPACE, SETTINGS)])[0] == pytest.approx(79.94157, abs=1e-5)


@pytest.mark.slow
def test_the_command_imports_the_published_predictor(shared_data: Path, tmp_path: Path) -> None:
    done = call("import", "ofa-accuracy", str(shared_data / PUBLISHED), "--out", "p.safetensors", cwd=tmp_path)
    assert done.code == 0, done.stderr
    predictor = OFAAccuracy.load(tmp_path / "p.safetensors")
    assert 100 * predictor.top1([arch_from_ofa(SPACE, SETTINGS)])[0] == pytest.approx(79.94157, abs=1e-5)
    digest = hashlib.sha256((shared_data / PUBLISHED).read_bytes()).hexdigest()
    assert predictor.facts == PredictorFacts(space=SPACE.structure_id, source_sha256=digest)


def test_the_imported_file_computes_the_same(tmp_path: Path) -> None:
    torch.save(state(INPUTS, 8, 1), tmp_path / "p.pth")
    done = call("import", "ofa-accuracy", "p.pth", "--json", cwd=tmp_path)
    assert done.code == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["file"], result["space"], result["num_classes"]) == (
        "ofa-accuracy.safetensors",
        SPACE.structure_id,
        1000,
    )
    archs = [SPACE.smallest, arch_from_ofa(SPACE, SETTINGS)]
    imported = OFAAccuracy.load(tmp_path / "ofa-accuracy.safetensors")
    np.testing.assert_array_equal(imported.top1(archs), read(tmp_path / "p.pth").top1(archs))
    again = call("import", "ofa-accuracy", "p.pth", cwd=tmp_path)
    assert (again.code, "exists: choose another --out" in again.stderr) == (2, True)


def test_files_without_an_imported_predictor_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save

    weights = {"0.weight": np.zeros((1, INPUTS), dtype=np.float32), "0.bias": np.zeros(1, dtype=np.float32)}
    header = {"schema_version": 1, "kind": "ofa-accuracy", "space": "a"}
    files = {
        "none": b"x",
        "headless": save(weights),
        "other kind": save(weights, {"edgenas": json.dumps(header | {"kind": "other"})}),
        "no space": save(weights, {"edgenas": json.dumps({"schema_version": 1, "kind": "ofa-accuracy"})}),
        "no bias": save({"0.weight": weights["0.weight"]}, {"edgenas": json.dumps(header)}),
        "a list": save(weights, {"edgenas": "[]"}),
        "newer": save(weights, {"edgenas": json.dumps(header | {"schema_version": 99})}),
    }
    for name, data in files.items():
        write_bytes(tmp_path / name, data)
        with pytest.raises(DataError, match=r"ofa-accuracy|upgrade|expected layers"):
            OFAAccuracy.load(tmp_path / name)
    with pytest.raises(DataError, match="no accuracy predictor"):
        OFAAccuracy.load(tmp_path / "missing")


def test_the_predictor_computes_what_torch_computes(tmp_path: Path) -> None:
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
    assert read(tmp_path / "p.pth").top1([SPACE.smallest])[0] == pytest.approx(expected, rel=1e-5)
    assert read(tmp_path / "p.pth").top1([]).shape == (0,)


@pytest.mark.parametrize("widths", [(12, 1), (INPUTS, 2), (INPUTS,)])
def test_other_networks_are_refused(tmp_path: Path, widths: tuple[int, ...]) -> None:
    torch.save(state(*widths), tmp_path / "p.pth")
    with pytest.raises(DataError, match="expected layers from 128 inputs to one output"):
        read(tmp_path / "p.pth")


def test_files_that_are_no_state_dict_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.pth").write_bytes(b"no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": 1}, tmp_path / "number.pth")
    for name in ("p.pth", "list.pth", "number.pth", "missing.pth"):
        with pytest.raises(DataError, match="cannot be read as an accuracy predictor"):
            read(tmp_path / name)


def test_archs_of_other_spaces_are_refused() -> None:
    predictor = OFAAccuracy(((np.zeros((1, INPUTS), dtype=np.float32), np.zeros(1, dtype=np.float32)),), FACTS)
    for arch in (load_space("mobile-32").smallest, SPACE.parse(str(SPACE.smallest).replace("r128", "r132"))):
        with pytest.raises(SpaceError, match="expected one of the once-for-all"):
            predictor.top1([arch])
