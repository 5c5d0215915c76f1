"""The tutorials: each command, in order, with a few steps."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import edgenas

REPOSITORY = Path(__file__).parents[2]
TUTORIALS = ("find_a_model.md", "profile_a_device.md", "hand_over.md")
FEW_STEPS = {
    "train.epochs": "0.05",
    "profile.blocks": "40",
    "profile.networks": "12",
    "profile.rounds": "8",
    "export.form": "direct",
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


def commands(tutorial: str) -> list[list[str]]:
    text = (REPOSITORY / "examples" / tutorial).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_every_command_of_a_tutorial_runs(tutorial: str, tmp_path: Path) -> None:
    (tmp_path / "edgenas").symlink_to(REPOSITORY / "edgenas")
    shortened = [word for key, value in FEW_STEPS.items() for word in ("--set", f"{key}={value}")]
    for command in commands(tutorial):
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


def test_each_tutorial_is_listed() -> None:
    listed = (REPOSITORY / "examples" / "README.md").read_text()
    assert [name for name in TUTORIALS if f"]({name})" not in listed] == []
