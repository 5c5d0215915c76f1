import dataclasses
import itertools
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from spaces import EVERY_SPACE

from edgenas.deploy.int8.int8_share import int8_share
from edgenas.deploy.int8.integer_graph import drop_gates, narrow_ranges, to_integer_graph
from edgenas.deploy.int8.quantiser_recipe import RECIPES, QuantiserRecipe, parse_recipe
from edgenas.deploy.int8.quantize import calibrate, choose_recipe, quantise, quantise_each, quantise_for_timing
from edgenas.deploy.onnx.block_graphs import IR_VERSION, OPSET
from edgenas.deploy.onnx.exporter import export_for_timing, export_onnx, model_metadata
from edgenas.deploy.onnx.runtime import EXACT_INT8, create_session
from edgenas.errors import DataError, UncalibratedError, UserError
from edgenas.latency.device import probe
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.supernet.supernet import SuperNet
from edgenas.training.materialise import materialise

SPACE = load_space("digits-24")
ARCH = SPACE.sample(np.random.default_rng(1))
SPECS = SPACE.with_classes(10).unroll(ARCH)
MINMAX = QuantiserRecipe()
ENDS = QuantiserRecipe(float_layers="ends")


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return rng.standard_normal((24, 3, ARCH.resolution, ARCH.resolution)).astype(np.float32)


@pytest.fixture(scope="module")
def model(inputs, tmp_path_factory):
    torch.manual_seed(0)
    subnet = materialise(SuperNet(SPACE.with_classes(10)), ARCH, torch.from_numpy(inputs))
    torch.nn.init.normal_(subnet.blocks["head"].classifier.weight, std=0.2)
    return export_onnx(subnet, tmp_path_factory.mktemp("fp32") / "model.onnx")


@pytest.fixture(scope="module")
def files(model, inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    return quantise_each(model, {r: folder / f"{r}.onnx" for r in (MINMAX, ENDS)}, inputs, images=16)


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """The fp32 files of the network and of each of its blocks, with random weights."""
    networks = {"network": SPECS, **{spec.name: [spec] for spec in SPECS}}
    return export_for_timing(networks, tmp_path_factory.mktemp("timed"))


def session(model, traces=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if traces is not None:
        options.optimized_model_filepath = str(traces)
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run(model, inputs, exact_int8=True):
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    opened = create_session(source, exact_int8=exact_int8)
    name = opened.get_inputs()[0].name
    return np.concatenate([opened.run(None, {name: value[None]})[0] for value in inputs])


def executed(path, tmp_path):
    """Operators of the graph that the runtime executes, in order."""
    session(path, tmp_path / "executed.onnx")
    return [node.op_type for node in onnx.load(tmp_path / "executed.onnx").graph.node]


def graph_of(nodes, constants, source, target):
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "test", [source], [target], tensors)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    made = onnx.helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    onnx.checker.check_model(made, full_check=True)
    return made


# ---------------------------------------------------------------- the integer form


def test_the_integer_form_computes_the_same_logits_with_operators_that_have_int8_kernels(model, inputs):
    before = onnx.load(model)
    form = to_integer_graph(before)
    np.testing.assert_allclose(run(form, inputs), run(model, inputs), atol=1e-5)
    assert before == onnx.load(model)
    operators = Counter(node.op_type for node in form.graph.node)
    assert not {"HardSwish", "ReduceMean"} & set(operators)
    assert operators["Conv"] == Counter(node.op_type for node in before.graph.node)["Conv"]
    places = [node.name.split("/")[0] for node in form.graph.node]
    assert [place for place, _ in itertools.groupby(places)] == [spec.name for spec in SPECS]


def test_hard_swish_and_hard_sigmoid_keep_their_values_beyond_both_ends():
    values = np.linspace(-7, 7, 1001, dtype=np.float32).reshape(1, 1, 1, 1001)
    port = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, values.shape)
    target = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, values.shape)
    gate = np.clip(values / 6 + 0.5, 0, 1)
    convolution = onnx.helper.make_node("Conv", ["x", "w", "b"], ["z"], "a/Conv")
    one, none = np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32)
    cases = {
        "swish": (onnx.helper.make_node("HardSwish", ["x"], ["y"], "a/swish"), values * gate),
        "gate": (onnx.helper.make_node("HardSigmoid", ["x"], ["y"], "a/gate", alpha=1 / 6), gate),
        "folded": (onnx.helper.make_node("HardSigmoid", ["z"], ["y"], "a/gate", alpha=1 / 6), gate),
    }
    for name, (node, expected) in cases.items():
        nodes = [convolution, node] if name == "folded" else [node]
        form = to_integer_graph(graph_of(nodes, {"w": one, "b": none} if name == "folded" else {}, port, target))
        assert Counter(n.op_type for n in form.graph.node)["Add"] == (name != "folded")
        np.testing.assert_allclose(run(form, values), expected, atol=1e-6)


