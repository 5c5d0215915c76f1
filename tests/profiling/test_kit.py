"""Kits and results: models that share weights stay what they were; what comes back from anywhere is looked at."""

from __future__ import annotations

import dataclasses
import io
import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import ConfigError, EdgenasError, MeasurementError, Packed, UserError
from edgenas.latency.device import Device, probe
from edgenas.profiling.kit import WEIGHTS, ExpectedRows, kit_name, share_weights, write_kit
from edgenas.profiling.transport import Job
from edgenas.profiling.transports.offline import OfflineTransport, read_results
from edgenas.space.loading import load_space

SPACE = load_space(Path(__file__).parents[1] / "latency" / "small_space.yaml")
HERE = probe()


def make_model(path: Path, nodes: int) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("t0", f"t{nodes}")]
    adds = [helper.make_node("Add", [f"t{n}", "w"], [f"t{n + 1}"]) for n in range(nodes)]
    weight = numpy_helper.from_array(np.ones(64, np.float32), "w")
    graph = helper.make_graph(adds, "tiny", [values[0]], [values[1]], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole networks and a block, of seeded weights, as they are timed."""
    folder = tmp_path_factory.mktemp("networks")
    # Of the largest at both ends of the resolutions: equal weights, as networks of one space often have.
    low = dataclasses.replace(SPACE.largest, resolution=SPACE.resolution[0])
    archs = [SPACE.smallest, SPACE.largest, low]
    specs = {arch.id: SPACE.with_classes(10).unroll(arch) for arch in archs} | {
        "block": SPACE.with_classes(10).unroll(SPACE.largest)[1:2]
    }
    return {str(number): path for number, path in enumerate(export_for_timing(specs, folder).values())}


def optimised(model: Path, folder: Path) -> list[tuple]:
    """Operators in their order, with attributes and names, as the runtime has them after optimising."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimised.onnx").graph
    return [
        (node.op_type, tuple(node.input), tuple(node.output), sorted(a.SerializeToString() for a in node.attribute))
        for node in graph.node
    ]


def computed(model: Path) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {node.name: rng.standard_normal(node.shape).astype(np.float32) for node in session.get_inputs()}
    return session.run(None, feeds)


