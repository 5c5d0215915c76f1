"""The commands of export/README.md."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from in_browser import web_runtime
from little_bundle import write_images
from small_run import SmallRun, edgenas

from edgenas.files import shipped

TEXT = (shipped("export") / "README.md").read_text()


def test_every_kind_of_device_has_at_most_five_lines() -> None:
    kinds = re.findall(r"^\*\*(\w[\w ]*)[.*(].*?^```\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert [name.split()[0] for name, _ in kinds] == ["x86", "Raspberry", "Jetson", "Android", "Browser"]
    assert all(len(block.splitlines()) <= 5 for _, block in kinds)


def block(device: str) -> list[str]:
    """The lines that a kind of device takes."""
    (found,) = re.findall(rf"^\*\*{device}.*?^```\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return found.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("device", ["x86", "Raspberry Pi", "Jetson"])
def test_what_is_typed_on_a_device_ends_with_a_label(device: str, shared_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_bundle, tmp_path / "bundle")
    (image,) = write_images(tmp_path / "images", 1)
    # What is typed elsewhere brings one onto the device, which this machine stands for.
    lines = [line for line in block(device) if not line.startswith(("scp ", "ssh "))]
    place = tmp_path / "bundle" if "cd bundle" in lines else tmp_path
    shutil.copy(image, place / "image.png")
    folder = venv_with_pip(tmp_path / "python") if device == "Jetson" else None
    # Its own pip installs for the user; here that is an environment.
    script = "\n".join(lines).replace("install --user", "install") if folder else "\n".join(lines)
    path = os.pathsep.join([*([str(folder)] if folder else []), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if "No matching distribution" in done.stderr and not os.environ.get("CI"):
        pytest.skip("pip cannot reach an index")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks passed" in done.stdout
    assert re.search(r"^image\.png: .+\(\d+\.\d%\)", done.stdout, re.MULTILINE)


def venv_with_pip(folder: Path) -> Path:
    """The programs of a fresh environment."""
    venv.create(folder, with_pip=True)
    return folder / "bin"


def test_what_is_typed_for_a_browser_ends_with_a_label(small_run: SmallRun, browser: Any, tmp_path: Path) -> None:
    shutil.copytree(small_run.folder, tmp_path / "runs" / "demo")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "onnxruntime-web").symlink_to(web_runtime().parent)
    _, export, serve, open_page = block("Browser")
    done = edgenas(*shlex.split(export)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, *shlex.split(serve.replace("8000", port))[1:]]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as server:
        try:
            opened = browser.new_page()
            address = shlex.split(open_page)[1].replace("8000", port)
            wait_for(port)
            opened.goto(address)
            opened.wait_for_function("document.getElementById('message').textContent === 'Ready.'")
            (image,) = write_images(tmp_path / "images", 1)
            opened.set_input_files("#file", image)
            opened.wait_for_selector("#labels:not([hidden])")
            opened.close()
        finally:
            server.terminate()


def wait_for(port: str) -> None:
    """Until somebody answers."""
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
            return
        assert time.monotonic() < end
        time.sleep(0.05)


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
