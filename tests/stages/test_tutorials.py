"""The tutorials: each command, in order, with a few steps."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import SmallRun, edgenas

REPOSITORY = Path(__file__).parents[2]
TUTORIALS = ("find_a_model.md", "profile_a_device.md", "hand_over.md")
FEW_STEPS = {
    "train.epochs": "0.05",
    "profile.blocks": "40",
    "profile.networks": "12",
    "profile.rounds": "8",
    "export.graph_variant": "direct",
    "search.evaluations": "8",
    "search.population": "4",
    "search.calibration_images": "64",
    "search.validation_images": "64",
    "verify.networks": "3",
    "verify.rounds": "8",
    "export.parity_images": "8",
}
# What a few steps, on any machine, cannot keep.
LENIENT = {"0.90": "0.0", "0.2ms": "50ms"}


def commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_every_command_of_a_tutorial_runs(tutorial: str, tmp_path: Path) -> None:
    (tmp_path / "edgenas").symlink_to(REPOSITORY / "edgenas")
    shortened = [word for key, value in FEW_STEPS.items() for word in ("--set", f"{key}={value}")]
    for command in commands((REPOSITORY / "examples" / tutorial).read_text()):
        words = [LENIENT.get(word, word) for word in command]
        if words[0] == "edgenas":
            begins = words[1] in ("demo", "run") or (words[1] == "profile" and words[2].endswith(".yaml"))
            done = edgenas(*words[1:], *(shortened if begins else []), cwd=tmp_path)
        else:
            assert words[0] == "python"
            done = subprocess.run(
                [sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def test_the_readmes_deploy_section_ends_with_a_label_on_the_screen(small_run: SmallRun, tmp_path: Path) -> None:
    shutil.copytree(small_run.folder, tmp_path / "runs" / "demo")
    (section,) = re.findall(r"^## Deploy\n(.*?)^## ", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    stated = {}
    for command in commands(section):
        if command[:1] == ["."]:
            continue
        # The machine may be busy, and the network is trained for three epochs; the gate is asked of the one here.
        words = [{"1ms": "100ms", "0.90": "0.1"}.get(word, word) for word in command]
        words = [word for word in words if word != "--on" and not word.startswith("ssh://")]
        if words[0] == "edgenas":
            done = edgenas(*words[1:], cwd=tmp_path)
        else:
            done = subprocess.run(
                [sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        stated[words[1]] = done.stdout
    assert re.match(r"image\.png: \d \(\d+\.\d%\), ", stated["runs/demo/export/bundle/run.py"])
    assert "the budget is" in stated["runs/demo/export/bundle/verify.py"]
    assert (tmp_path / "page" / "index.html").exists()


def test_each_tutorial_is_listed() -> None:
    listed = (REPOSITORY / "examples" / "README.md").read_text()
    assert [name for name in TUTORIALS if f"]({name})" not in listed] == []
