"""`edgenas gate`: by its exit code, with evidence; the bundle stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from loopback_ssh import loopback_ssh, needs_sshd
from typer.testing import CliRunner

from edgenas.budget import parse_budget
from edgenas.cli.commands import app
from edgenas.deploy.bundle import zip_bundle
from edgenas.errors import ConfigError, MeasurementError, RunFolderError
from edgenas.pipeline.gate import gate, refusal


@pytest.fixture(scope="module")
def bundle(shared_bundle: Path) -> Path:
    return shared_bundle


def test_a_bundle_passes_with_evidence_as_folder_and_zip(bundle: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    zipped = zip_bundle(bundle, tmp_path / "bundle.zip")
    for place in (bundle, zipped):
        out = tmp_path / "evidence.json"
        words = ["gate", str(place), "--budget", "1s", "--budget", "macs=1G", "--min-top1", "0.9", "--rounds", "8"]
        shown = CliRunner().invoke(app, [*words, "--json", "--quiet", "--evidence", str(out)])
        assert shown.exit_code == 0, shown.output
        found = json.loads(shown.stdout)
        assert found["ok"] is True
        assert found["measured"]["p50_us"] > 0
        assert found["machine"]["run"]["threads"] == 1
        assert json.loads(out.read_text()) == {"schema_version": 1, **found}
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


@pytest.mark.parametrize(
    ("budgets", "min_top1", "said"),
    [
        (["0.001us"], None, "p50 on here"),
        (["0.001us@p95"], None, "p95 on here"),
        (["macs=1"], None, "macs: "),
        (["weight_bytes=1B"], None, "weight bytes: "),
        ([], 0.98, "97.00% of 360 test images, wanted 98.00%"),
    ],
)
def test_what_is_missed_is_told(bundle: Path, budgets: list[str], min_top1: float | None, said: str) -> None:
    found = gate(bundle, [parse_budget(text) for text in budgets], min_top1=min_top1, rounds=8)
    assert found["ok"] is False
    error = refusal(found)
    assert isinstance(error, MeasurementError)
    assert said in str(error)


def test_a_tampered_bundle_is_not_measured(bundle: Path, tmp_path: Path) -> None:
    other = shutil.copytree(bundle, tmp_path / "bundle")
    (other / "model.onnx").write_bytes((bundle / "model_int8.onnx").read_bytes())
    found = gate(other, [parse_budget("1s")], rounds=8)
    assert found["ok"] is False
    assert "measured" not in found
    (tmp_path / "text.zip").write_text("no zip")
    assert gate(tmp_path / "text.zip")["ok"] is False
    shown = CliRunner().invoke(app, ["gate", str(other)])
    assert isinstance(shown.exception, MeasurementError)
    assert "FAIL" in shown.stdout


def test_devices_that_the_bundle_is_not_for_are_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pi4'; valid: here"):
        gate(bundle, [parse_budget("pi4=8ms")])
    with pytest.raises(ConfigError, match="once for each"):
        gate(bundle, [parse_budget("pi4=8ms")], device="here")
    with pytest.raises(RunFolderError, match="does not exist"):
        gate(tmp_path / "nowhere")


@needs_sshd
def test_a_bundle_is_measured_where_it_is_said(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").mkdir()
    with loopback_ssh(tmp_path / "ssh", monkeypatch) as running:
        words = ["gate", str(bundle), "--budget", "1s", "--rounds", "8", "--on", running.place(), "--json", "-q"]
        shown = CliRunner().invoke(app, words)
        assert running.left_behind() == []
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["machine"]["run"]["transport"] == "ssh"
    # Evidence is kept and shown around: no host and no user stands in it.
    assert "127.0.0.1" not in shown.stdout
