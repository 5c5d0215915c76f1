"""A whole run on two devices: this machine, and the web browser on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from browsers import RUNTIME, needs_browser
from small_run import SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.files import read_json, read_jsonl

BUDGETS = {"here": "5ms", "web": "20ms"}
FEW = ("export.graph_variant=direct", "profile.blocks=20", "profile.networks=10", "verify.networks=2")
SETS = [word for few in FEW for word in ("--set", few)]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "onnxruntime-web").symlink_to(RUNTIME)
    return tmp_path


def succeed(*words: str, cwd: Path) -> str:
    done = edgenas(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_network_is_held_to_budgets_here_and_in_the_browser(work: Path, precision: str) -> None:
    succeed("devices", "probe", "web.yaml", "--on", "browser", "--precision", precision, cwd=work)
    assert yaml.safe_load((work / "web.yaml").read_text())["run"]["provider"] == "wasm"
    sets = [*SETS, "--set", "devices=[here, web.yaml]"]
    budgets = [word for name, limit in BUDGETS.items() for word in ("--budget", f"{name}={limit}")]
    succeed("run", "small.yaml", *sets, *budgets, cwd=work)
    run = work / "runs" / "small"
    summary = read_json(run / "summary.json")
    assert list(summary["predictors"]) == ["here", "web"]
    identity = read_json(run / "latency" / "web" / "meta.json")["identity"]
    assert (identity["runtime"], identity["provider"], identity["precision"]) == ("onnxruntime-web", "wasm", precision)
    verified = read_json(run / "verify" / "result.json")
    (chosen,) = [entry for entry in verified["front"] if entry["arch"] == verified["chosen"]]
    assert {name: latency["verdict"] for name, latency in chosen["latency"].items()} == dict.fromkeys(BUDGETS, "within")
    assert chosen["latency"]["web"]["p50_us"] > chosen["latency"]["here"]["p50_us"]
    # What was measured is kept: verified again, no browser is started.
    rows = len(read_jsonl(run / "verify" / "web.jsonl"))
    (run / "verify" / "result.json").unlink()
    succeed("verify", "runs/small", cwd=work)
    assert len(read_jsonl(run / "verify" / "web.jsonl")) == rows


@needs_browser
@pytest.mark.slow
def test_the_only_device_may_be_stated_to_be_the_browser_and_the_run_remembers_it(work: Path) -> None:
    succeed("profile", "small.yaml", *SETS, "--on", "browser", cwd=work)
    run = work / "runs" / "small"
    (device,) = (run / "devices").glob("*.yaml")
    assert yaml.safe_load(device.read_text())["run"]["transport"] == "browser"
    meta = read_json(run / "latency" / "here" / "meta.json")
    assert meta["identity"]["runtime"] == "onnxruntime-web"
    assert meta["circumstances"]["isolated"] is True
    assert meta["circumstances"]["clock_resolution_us"] > 0
    (run / "latency" / "result.json").unlink()
    # Without `--on`: nothing is measured again, but the way there is looked for as it would be.
    succeed("profile", "runs/small", cwd=work)
    (work / "node_modules" / "onnxruntime-web").unlink()
    (run / "latency" / "here" / "rows.jsonl").unlink()
    (run / "latency" / "result.json").unlink()
    refused = edgenas("profile", "runs/small", cwd=work)
    assert refused.returncode == 2
    assert "npm install onnxruntime-web" in refused.stderr
