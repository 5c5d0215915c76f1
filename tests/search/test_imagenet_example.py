"""The example that needs no training."""

import re
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "imagenet_ofa.py"


def test_it_prints_a_front(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--evaluations", "300", "--rows", "5"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    rows = re.findall(r"([\d.]+) M MACs  ([\d.]+) ± [\d.]+ % top-1  r224_", printed)
    assert len(rows) == 5
    cheaper_first = [(float(macs), float(top1)) for macs, top1 in rows]
    assert cheaper_first == sorted(cheaper_first)
    assert [top1 for _, top1 in cheaper_first] == sorted(top1 for _, top1 in cheaper_first)
    assert re.search(r"1474 measured subnets; leaving one out, RMSE 0\.0\d+ points", printed)
