"""What export/README.md tells users to do."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from edgenas.files import shipped

TEXT = (shipped("export") / "README.md").read_text()


def test_every_kind_of_device_has_at_most_five_lines() -> None:
    kinds = re.findall(r"^\*\*(\w[\w ]*)[.*(].*?^```\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert [name.split()[0] for name, _ in kinds] == ["x86", "Raspberry", "Jetson", "Android", "Browser"]
    assert all(len(block.splitlines()) <= 5 for _, block in kinds)


def test_every_script_is_described() -> None:
    names = {path.name + "/" * path.is_dir() for path in shipped("export").iterdir() if path.name != "__pycache__"}
    assert [name for name in names - {"README.md"} if f"| `{name}` |" not in TEXT] == []


def test_the_conversion_for_android_gives_a_file_that_computes_the_same(shared_bundle: Path, tmp_path: Path) -> None:
    (line,) = (line for line in TEXT.splitlines() if "convert_onnx_models_to_ort" in line)
    shutil.copytree(shared_bundle, tmp_path / "bundle")
    words = [sys.executable, *shlex.split(line)[1:]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(shared_bundle / "samples.npz") as held:
        pixels, expected = held["pixels"], held["model"]
    session = onnxruntime.InferenceSession(str(tmp_path / "bundle" / "model.ort"))
    inputs = ((pixels.astype(np.float32) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    got = np.concatenate([session.run(None, {"pixels": inputs[n : n + 1]})[0] for n in range(len(inputs))])
    assert np.abs(got - expected).max() < 1e-3
