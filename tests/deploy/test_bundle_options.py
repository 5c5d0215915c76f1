"""Files whose batch is open, and files that normalise their pixels themselves, fp32 and int8."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise
from edgenas.deploy.onnx.batch_invariance import check_batches
from edgenas.deploy.onnx.embedded_preprocessing import device_inputs, embed_preprocessing
from edgenas.deploy.onnx.exporter import export_onnx, model_metadata
from edgenas.deploy.onnx.parity import check_parity
from edgenas.deploy.onnx.scoring import onnx_logits
from edgenas.errors import ParityError, UserError
from edgenas.space.loading import load_space
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.materialise import materialise

SPACE = load_space("digits-24")
ARCH = dataclasses.replace(SPACE.smallest, resolution=16)
PREPROCESS = Preprocess(16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def images():
    """Neither square nor of the network's size."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (24, 3, 20, 28), np.uint8))


@pytest.fixture(scope="module")
def subnet(images):
    torch.manual_seed(0)
    made = materialise(SuperNet(SPACE.with_classes(10)), ARCH, PREPROCESS(images))
    torch.nn.init.normal_(made.blocks["head"].classifier.weight, std=0.2)
    return made


@pytest.fixture(scope="module")
def files(subnet, images, tmp_path_factory):
    """By precision: the plain file with an open batch, and that one with its preprocessing inside."""
    folder = tmp_path_factory.mktemp("exports")
    plain = {"fp32": export_onnx(subnet, folder / "fp32.onnx", dynamic_batch=True)}
    recipe = QuantiserRecipe(float_layers="ends")
    inputs = device_inputs(images, PREPROCESS, embedded=False)
    plain["int8"] = quantise(plain["fp32"], folder / "int8.onnx", inputs, recipe, images=16)
    return {
        name: (path, embed_preprocessing(path, folder / f"{name}-embedded.onnx", PREPROCESS))
        for name, path in plain.items()
    }


def ports(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [(port.name, port.type, port.shape) for port in (*session.get_inputs(), *session.get_outputs())]


def test_an_open_batch_is_open_at_both_ends_and_changes_nothing_else(subnet, files, tmp_path):
    plain, embedded = files["fp32"]
    logits = ("logits", "tensor(float)", ["batch", 10])
    assert ports(plain) == [("pixels", "tensor(float)", ["batch", 3, 16, 16]), logits]
    assert ports(embedded) == [("image", "tensor(uint8)", ["batch", 16, 16, 3]), logits]
    static = export_onnx(subnet, tmp_path / "static.onnx")
    assert ports(static)[0][2] == [1, 3, 16, 16]
    nodes = [[node.name for node in onnx.load(path).graph.node] for path in (plain, static)]
    assert nodes[0] == nodes[1]


def test_files_of_all_options_pass_the_parity_check(subnet, files, images):
    for path in files["fp32"]:
        assert check_parity(subnet, path, images, PREPROCESS).max_abs_difference < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_seven_images_at_once_get_the_logits_of_single_ones(files, images, precision):
    for path in files[precision]:
        assert check_batches(path, images, PREPROCESS) <= 1e-3


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_preprocessing_inside_gives_the_logits_of_preprocessing_outside(files, images, precision):
    plain, embedded = (onnx_logits(path, images, PREPROCESS) for path in files[precision])
    # In int8 a value that rounds to the other side moves logits by a step.
    assert (plain - embedded).abs().max() < {"fp32": 1e-4, "int8": 0.1}[precision]
    assert (plain - embedded).abs().mean() < 1e-3
    before, after = map(model_metadata, files[precision])
    assert after == {**before, "preprocessing_included": "true"}


def test_files_that_normalise_themselves_are_given_the_middle_of_images_too(files, images):
    cropped = dataclasses.replace(PREPROCESS, crop=0.8)
    plain, embedded = (onnx_logits(path, images, cropped) for path in files["fp32"])
    assert (plain - embedded).abs().max() < 1e-4
    assert (plain - onnx_logits(files["fp32"][0], images, PREPROCESS)).abs().max() > 1e-3


def test_files_that_mix_up_a_batch_are_refused(files, images, tmp_path):
    """All logits of a batch are scaled by its greatest."""
    model = onnx.load(files["fp32"][0])
    model.graph.node[-1].output[0] = "own"
    model.graph.node.extend(
        [
            onnx.helper.make_node("ReduceMax", ["own"], ["greatest"], "head/greatest", keepdims=0),
            onnx.helper.make_node("Div", ["own", "greatest"], ["logits"], "head/scaled"),
        ]
    )
    onnx.save(model, tmp_path / "mixed.onnx")
    with pytest.raises(ParityError, match="7 images at a time get different logits"):
        check_batches(tmp_path / "mixed.onnx", images, PREPROCESS)


def test_preprocessing_that_diverges_is_refused(subnet, files, images, tmp_path):
    other = embed_preprocessing(files["fp32"][0], tmp_path / "x.onnx", Preprocess(16))
    with pytest.raises(ParityError, match="no single block diverges"):
        check_parity(subnet, other, images, PREPROCESS)


def test_preprocessing_goes_in_once_and_only_into_our_files(files, tmp_path):
    with pytest.raises(UserError, match="without preprocessing"):
        embed_preprocessing(files["fp32"][1], tmp_path / "twice.onnx", PREPROCESS)
    model = onnx.load(files["fp32"][0])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match="edgenas' exporter"):
        embed_preprocessing(tmp_path / "foreign.onnx", tmp_path / "out.onnx", PREPROCESS)