def test_models_that_share_weights_are_optimised_to_the_same_and_compute_the_same_bits(networks, tmp_path) -> None:
    share_weights({f"{name}.onnx": path for name, path in networks.items()}, tmp_path)
    for name, path in networks.items():
        shared = tmp_path / f"{name}.onnx"
        assert optimised(shared, tmp_path) == optimised(path, tmp_path)
        for ours, theirs in zip(computed(shared), computed(path), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_weights_stay_initialisers_and_equal_ones_are_stored_once(networks, tmp_path) -> None:
    share_weights({f"{name}.onnx": path for name, path in networks.items()}, tmp_path)
    names = {}
    for name, path in networks.items():
        ours, theirs = (onnx.load(model).graph for model in (tmp_path / f"{name}.onnx", path))
        assert [(t.name, t.data_type, tuple(t.dims)) for t in ours.initializer] == [
            (t.name, t.data_type, tuple(t.dims)) for t in theirs.initializer
        ]
        assert [node.op_type for node in ours.node] == [node.op_type for node in theirs.node]
        names |= {numpy_helper.to_array(t).tobytes(): t.name for t in theirs.initializer}
    distinct = sum(-(-len(data) // 64) * 64 for data in names if len(data) >= 256)
    assert 0 < (tmp_path / WEIGHTS).stat().st_size <= distinct
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 0.6 * sum(
        path.stat().st_size for path in networks.values()
    )


def jobs(folder: Path) -> list[Job]:
    models = tuple(make_model(folder / f"{number}.onnx", number) for number in (1, 2, 3))
    return [Job(models, 2, seed) for seed in (0, 1)]


def pack(folder: Path, asked: list[Job], device: Device = HERE, results: Path | None = None) -> Path:
    """Unpack the kit that is packed for the jobs."""
    with pytest.raises(Packed, match=rf"about .* minutes on {device.name}\. .*--unpack"):
        list(OfflineTransport(folder / "kit.zip", results).time(asked, device))
    with zipfile.ZipFile(folder / "kit.zip") as archive:
        archive.extractall(folder / "kit")
    return folder / "kit"


def run_kit(kit: Path) -> Path:
    done = subprocess.run([sys.executable, "bench.py"], cwd=kit, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return kit / "results.zip"


def test_results_of_a_packed_kit_are_unpacked(tmp_path) -> None:
    asked = jobs(tmp_path)
    kit = pack(tmp_path, asked)
    assert {path.name for path in kit.iterdir()} == {"README.txt", "run.sh", "bench.py", "jobs.json", "models"}
    assert len((kit / "README.txt").read_text().splitlines()) == 5
    transport = OfflineTransport(results=run_kit(kit))
    timed = list(transport.time(asked, HERE))
    assert {(one.job, one.model) for one in timed} == {(job, model) for job in (0, 1) for model in (0, 1, 2)}
    assert all(one.row["latency_ms"]["p50"] > 0 for one in timed)
    assert transport.runtime_version("") == ort.__version__
    with pytest.raises(ConfigError, match="device pi4 has cpu"):
        list(transport.time(asked, HERE.model_copy(update={"name": "pi4", "cpu": "other"})))


def test_only_missing_results_are_packed_again(tmp_path) -> None:
    asked = jobs(tmp_path)
    results = run_kit(pack(tmp_path, asked[:1]))
    more = make_model(tmp_path / "4.onnx", 4)
    everything = [Job((*job.models, more), job.rounds, job.seed) for job in asked]
    with pytest.raises(MeasurementError, match="lacks 5 of the 8 rows"):
        list(OfflineTransport(results=results).time(everything, HERE))
    (tmp_path / "again").mkdir()
    kit = pack(tmp_path / "again", everything, results=results)
    packed = json.loads((kit / "jobs.json").read_text())
    assert [len(job["models"]) for job in packed["jobs"]] == [1, 4]
    assert packed["jobs"][0]["models"] == [f"models/{kit_name(more)}"]


def test_with_neither_kit_nor_results_the_error_states_the_option(tmp_path) -> None:
    with pytest.raises(MeasurementError, match=r"has to time 6 rows: pack them with --pack kit\.zip"):
        list(OfflineTransport().time(jobs(tmp_path), HERE))


PROBE = {
    "cpu": HERE.cpu,
    "cores": HERE.cores,
    "machine": "m",
    "system": "s",
    "memory_bytes": 1,
    "cpu_flags": list(HERE.isa),
    "runtime_version": "1.0",
}


def results_zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries:
            archive.writestr(name, text)
    return path


def _link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


GOOD = ("probe.json", json.dumps(PROBE))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "entries",
    [
        [],
        [GOOD],
        [GOOD, ("rows.jsonl", ""), ("more", "")],
        [GOOD, ("../rows.jsonl", "")],
        [GOOD, ("/rows.jsonl", "")],
        [GOOD, (_link("rows.jsonl"), "/etc/passwd")],
        [GOOD, ("rows.jsonl", ""), ("rows.jsonl", "")],
        [GOOD, GOOD],
        [("probe.json", "[1]"), ("rows.jsonl", "")],
        [("probe.json", "x"), ("rows.jsonl", "")],
        [("probe.json", "{}" + " " * 2**21), ("rows.jsonl", "")],
    ],
)
def test_results_of_any_other_form_are_refused(tmp_path, entries) -> None:
    with pytest.raises(UserError, match="bring"):
        read_results(results_zip(tmp_path / "results.zip", *entries))
    assert [path.name for path in tmp_path.iterdir()] == ["results.zip"]


def test_results_that_are_no_zip_or_torn_are_refused(tmp_path) -> None:
    path = tmp_path / "results.zip"
    with pytest.raises(UserError, match="does not exist"):
        read_results(path)
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"no results\.zip"):
        read_results(path)
    whole = results_zip(path, GOOD, ("rows.jsonl", "{}\n" * 1000)).read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError):
            read_results(path)
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_results(path)
        except EdgenasError:
            continue


def test_rows_that_nobody_asked_for_are_passed_over_and_false_ones_refused(tmp_path) -> None:
    asked = jobs(tmp_path)
    name = kit_name(asked[0].models[0])
    info = {"model": name, "seed": 0, "rounds": 2}
    strange = [{"benchmark_info": info | {"seed": 9}}, {"benchmark_info": info | {"model": "x"}}]
    text = "\n".join(map(json.dumps, strange))
    results = results_zip(tmp_path / "results.zip", GOOD, ("rows.jsonl", text))
    with pytest.raises(MeasurementError, match="lacks 6 of the 6 rows"):
        list(OfflineTransport(results=results).time(asked, HERE))
    false = json.dumps({"schema_version": 1, "benchmark_info": info | {"threads": 1}, "latency_ms": {}})
    results = results_zip(tmp_path / "results.zip", GOOD, ("rows.jsonl", false))
    with pytest.raises(MeasurementError, match="provider is nothing, expected 'cpu'"):
        list(OfflineTransport(results=results).time(asked, HERE))


def test_a_model_named_twice_in_a_job_gets_its_row_in_both_places(tmp_path) -> None:
    one = make_model(tmp_path / "1.onnx", 1)
    twin = tmp_path / "twin.onnx"
    twin.write_bytes(one.read_bytes())
    expected = ExpectedRows([Job((one, twin), 1, 0)], HERE.run)
    error = {
        "schema_version": 1,
        "benchmark_info": {"model": kit_name(one), "seed": 0, "rounds": 1},
        "error": "\x1b[2J",
    }
    assert [(timed.job, timed.model) for timed in expected.accept(error)] == [(0, 0), (0, 1)]
    assert expected.accept(error) == []
    assert expected.missing() == []


def test_a_kit_for_the_connection_holds_no_more_than_the_timer_needs(tmp_path) -> None:
    stream = io.BytesIO()
    write_kit(stream, ExpectedRows(jobs(tmp_path), HERE.run), HERE, readme=False)
    names = zipfile.ZipFile(stream).namelist()
    assert sorted(name for name in names if not name.startswith("models/")) == ["bench.py", "jobs.json"]
    assert len(names) == len(set(names)) == 2 + 3 + 1