def test_a_dropped_gate_gives_every_quantised_value_what_the_gate_gave():
    constants = {
        "six": np.array(6 / 255, np.float32),
        "one": np.array(1 / 255, np.float32),
        "zero": np.array(0, np.uint8),
    }
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["x", "six", "zero"], ["a"], "p/in"),
        onnx.helper.make_node("HardSigmoid", ["a"], ["b"], "p/gate", alpha=1 / 6, beta=0.0),
        onnx.helper.make_node("QuantizeLinear", ["b", "one", "zero"], ["c"], "p/quantised"),
        onnx.helper.make_node("DequantizeLinear", ["c", "one", "zero"], ["y"], "p/out"),
    ]
    source = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, (1, 256))
    target = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 256))
    gated = graph_of(nodes, constants, source, target)
    dropped = onnx.ModelProto()
    dropped.CopyFrom(gated)
    drop_gates(dropped)
    assert [node.op_type for node in dropped.graph.node] == ["DequantizeLinear"]
    values = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(run(dropped, values), run(gated, values))


def test_ranges_before_hard_swish_end_where_it_is_zero(model, inputs):
    graph = to_integer_graph(onnx.load(model))
    ranges = calibrate(graph, 10 * inputs, "minmax")
    narrowed = narrow_ranges(ranges, graph)
    assert narrowed.keys() == ranges.keys()
    changed = {name for name in ranges if narrowed[name] != ranges[name]}
    shifted = {node.output[0] for node in graph.graph.node if node.op_type == "Add" and "/shifted" in node.output[0]}
    entering = {node.input[0] for node in graph.graph.node if node.output[0] in shifted}
    assert any(ranges[name][0] < -3 for name in entering)
    assert all(narrowed[name] == (max(ranges[name][0], -3), ranges[name][1]) for name in entering)
    gates = [node for node in graph.graph.node if node.op_type == "HardSigmoid"]
    assert changed <= entering | {node.input[0] for node in gates} | {node.output[0] for node in gates}
    assert {(narrowed[node.input[0]], narrowed[node.output[0]]) for node in gates} == {((0.0, 6.0), (0.0, 1.0))}


def test_percentile_ranges_leave_outliers_out_and_min_max_ranges_hold_every_value(timed):
    form = to_integer_graph(onnx.load(timed["stem"]))
    rng = np.random.default_rng(0)
    wild = rng.standard_normal((160, 3, ARCH.resolution, ARCH.resolution)).astype(np.float32)
    wild[3, 0, 0, 0], wild[5, 1, 2, 2] = 500, -400
    assert calibrate(form, wild, "minmax")["pixels"] == (-400, 500)
    low, high = calibrate(form, wild, "percentile")["pixels"]
    assert -10 < low < 0 < high < 10
    low, high = calibrate(form, wild, "entropy")["pixels"]
    assert -400 <= low < 0 < high < 500


# ---------------------------------------------------------------- quantised files


