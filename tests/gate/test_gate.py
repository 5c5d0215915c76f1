"""`edgenas gate`: the exit code says the result, with evidence; the bundle stays as it is."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sealed
from click.testing import Result
from little_bundle import CLASSES, run_rows
from little_subnet import digits
from loopback_ssh import loopback_ssh, needs_sshd
from PIL import Image
from typer.testing import CliRunner

from edgenas.budget import parse_budget
from edgenas.cli.commands import app
from edgenas.deploy.bundle.bundle import zip_bundle
from edgenas.errors import ConfigError, DataError, Packed, RunFolderError
from edgenas.gate.gate import Requirements, gate
from edgenas.gate.gate_images import wilson_interval
from edgenas.latency.device import Device, DeviceRun, probe
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.transport import Job, installed_runtime
from edgenas.profiling.transport_registry import TransportRegistry
from edgenas.profiling.transports.local import KIND as LOCAL
from edgenas.testing import FakeTransport


@pytest.fixture
def bundle(shared_bundle: Path) -> Path:
    return shared_bundle


Mount = Callable[[FakeTransport], FakeTransport]


def fake(latency_us: Callable[[Path, Job], float] = lambda model, job: 50.0, **fields: Any) -> FakeTransport:
    return FakeTransport(latency_us, instead_of=LOCAL, **fields)


@pytest.fixture
def timer(mount: Mount) -> FakeTransport:
    """This machine takes 50 µs for everything."""
    return mount(fake())


def requirements(*budgets: str, **more: Any) -> Requirements:
    return Requirements(budgets=[parse_budget(text) for text in budgets], **more)


def called(*words: object) -> Result:
    return CliRunner().invoke(app, ["gate", *map(str, words)])


def described(bundle: Path, folder: Path, device: Device, name: str = "here") -> Path:
    """A copy of a bundle that was measured on another device."""
    return sealed.copy_with(
        bundle, folder, devices={name: device.model_dump(mode="json")}, deployed={name: "model.onnx"}
    )


def of(transport: str) -> Device:
    """This machine, reached in another way when the bundle was made."""
    return probe().model_copy(update={"run": DeviceRun(transport=transport)})


OTHER = probe().model_copy(update={"cpu": "Cortex-A72", "cores": 4096, "isa": ("neon",)})


def test_a_bundle_passes_with_evidence_as_folder_and_zip(bundle: Path, tmp_path: Path, timer: FakeTransport) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    zipped = zip_bundle(bundle, tmp_path / "bundle.zip")
    for place in (bundle, zipped):
        out = tmp_path / "evidence.json"
        words = [place, "--budget", "1s", "--budget", "macs=1G", "--min-top1", "0.9", "--rounds", "8"]
        shown = called(*words, "--json", "--quiet", "--evidence", out)
        assert shown.exit_code == 0, shown.output
        evidence = json.loads(shown.stdout)
        assert evidence["ok"] is True
        assert evidence["measured"]["p50_us"] == pytest.approx(50.0)
        assert evidence["machine"]["run"]["threads"] == 1
        assert json.loads(out.read_text()) == {"schema_version": 1, **evidence}
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


@pytest.mark.usefixtures("real_timer")
def test_the_timer_of_the_kit_is_what_measures(bundle: Path) -> None:
    evidence = gate(bundle, requirements("5s", rounds=8))
    assert evidence.ok is True
    assert evidence.timed.measurement.p50_us > 0


@pytest.mark.parametrize(
    ("budgets", "min_top1", "message"),
    [
        (["49us"], None, "p50 on here"),
        (["51us@p95"], None, "p95 on here"),
        (["macs=1"], None, "MACs: "),
        (["weight_bytes=1B"], None, "weights of model.onnx: "),
        ([], 0.98, "97.00% of 360 test images, as stated by the manifest; expected at least 98.00%"),
    ],
)
def test_missed_requirements_are_named_and_the_verdict_is_one_line(
    bundle: Path, timer: FakeTransport, budgets: list[str], min_top1: float | None, message: str
) -> None:
    words = [word for text in budgets for word in ("--budget", text)]
    shown = called(bundle, *words, *(["--min-top1", min_top1] if min_top1 else []), "--rounds", 8, "-q")
    assert shown.exit_code == 1
    assert shown.stderr == ""
    *checks, verdict = shown.stdout.splitlines()
    (failed,) = [line for line in checks if line.startswith("FAIL  ")]
    assert message in failed
    asked_for = str(parse_budget(budgets[0])) if budgets else "top-1"
    assert verdict == f"FAIL  {bundle}: 1 of {len(checks)} checks failed: {asked_for}"


@pytest.mark.parametrize(
    ("slow", "budget", "verdict", "code"),
    [
        (1, "55us", "within", 0),
        (2, "55us", "not significant", 3),
        (5, "55us", "over", 1),
        (2, "61us@p95", "not significant", 3),
        (1, "56us@p95", "within", 0),
    ],
)
def test_only_what_is_significantly_within_a_budget_passes(
    bundle: Path, mount: Mount, slow: int, budget: str, verdict: str, code: int
) -> None:
    """Some of the eight processes take 60 µs, the others 50; the p95 is a tenth more."""
    mount(fake(lambda model, job: 60.0 if job.seed < slow else 50.0))
    shown = called(bundle, "--budget", budget, "--rounds", 8, "--json", "-q")
    assert shown.exit_code == code, shown.output
    evidence = json.loads(shown.stdout)
    assert evidence["checks"][-1]["verdict"] == verdict
    assert evidence["checks"][-1]["message"].endswith(f": {verdict}")
    assert evidence["ok"] is (code == 0)
    # What else is missed is no question of noise.
    also = called(bundle, "--budget", budget, "--budget", "macs=1", "--rounds", 8, "-q")
    assert also.exit_code == 1


def test_a_disturbed_session_is_repeated_once_and_the_verdict_says_so(bundle: Path, mount: Mount) -> None:
    def latency_us(model: Path, job: Job) -> float:
        return 20.0 if len(disturbed.timed) <= PROCESSES else 50.0

    disturbed = mount(fake(latency_us, warnings=lambda job: ["the processor throttled its clock: cool it"]))
    evidence = gate(bundle, requirements("40us", rounds=8))
    assert len(disturbed.timed) == 2 * PROCESSES
    # The first session is discarded, though it was faster.
    assert (evidence.ok, evidence.timed.repeated) == (False, True)
    assert "50 ms" in evidence.checks[-1].message
    assert "disturbed in most processes, and was repeated; warning: 8 of 8 processes" in evidence.checks[-1].message


def test_a_tampered_bundle_is_not_measured(bundle: Path, tmp_path: Path, timer: FakeTransport) -> None:
    other = shutil.copytree(bundle, tmp_path / "bundle")
    (other / "model.onnx").write_bytes((bundle / "model_int8.onnx").read_bytes())
    shown = called(other, "--budget", "1s")
    assert shown.exit_code == 1
    assert "model.onnx is not the file that was bundled" in shown.stdout
    assert timer.timed == []
    (tmp_path / "text.zip").write_text("no zip")
    assert gate(tmp_path / "text.zip").ok is False


def test_a_digest_pins_the_bundle(bundle: Path, tmp_path: Path) -> None:
    digest = sealed.read(bundle)["digest"]
    for pinned in (digest, digest[:12].upper()):
        assert gate(bundle, digest=pinned).ok is True
    resealed = sealed.copy_with(bundle, tmp_path / "bundle", seed=7)
    assert gate(resealed).ok is True
    evidence = gate(resealed, digest=digest[:12])
    assert evidence.ok is False
    assert evidence.checks[0].message.endswith(f"expected {digest[:12]}")
    for none in (digest[:11], digest + "0", "--budget", "é" * 12):
        with pytest.raises(ConfigError, match="12 to 64 hexadecimal digits"):
            gate(bundle, digest=none)


def test_devices_that_the_bundle_is_not_for_are_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pi4'; valid: here"):
        gate(bundle, requirements("pi4=8ms"))
    with pytest.raises(ConfigError, match="once for each"):
        gate(bundle, requirements("pi4=8ms", device="here"))
    with pytest.raises(ConfigError, match="'pi4' is not a device"):
        gate(bundle, requirements("8ms", reach=TransportRegistry().with_options(["pi4=ssh://pi4"])))
    with pytest.raises(ConfigError, match="that here measures, but no device measures energy yet"):
        gate(bundle, requirements("energy_uj=1J"))
    with pytest.raises(RunFolderError, match="does not exist"):
        gate(tmp_path / "nowhere")


def test_another_machine_is_refused_without_a_place_and_what_differs_is_named(
    bundle: Path, tmp_path: Path, timer: FakeTransport
) -> None:
    other = described(bundle, tmp_path / "bundle", OTHER)
    here = probe()
    with pytest.raises(ConfigError) as error:
        gate(other, requirements("1s"))
    message = str(error.value)
    assert f"has cpu Cortex-A72, cores 4096, isa with neon, but this machine has cpu {here.cpu}" in message
    assert "--on here=ssh://" in message
    assert "--pack kit.zip" in message
    assert timer.timed == []
    # What no device is asked for is judged anywhere.
    assert gate(other, requirements("macs=1G", min_top1=0.9)).ok is True
    shown = called(other, "--budget", "1s")
    assert isinstance(shown.exception, ConfigError)


@pytest.mark.parametrize("transport", ["local", "ssh", "offline"])
def test_a_gate_on_the_device_itself_needs_no_place(
    bundle: Path, tmp_path: Path, timer: FakeTransport, transport: str
) -> None:
    evidence = gate(described(bundle, tmp_path / "bundle", of(transport)), requirements("1s", rounds=8))
    assert evidence.ok is True
    assert evidence.timed.device.run.transport == "local"
    assert {run.provider for run, _ in timer.timed} == {"cpu"}


def test_a_bundle_is_timed_as_its_device_runs_it(bundle: Path, tmp_path: Path, timer: FakeTransport) -> None:
    run = DeviceRun(threads=2, optimisation_level="basic", spinning=True)
    gate(described(bundle, tmp_path / "bundle", probe().model_copy(update={"run": run})), requirements("1s", rounds=8))
    assert {run for run, _ in timer.timed} == {run}


def test_a_browser_is_no_way_to_a_device_that_is_none(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of onnxruntime on here, not of onnxruntime-web"):
        gate(bundle, requirements("1s", reach=TransportRegistry().with_options(["browser"])))
    web = OTHER.model_copy(update={"run": OTHER.run.in_browser()})
    with pytest.raises(ConfigError, match=r"has cpu Cortex-A72.*run this command on that machine"):
        gate(described(bundle, tmp_path / "bundle", web), requirements("1s"))


def test_a_device_out_of_reach_gets_a_kit_and_its_results_are_judged(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = described(bundle, tmp_path / "bundle", OTHER)
    kit = tmp_path / "kit.zip"
    words = [other, "--budget", "1s", "--rounds", 8, "--pack", kit]
    shown = called(*words)
    # Nothing was decided yet.
    assert shown.exit_code == 1
    assert "packed" in shown.stdout
    assert kit.exists()
    with pytest.raises(Packed):
        gate(other, requirements("1s", rounds=8, reach=TransportRegistry().with_options(kit=kit)))
    with pytest.raises(ConfigError, match="leave it out"):
        gate(bundle, requirements("1s", reach=TransportRegistry().with_options(kit=kit)))
    results = brought_back(kit, tmp_path / "results.zip", OTHER)
    for budget, ok in (("51us", True), ("49us", False)):
        evidence = gate(other, requirements(budget, rounds=8, reach=TransportRegistry().with_options(results=results)))
        assert (evidence.ok, evidence.timed.device.run.transport) == (ok, "offline")
    with pytest.raises(ConfigError, match="the machine that answered has"):
        gate(
            other,
            requirements(
                "1s", rounds=8, reach=TransportRegistry().with_options(results=brought_back(kit, results, probe()))
            ),
        )


def brought_back(kit: Path, path: Path, device: Device) -> Path:
    """Write the results of a kit on a machine that takes 50 µs for everything."""
    rows = []
    with zipfile.ZipFile(kit) as archive:
        jobs = json.loads(archive.read("jobs.json"))["jobs"]
    for job in jobs:
        models = tuple(Path(name) for name in job["models"])
        timed = fake().time([Job(models, job["rounds"], job["seed"])], device)
        rows += [row for _, _, row in timed]
    machine = {"cpu": device.cpu, "cores": device.cores, "machine": "any", "system": "any", "cpu_flags": device.isa}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        archive.writestr("probe.json", json.dumps({**machine, "runtime_version": installed_runtime()}))
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred test images of the digits in class folders."""
    folder, test = tmp_path_factory.mktemp("labelled"), digits().test
    for number, (image, label) in enumerate(zip(test.tensor()[:100], test.labels.tolist(), strict=False)):
        (folder / CLASSES[label]).mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / CLASSES[label] / f"{number}.png")
    return folder


