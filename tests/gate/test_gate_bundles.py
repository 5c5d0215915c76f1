"""Bundles of every kind at the gate, and sealed ones that say too little: a clear result, never a traceback."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sealed
from browsers import RUNTIME, needs_browser
from kit_scripts import load_script
from typer.testing import CliRunner

from edgenas.budget import parse_budget
from edgenas.cli.commands import app
from edgenas.deploy.inspection.graph_cost import read_graph
from edgenas.errors import ConfigError, EdgenasError
from edgenas.gate import gate as gating
from edgenas.gate.gate import Requirements, gate
from edgenas.latency.device import Device, DeviceRun, probe
from edgenas.profiling.transport import Timed
from edgenas.profiling.transports.browser import BrowserTransport
from edgenas.profiling.transports.local import KIND as LOCAL
from edgenas.stages.shipping.bundle_manifest import bundled_device
from edgenas.testing import FakeTransport


@pytest.fixture(scope="module")
def kit() -> ModuleType:
    return load_script("verify")


@pytest.fixture
def quick(
    kit: ModuleType, monkeypatch: pytest.MonkeyPatch, mount: Callable[[FakeTransport], FakeTransport]
) -> FakeTransport:
    """The kit's verify.py in this process, and a machine that takes 50 µs for everything."""

    def proven(bundle: Path, digest: str | None = None) -> dict[str, Any]:
        evidence = kit.verify(bundle, argparse.Namespace(budget=None, digest=digest, device=None, rounds=1))
        return dict(json.loads(json.dumps(evidence)))

    monkeypatch.setattr(gating, "prove", proven)
    return mount(FakeTransport(lambda model, job: 50.0, instead_of=LOCAL))


def requirements(*budgets: str, **more: Any) -> Requirements:
    return Requirements(budgets=[parse_budget(text) for text in budgets], **more)


def test_a_bundle_without_a_measured_device_is_judged_on_all_else(
    quick: FakeTransport, shared_bundle: Path, tmp_path: Path
) -> None:
    bundle = sealed.copy_with(shared_bundle, tmp_path / "bundle", deployed={}, devices={}, latency={})
    evidence = gate(bundle, requirements("macs=1G", min_top1=0.9))
    assert evidence.ok is True
    assert (evidence.device, evidence.model) == (None, "model.onnx")
    with pytest.raises(ConfigError, match="measured on no device"):
        gate(bundle, requirements("1s"))
    with pytest.raises(ConfigError, match="measured on no device"):
        gate(bundle, requirements(device="here"))


def test_of_several_devices_one_is_named_where_it_matters(
    quick: FakeTransport, shared_bundle: Path, tmp_path: Path
) -> None:
    here = probe().model_dump(mode="json")
    devices = {"here": here, "there": here | {"name": "there"}}
    models = {"here": "model.onnx", "there": "model_int8.onnx"}
    two = sealed.copy_with(shared_bundle, tmp_path / "two", devices=devices, deployed=models)
    for question in (requirements("1s"), requirements(min_top1=0.9)):
        with pytest.raises(ConfigError, match="several devices: name one with --device; valid: here, there"):
            gate(two, question)
    assert gate(two, requirements("there=1s", rounds=8)).model == "model_int8.onnx"
    assert gate(two, requirements("1s", device="here", rounds=8)).model == "model.onnx"
    same = sealed.copy_with(
        shared_bundle, tmp_path / "same", devices=devices, deployed=dict.fromkeys(models, "model.onnx")
    )
    assert gate(same, requirements("macs=1G", min_top1=0.9)).device is None


def test_weight_bytes_are_those_of_the_deployed_file(quick: FakeTransport, shared_bundle: Path, tmp_path: Path) -> None:
    manifest = sealed.read(shared_bundle)
    fp32, int8 = manifest["costs"]["weight_bytes"], manifest["int8"]["costs"]["weight_bytes"]
    assert int8 == read_graph(shared_bundle / "model_int8.onnx").weight_bytes
    between = requirements(f"weight_bytes={(fp32 + int8) // 2}B")
    in_int8 = sealed.copy_with(shared_bundle, tmp_path / "int8", deployed={"here": "model_int8.onnx"})
    evidence = gate(in_int8, between)
    assert evidence.ok is True
    assert f"weights of model_int8.onnx: {int8}B" in evidence.checks[-1].message
    assert gate(shared_bundle, between).ok is False


def test_a_manifest_describes_devices_without_places_of_the_machine_that_measured() -> None:
    run = DeviceRun(transport="browser", threads=2, chromium=Path("/home/somebody/chromium"))
    device = probe().model_copy(update={"run": run.model_copy(update={"onnxruntime_web": Path("/home/somebody/web")})})
    described = bundled_device(device).model_dump(mode="json")
    assert "somebody" not in json.dumps(described)
    assert Device.model_validate(described).run == DeviceRun(transport="browser", threads=2)