def test_the_int8_file_keeps_ports_names_and_metadata_in_one_file_of_the_same_bytes_each_time(
    model, files, inputs, tmp_path, monkeypatch, capfd
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    written = quantise(model, tmp_path / "model.onnx", iter(inputs), MINMAX, images=16)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["empty", "model.onnx"]
    assert {path.name for path in model.parent.iterdir()} == {"model.onnx"}
    assert written.read_bytes() == files[MINMAX].read_bytes()
    assert written.stat().st_size < model.stat().st_size
    before, after = onnx.load(model), onnx.load(written)
    assert list(before.graph.input) == list(after.graph.input)
    assert list(before.graph.output) == list(after.graph.output)
    places = [place for place, _ in itertools.groupby(node.name.split("/")[0] for node in after.graph.node)]
    assert places == [spec.name for spec in SPECS]
    names = [node.name for node in after.graph.node]
    assert len(set(names)) == len(names)
    metadata = model_metadata(written)
    assert model_metadata(model).items() < metadata.items()
    assert metadata["precision"] == "int8"
    assert metadata["quantiser_recipe"] == MINMAX.id
    assert metadata["quantiser_images"] == "16"
    assert len(metadata["source_sha256"]) == len(metadata["quantiser_images_sha256"]) == 64


@pytest.mark.parametrize("recipe", [MINMAX, ENDS], ids=str)
def test_int8_logits_are_near_the_fp32_ones(model, files, inputs, recipe):
    expected, got = run(model, inputs), run(files[recipe], inputs)
    assert 0 < np.abs(got - expected).mean() < 0.1 * expected.std()
    assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.75


def test_ranges_that_do_not_fit_are_seen_in_the_logits(model, files, inputs, tmp_path):
    """What the test above calls near is not so wide that anything passes."""
    badly = quantise(model, tmp_path / "bad.onnx", 0.01 * inputs, MINMAX, images=16)
    expected = run(model, inputs)
    assert np.abs(run(badly, inputs) - expected).mean() > 0.5 * expected.std()


def test_every_mac_is_in_int8_but_those_that_a_recipe_leaves_in_fp32(model, files):
    assert int8_share(model).macs == 0
    whole = int8_share(files[MINMAX])
    assert whole.macs == 1
    assert dict(whole.float_operators) == {}
    stem, classifier = SPECS[0].convs()[0], SPECS[-1].convs()[-1]
    macs = sum(c.out_channels * c.in_channels * c.kernel**2 * c.out_size**2 for c in (stem, classifier))
    ends = int8_share(files[ENDS])
    assert ends.macs == pytest.approx(1 - macs / cost(SPECS).macs)
    assert dict(ends.float_operators) == {"Conv": 1, "Gemm": 1}


def greatest_sum(weight):
    """An int8 convolution of eight inputs of the greatest value by weights of one value, its output not rounded."""
    scale, none = np.array(1 / 255, np.float32), np.array(0, np.uint8)
    constants = {"scale": scale, "zero": none, "weight": np.full((16, 8, 1, 1), weight, np.int8)}
    constants |= {"steps": np.full(16, 1 / 127, np.float32), "zeros": np.zeros(16, np.int8)}
    constants |= {"out_scale": np.array(16 / 255, np.float32)}
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "a/q"),
        onnx.helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "a/d"),
        onnx.helper.make_node("DequantizeLinear", ["weight", "steps", "zeros"], ["w"], "a/w", axis=0),
        onnx.helper.make_node("Conv", ["d", "w"], ["c"], "a/Conv"),
        onnx.helper.make_node("QuantizeLinear", ["c", "out_scale", "zero"], ["p"], "a/p"),
        onnx.helper.make_node("DequantizeLinear", ["p", "out_scale", "zero"], ["y"], "a/y"),
    ]
    source = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 8, 6, 6))
    target = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 16, 6, 6))
    return graph_of(nodes, constants, source, target)


