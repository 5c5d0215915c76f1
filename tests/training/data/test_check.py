"""`edgenas data check` finds planted faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgenas.cli.commands import app
from edgenas.errors import DataError
from edgenas.training.data.check import check_folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 120), ("test", 8)):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 256, (6 + number % 3, 9, 3), dtype=np.uint8)
                Image.fromarray(image).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def test_a_sound_tree_has_no_findings(tree: Path) -> None:
    result = check_folder(tree)
    assert result.counts == {"train": {"cat": 120, "dog": 120}, "test": {"cat": 8, "dog": 8}}
    assert result.shorter_side_px == {"smallest": 6, "median": 7, "largest": 8}
    assert not any(
        [result.broken, result.duplicates, result.contradictions, result.leaks, result.problems, result.remarks]
    )


def test_planted_faults_are_found(tree: Path) -> None:
    Image.open(tree / "train/cat/1.png").save(tree / "train/cat/again.bmp")
    shutil.copy(tree / "train/cat/2.png", tree / "train/dog/wrong.png")
    shutil.copy(tree / "train/dog/3.png", tree / "test/dog/seen.png")
    (tree / "train/dog/4.png").write_bytes((tree / "train/dog/4.png").read_bytes()[:50])
    (tree / "train/dog/readme.md").write_text("x")
    result = check_folder(tree)
    assert result.duplicates == [["train/cat/1.png", "train/cat/again.bmp"]]
    assert result.contradictions == [["train/cat/2.png", "train/dog/wrong.png"]]
    assert result.leaks == [["train/dog/3.png", "test/dog/seen.png"]]
    assert list(result.broken) == ["train/dog/4.png"]
    assert result.ignored == ("train/dog/readme.md",)
    assert result.counts["train"] == {"cat": 121, "dog": 120}
    assert not result.problems


def test_problems_are_those_that_stop_a_run(tree: Path) -> None:
    for path in list((tree / "train/cat").iterdir())[1:]:
        path.unlink()
    for path in list((tree / "train/dog").iterdir())[:2]:
        path.write_bytes(b"")
    result = check_folder(tree)
    assert len(result.problems) == 2
    assert "2 of 137 images cannot be read or used" in result.problems[0]
    assert "class 'cat' has 1 training images" in result.problems[1]
    assert "118" in result.remarks[0]


def test_the_command_lists_and_fails_where_a_run_would(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app(["data", "check", str(tree)], standalone_mode=False)
    out = capsys.readouterr().out
    assert "cat" in out
    assert "120" in out
    app(["data", "check", str(tree), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["counts"]["test"] == {"cat": 8, "dog": 8}
    for path in list((tree / "train/dog").iterdir())[:9]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="9 of 256 images cannot be read"):
        app(["data", "check", str(tree)], standalone_mode=False)