@pytest.mark.parametrize("model", ["model.onnx", "model_int8.onnx"])
def test_top1_is_measured_on_labelled_images_as_run_py_names_them(
    bundle: Path, tmp_path: Path, labelled: Path, model: str
) -> None:
    judged = sealed.copy_with(bundle, tmp_path / "bundle", deployed={"here": model})
    images = sorted(labelled.rglob("*.png"))
    expected = sum(
        row["classes"][0]["class"] == Path(row["image"]).parent.name for row in run_rows(bundle, images, model)
    )
    evidence = gate(judged, Requirements(images=labelled, min_top1=expected / 100))
    assert evidence.ok is True
    assert (evidence.top1.right, evidence.top1.images) == (expected, 100)
    assert f"{expected / 100:.2%} of 100 images, measured on this machine (95 % interval" in evidence.checks[-1].message
    assert "as stated" not in evidence.checks[-1].message
    assert gate(judged, Requirements(images=labelled, min_top1=(expected + 0.5) / 100)).ok is False


def test_folders_that_are_no_classes_are_refused_and_missing_ones_named(
    bundle: Path, tmp_path: Path, labelled: Path
) -> None:
    fewer = shutil.copytree(labelled, tmp_path / "fewer")
    shutil.rmtree(fewer / CLASSES[3])
    evidence = gate(bundle, Requirements(images=fewer))
    assert f"without images: {CLASSES[3]}" in evidence.checks[-1].message
    (fewer / CLASSES[4]).rename(fewer / "vier?")
    with pytest.raises(DataError, match=r"'vier\?' is no class of the bundle; did you mean 'vier'"):
        gate(bundle, Requirements(images=fewer))
    (tmp_path / "set").mkdir()
    shutil.copytree(labelled, tmp_path / "set" / "train")
    with pytest.raises(DataError, match="holds splits, not classes"):
        gate(bundle, Requirements(images=tmp_path / "set"))
    with pytest.raises(DataError, match="no such folder"):
        gate(bundle, Requirements(images=tmp_path / "nowhere"))