@pytest.mark.parametrize("weight", [127, -127, 64, -64])
def test_only_eight_bit_weights_saturate_and_only_where_the_device_says_so(weight):
    """What this machine's kernels do is what `Device.int8_saturates` says of its flags."""
    inputs = np.ones((1, 8, 6, 6), np.float32)
    model = greatest_sum(weight)
    expected = np.full((1, 16, 6, 6), max(0.0, 8 * weight / 127), np.float32)
    step = 16 / 255
    np.testing.assert_allclose(run(model, inputs), expected, atol=step)
    wrong = np.abs(run(model, inputs, exact_int8=False) - expected).max() > step
    assert wrong == (weight == 127 and probe().int8_saturates)


def test_sessions_for_scoring_ask_for_exact_int8_and_timed_ones_do_not(files):
    for exact in (True, False):
        options = create_session(files[MINMAX], exact_int8=exact).get_session_options()
        assert options.get_session_config_entry(EXACT_INT8) == str(int(exact))


@pytest.mark.slow
@pytest.mark.parametrize("preset", EVERY_SPACE)
def test_networks_of_every_preset_leave_no_operator_in_fp32(preset, tmp_path):
    space, rng = EVERY_SPACE[preset], np.random.default_rng(0)
    archs = [space.smallest, space.sample(rng)]
    networks = {arch.id: space.with_classes(100).unroll(arch) for arch in archs}
    for path in export_for_timing(networks, tmp_path).values():
        share = int8_share(quantise_for_timing(path, path, MINMAX))
        assert (share.macs, dict(share.float_operators)) == (1, {})


def test_too_few_or_unfit_images_are_refused(model, inputs, tmp_path):
    out = tmp_path / "int8.onnx"
    with pytest.raises(DataError, match="expected 25 calibration images, got 24"):
        quantise(model, out, inputs, MINMAX, images=25)
    with pytest.raises(DataError, match="at least 1"):
        quantise(model, out, inputs, MINMAX, images=0)
    for unfit in (inputs[:, :1], inputs.astype(np.float64), np.full_like(inputs, np.nan)):
        with pytest.raises(DataError, match="expected finite float32 inputs"):
            quantise(model, out, unfit, MINMAX, images=4)
    assert not out.exists()


def test_only_deployable_fp32_files_of_ours_are_quantised(files, timed, inputs, tmp_path):
    with pytest.raises(UncalibratedError, match="for timing"):
        quantise(timed["network"], tmp_path / "int8.onnx", inputs, MINMAX, images=4)
    with pytest.raises(UserError, match=f"is already int8, of recipe {MINMAX}"):
        quantise(files[MINMAX], tmp_path / "int8.onnx", inputs, ENDS, images=4)
    foreign = onnx.load(timed["network"])
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match="not written by edgenas's exporter"):
        quantise_for_timing(tmp_path / "foreign.onnx", tmp_path / "int8.onnx", MINMAX)


# ---------------------------------------------------------------- for timing


@pytest.mark.parametrize("recipe", [MINMAX, ENDS], ids=str)
def test_int8_blocks_together_execute_the_operators_of_the_int8_network(timed, recipe, tmp_path):
    """A network's latency is predicted from its blocks': they must not quantise or reorder what it does not."""
    out = tmp_path / "int8.onnx"
    found = {name: executed(quantise_for_timing(path, out, recipe), tmp_path) for name, path in timed.items()}
    together = Counter(itertools.chain.from_iterable(found[spec.name] for spec in SPECS))
    network = Counter(found["network"])
    if recipe.float_layers == "ends" and SPECS[1].residual:
        # Its shortcut is not in channels-last memory: the runtime brings the sum there, and back.
        network["Transpose"] -= 2
    assert together == network


def test_int8_blocks_have_uint8_borders_in_channels_last_memory(timed, tmp_path):
    spec = next(spec for spec in SPECS if getattr(spec, "se_channels", 0))
    for recipe in (MINMAX, ENDS):
        shapes = {}
        for name in ("stem", spec.name, "head"):
            opened = session(quantise_for_timing(timed[name], tmp_path / "int8.onnx", recipe))
            ports = [*opened.get_inputs(), *opened.get_outputs()]
            shapes[name] = [(port.type, port.shape) for port in ports]
        size, wide = SPECS[0].out_size, SPECS[-1].in_size
        pixels = ("tensor(float)", [1, 3, ARCH.resolution, ARCH.resolution])
        assert shapes["stem"] == [pixels, ("tensor(uint8)", [1, size, size, SPECS[0].out_channels])]
        assert shapes[spec.name] == [
            ("tensor(uint8)", [1, spec.in_size, spec.in_size, spec.in_channels]),
            ("tensor(uint8)", [1, spec.out_size, spec.out_size, spec.out_channels]),
        ]
        assert shapes["head"] == [
            ("tensor(uint8)", [1, wide, wide, SPECS[-1].in_channels]),
            ("tensor(float)", [1, 10]),
        ]


