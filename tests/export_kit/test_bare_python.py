"""The kit where nothing else is: a Python with NumPy and ONNX Runtime alone."""

from __future__ import annotations

import json
import subprocess
import venv
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgenas.errors import Packed
from edgenas.latency.device import probe
from edgenas.profiling.transport import Job
from edgenas.profiling.transports.offline import OfflineTransport


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "numpy", "onnxruntime"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install numpy and onnxruntime here: {done.stderr[-300:]}")
    return python


def make_model(path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [values[0]], [values[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.slow
def test_a_kit_runs_with_numpy_and_the_runtime_alone(bare_python, tmp_path) -> None:
    asked = [Job((make_model(tmp_path / "m.onnx"),), 2, seed) for seed in (0, 1)]
    with pytest.raises(Packed):
        list(OfflineTransport(tmp_path / "kit.zip").time(asked, probe()))
    with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
        archive.extractall(tmp_path / "kit")
    command = [str(bare_python), "-I", "-W", "error", "bench.py"]
    done = subprocess.run(command, cwd=tmp_path / "kit", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(OfflineTransport(results=tmp_path / "kit" / "results.zip").time(asked, probe()))) == 2


@pytest.mark.slow
def test_the_timer_by_itself_runs_with_numpy_and_the_runtime_alone(bare_python, tmp_path) -> None:
    bench = Path(__file__).parents[2] / "export" / "bench.py"
    model = make_model(tmp_path / "m.onnx")
    command = [str(bare_python), "-I", "-W", "error", str(bench), str(model), "--rounds", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["latency_ms"]["p50"] > 0