def test_images_that_cannot_be_read_are_named_and_few(bundle: Path, tmp_path: Path, labelled: Path) -> None:
    broken = shutil.copytree(labelled, tmp_path / "broken")
    first, second = sorted((broken / CLASSES[0]).iterdir())[:2]
    first.write_bytes(first.read_bytes()[:40])
    evidence = gate(bundle, Requirements(images=broken))
    assert evidence.top1.images == 99
    assert f"left out: {CLASSES[0]}/{first.name}: " in evidence.checks[-1].message
    second.write_bytes(b"no image")
    with pytest.raises(DataError, match="2 of 100 images cannot be read or used"):
        gate(bundle, Requirements(images=broken))


def test_the_interval_covers_the_true_share_and_stays_within_0_and_1() -> None:
    rng = np.random.default_rng(0)
    for share in (0.5, 0.9, 0.99):
        intervals = [wilson_interval(int(right), 200) for right in rng.binomial(200, share, 500)]
        assert np.mean([low <= share <= high for low, high in intervals]) > 0.92
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == 1
    assert wilson_interval(10, 10)[0] == pytest.approx(10 / (10 + 1.959964**2))


@needs_sshd
def test_a_bundle_is_measured_on_the_stated_machine(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh").mkdir()
    with loopback_ssh(tmp_path / "ssh", monkeypatch) as running:
        shown = called(bundle, "--budget", "1s", "--rounds", "8", "--on", running.place(), "--json", "-q")
        assert shown.exit_code == 0, shown.output
        # The machine there is compared with the bundle's device, as in runs.
        other = described(bundle, tmp_path / "bundle", OTHER)
        refused = called(other, "--budget", "1s", "--rounds", "8", "--on", running.place(), "-q")
        assert running.left_behind() == []
    evidence = json.loads(shown.stdout)
    assert evidence["machine"]["run"]["transport"] == "ssh"
    # Evidence is kept and shown around: no host and no user stands in it.
    assert "127.0.0.1" not in shown.stdout
    assert isinstance(refused.exception, ConfigError)
    assert "Cortex-A72, but the machine that answered" in str(refused.exception)