@pytest.mark.parametrize("recipe", [MINMAX, ENDS], ids=str)
def test_what_is_shipped_in_int8_is_the_graph_that_was_timed(files, timed, recipe, tmp_path):
    out = tmp_path / "int8.onnx"
    # In place, as where blocks by the hundred are quantised.
    out.write_bytes(timed["network"].read_bytes())
    quantise_for_timing(out, out, recipe)
    assert executed(out, tmp_path) == executed(files[recipe], tmp_path)
    metadata = model_metadata(out)
    assert (metadata["for_timing"], metadata["quantiser_recipe"]) == ("true", recipe.id)


# ---------------------------------------------------------------- recipes


def test_recipes_have_one_text_form_each_which_is_read_back():
    every = {dataclasses.replace(recipe, seven_bit_weights=seven) for recipe in RECIPES for seven in (False, True)}
    assert len({recipe.id for recipe in every}) == len(every) == 2 * len(RECIPES)
    assert all(parse_recipe(recipe.id) == recipe for recipe in every)
    assert QuantiserRecipe("entropy", "first", seven_bit_weights=True).id == "qdq-u8s8-pc-entropy-fp32first-w7-v1"
    with pytest.raises(UserError, match="did you mean 'qdq-u8s8-pc-minmax-v1'"):
        parse_recipe("qdq-u8s8-pc-minmax-v0")


def test_the_method_is_no_part_of_what_latency_depends_on(model, inputs, tmp_path):
    one, other = QuantiserRecipe("minmax", "first"), QuantiserRecipe("percentile", "first")
    assert one.latency_id == other.latency_id != ENDS.latency_id
    outs = quantise_each(model, {one: tmp_path / "one.onnx", other: tmp_path / "other.onnx"}, inputs, images=8)
    graphs = [[(node.op_type, list(node.input)) for node in onnx.load(path).graph.node] for path in outs.values()]
    assert graphs[0] == graphs[1]
    assert outs[one].read_bytes() != outs[other].read_bytes()


def test_seven_bit_weights_use_half_the_range(model, inputs, tmp_path):
    recipes = {bits: QuantiserRecipe(seven_bit_weights=bits == 7) for bits in (7, 8)}
    outs = quantise_each(model, {r: tmp_path / f"{bits}.onnx" for bits, r in recipes.items()}, inputs, images=4)
    greatest = {}
    for bits, recipe in recipes.items():
        tensors = onnx.load(outs[recipe]).graph.initializer
        weights = [onnx.numpy_helper.to_array(t) for t in tensors if t.data_type == onnx.TensorProto.INT8]
        greatest[bits] = max(int(np.abs(weight.astype(int)).max()) for weight in weights)
    assert greatest == {7: 64, 8: 127}


def test_the_most_accurate_recipe_is_chosen_and_the_first_among_equals(tmp_path):
    files = {recipe: tmp_path / f"{recipe}.onnx" for recipe in RECIPES[:4]}
    scores = dict(zip(files.values(), [0.90, 0.92, 0.92, 0.91], strict=True))
    choice = choose_recipe(files, scores.__getitem__)
    assert (choice.recipe, choice.path) == (RECIPES[1], files[RECIPES[1]])
    assert dict(choice.top1) == dict(zip(RECIPES[:4], scores.values(), strict=True))
    with pytest.raises(ValueError, match="at least one"):
        choose_recipe({}, scores.__getitem__)