@needs_browser
def test_a_bundle_for_a_browser_is_timed_in_one(
    quick: FakeTransport, shared_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser and its runtime are found; tests/profiling/test_browser.py times models in them."""

    def timed(browser: BrowserTransport, *arguments: Any) -> Iterator[Timed]:
        return FakeTransport(quick.latency_us, version=browser.runtime_version("")).time(*arguments)

    monkeypatch.setattr(BrowserTransport, "time", timed)
    device = probe().model_copy(update={"run": probe().run.in_browser()})
    bundle = sealed.copy_with(shared_bundle, tmp_path / "bundle", devices={"here": device.model_dump(mode="json")})
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "onnxruntime-web").symlink_to(RUNTIME)
    monkeypatch.chdir(tmp_path)
    evidence = gate(bundle, requirements("5s", rounds=8))
    assert evidence.ok is True
    assert evidence.timed.device.run.transport == "browser"


def test_a_browser_that_is_not_there_is_named(
    quick: FakeTransport, shared_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = probe().model_copy(update={"run": probe().run.in_browser()})
    bundle = sealed.copy_with(shared_bundle, tmp_path / "bundle", devices={"here": device.model_dump(mode="json")})
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"Chromium|onnxruntime-web|playwright"):
        gate(bundle, requirements("1s"))


WRONG = (None, 7, "../../evil.onnx", [], {"here": None}, ["\x1b[2J"])


def outcome(bundle: Path) -> tuple[bool, str]:
    """Return whether a bundle passes the gate, and all its messages; anything but its own errors is a failure."""
    question = requirements("1s", "macs=1G", "weight_bytes=100MB", min_top1=0.9, rounds=8)
    try:
        evidence = gate(bundle, question)
    except EdgenasError as error:
        return False, str(error)
    assert json.dumps(evidence.to_json(), allow_nan=False)
    return evidence.ok, "\n".join(check.message for check in evidence.checks)


@pytest.mark.parametrize("model", ["model.onnx", "model_int8.onnx"])
def test_every_key_that_a_sealed_manifest_lacks_is_named_or_not_needed(
    quick: FakeTransport, shared_bundle: Path, tmp_path: Path, model: str
) -> None:
    bundle = sealed.copy_with(shared_bundle, tmp_path / "bundle", deployed={"here": model})
    whole = sealed.read(bundle)
    assert outcome(bundle)[0] is True
    needed = set()
    for path in sealed.paths_of(whole, depth=3):
        sealed.reseal(bundle, sealed.without(whole, path))
        passes, messages = outcome(bundle)
        if not passes:
            needed.add(path)
            assert path[-1] in messages or path == ("deployed", "here"), (path, messages)
    section = ("int8", "accuracy") if model == "model_int8.onnx" else ("accuracy",)
    assert {("deployed",), ("devices", "here"), ("costs", "macs"), (*section, "test_top1")} <= needed


def test_every_invalid_value_gives_an_error_message(quick: FakeTransport, shared_bundle: Path, tmp_path: Path) -> None:
    bundle = sealed.copy_with(shared_bundle, tmp_path / "outer" / "bundle")
    whole = sealed.read(bundle)
    for number, key in enumerate(whole):
        for wrong in (WRONG[number % len(WRONG)], WRONG[(number + 1) % len(WRONG)]):
            sealed.reseal(bundle, whole | {key: wrong})
            _, messages = outcome(bundle)
            assert "\x1b" not in messages
            assert "Traceback" not in messages
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["bundle"]


def test_a_deployed_file_is_one_of_the_bundle(quick: FakeTransport, shared_bundle: Path, tmp_path: Path) -> None:
    """A name that leads out of the bundle would be read from, and written to, anywhere."""
    (tmp_path / "evil.onnx").write_bytes((shared_bundle / "model.onnx").read_bytes())
    for number, name in enumerate(("../evil.onnx", str(tmp_path / "evil.onnx"), "run.py", "missing.onnx")):
        bundle = sealed.copy_with(shared_bundle, tmp_path / f"bundle{number}", deployed={"here": name})
        passes, messages = outcome(bundle)
        assert not passes
        assert "is not a file of the bundle" in messages or "is not an ONNX file" in messages
    assert quick.timed == []


def test_links_in_a_bundle_folder_are_read_and_pipes_are_refused(
    quick: FakeTransport, shared_bundle: Path, tmp_path: Path
) -> None:
    bundle = sealed.copy_with(shared_bundle, tmp_path / "bundle")
    model = bundle / "model.onnx"
    model.rename(tmp_path / "elsewhere.onnx")
    model.symlink_to(tmp_path / "elsewhere.onnx")
    assert outcome(bundle)[0] is True
    model.unlink()
    model.symlink_to("/dev/zero")
    assert "model.onnx is not a plain file" in outcome(bundle)[1]
    model.unlink()
    os.mkfifo(model)
    assert "model.onnx is not a plain file" in outcome(bundle)[1]
    model.unlink()
    model.symlink_to(model)
    passes, messages = outcome(bundle)
    assert not passes
    assert "model.onnx cannot be read" in messages


def test_the_command_ends_with_a_sentence_and_a_code(quick: FakeTransport, shared_bundle: Path, tmp_path: Path) -> None:
    lacking = sealed.without(sealed.read(shared_bundle), ("devices",))
    bundle = sealed.copy_with(shared_bundle, tmp_path / "bundle")
    sealed.reseal(bundle, lacking)
    shown = CliRunner().invoke(app, ["gate", str(bundle), "--budget", "1s", "-q"])
    assert shown.exit_code == 1
    assert shown.stdout.splitlines()[-1].startswith("FAIL  ")
    assert "manifest.json lacks devices" in shown.stdout
