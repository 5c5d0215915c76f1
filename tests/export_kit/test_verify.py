"""The kit's verify.py: an intact bundle passes, every fault is one line, and there is never a traceback."""

from __future__ import annotations

import ast
import hashlib
import io
import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from kit_scripts import load_script

from edgenas.deploy.bundle.bundle import zip_bundle
from edgenas.files import shipped

FILES = (
    "model.onnx",
    "model_int8.onnx",
    "samples.npz",
    "bench.py",
    "run.py",
    "verify.py",
    "README.md",
    "MODEL_CARD.md",
)


@pytest.fixture
def bundle(shared_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shared_bundle, tmp_path / "bundle")


@pytest.fixture(scope="module")
def kit() -> ModuleType:
    return load_script("verify")


class VerifyResult:
    """The output and the exit code of verify.py."""

    def __init__(self, kit: ModuleType, *words: object) -> None:
        # The module's own reconfiguring of streams is for real ones.
        stdout, stderr = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        try:
            self.code = kit.main([str(word) for word in words])
            texts = []
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
        finally:
            sys.stdout, sys.stderr = stdout, stderr
        self.out, self.err = texts

    @property
    def failed(self) -> list[str]:
        return [line for line in self.out.splitlines() if line.startswith("FAIL")]


def resealed(kit: ModuleType, bundle: Path, **changes: object) -> None:
    """Edit the manifest and compute its digest again, as an attacker could."""
    path = bundle / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    manifest["digest"] = kit.digest_of(manifest)
    path.write_text(json.dumps(manifest))


def replaced(kit: ModuleType, bundle: Path, name: str, data: bytes) -> None:
    """Replace a file, and its digest in the manifest."""
    (bundle / name).write_bytes(data)
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    resealed(kit, bundle, files=files | {name: hashlib.sha256(data).hexdigest()})


def test_an_intact_bundle_passes_as_folder_and_as_zip(bundle, tmp_path) -> None:
    zipped = zip_bundle(bundle, tmp_path / "bundle.zip")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for words in ([], [str(zipped), "--json"]):
        command = [sys.executable, "-I", "-W", "error", "verify.py", *words]
        done = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert found["digest"] == json.loads((bundle / "manifest.json").read_text())["digest"]
    assert {check["check"] for check in found["checks"]} == {
        "manifest.json",
        *FILES,
        "model.onnx, run",
        "model_int8.onnx, run",
    }


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("how", ["changed", "cut", "removed", "emptied", "a folder"])
def test_every_file_changed_or_removed_is_named(kit, bundle, name: str, how: str) -> None:
    path = bundle / name
    data = path.read_bytes()
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "removed":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"changed": flipped, "cut": data[:middle], "emptied": b""}[how])
    result = VerifyResult(kit, bundle)
    assert (result.code, result.err) == (1, "")
    assert len(result.failed) == 1
    assert name in result.failed[0]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations([*FILES, "manifest.json"], 2)))
def test_swapped_files_are_named(kit, bundle, one: str, other: str) -> None:
    first, second = (bundle / one).read_bytes(), (bundle / other).read_bytes()
    (bundle / one).write_bytes(second)
    (bundle / other).write_bytes(first)
    result = VerifyResult(kit, bundle)
    assert (result.code, result.err) == (1, "")
    # Without a valid manifest, nothing else can be checked.
    assert len(result.failed) == (1 if other == "manifest.json" else 2)
    assert other in " ".join(result.failed)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("how", ["changed", "removed", "swapped"])
def test_a_zip_whose_files_were_tampered_with_is_named(kit, bundle, tmp_path, name: str, how: str) -> None:
    entries = {path.name: path.read_bytes() for path in bundle.iterdir()}
    other = "run.py" if name != "run.py" else "bench.py"
    if how == "removed":
        del entries[name]
    elif how == "swapped":
        entries[name], entries[other] = entries[other], entries[name]
    else:
        entries[name] = entries[name][:-9] + b"x" + entries[name][-8:]
    result = VerifyResult(kit, zipped(tmp_path / "x.zip", entries))
    assert (result.code, result.err) == (1, "")
    assert name in " ".join(result.failed)


def test_a_valid_file_of_another_bundle_is_named(kit, bundle, tmp_path) -> None:
    def renamed(proto: onnx.ModelProto) -> None:
        proto.producer_name = "another"

    (bundle / "model.onnx").write_bytes(edited((bundle / "model.onnx").read_bytes(), renamed))
    result = VerifyResult(kit, bundle)
    assert result.code == 1
    assert "model.onnx is not the file that was bundled" in result.failed[0]


def test_samples_that_unpack_to_too_much_are_not_unpacked(kit, bundle) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("pixels.npy", "w") as entry:
        for _ in range(160):
            entry.write(bytes(2**20))
    replaced(kit, bundle, "samples.npz", stream.getvalue())
    result = VerifyResult(kit, bundle)
    assert (result.code, result.err) == (1, "")
    assert "samples.npz unpacks to 167,772,160 bytes" in result.failed[0]


def test_control_characters_of_a_bundle_are_escaped(kit, bundle) -> None:
    resealed(kit, bundle, arch="r8\x1b[2J\n")
    result = VerifyResult(kit, bundle)
    assert result.code == 1
    assert "\x1b" not in result.out
    assert "r8\\x1b[2J\\n" in result.failed[0]


def test_an_edited_label_or_a_newer_schema_fails(kit, bundle) -> None:
    path = bundle / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"eins"', '"zwei-"'))
    assert "was changed" in VerifyResult(kit, bundle).out
    path.write_text(text.replace('"schema_version": 1', '"schema_version": 2'))
    assert "schema 2" in VerifyResult(kit, bundle).out


def test_the_digest_detects_a_resealed_manifest(kit, bundle) -> None:
    digest = json.loads((bundle / "manifest.json").read_text())["digest"]
    assert VerifyResult(kit, bundle, "--digest", digest.upper()).code == 0
    resealed(kit, bundle, seed=7)
    assert VerifyResult(kit, bundle).code == 0
    assert VerifyResult(kit, bundle, "--digest", digest).code == 1


def test_a_pinned_digest_needs_twelve_digits(kit, bundle) -> None:
    digest = json.loads((bundle / "manifest.json").read_text())["digest"]
    assert VerifyResult(kit, bundle, "--digest", digest[:12]).code == 0
    other = "0" if digest[11] != "0" else "1"
    assert VerifyResult(kit, bundle, "--digest", digest[:11] + other).code == 1
    for malformed in (digest[:11], digest + "0", "twelve digits"):
        result = VerifyResult(kit, bundle, "--digest", malformed)
        assert (result.code, result.out) == (2, "")
        assert "12 to 64 hexadecimal digits" in result.err


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"deployed": {}}, 2, "measured on no device"),
        ({"deployed": None}, 2, "measured on no device"),
        ({"deployed": {"a": "model.onnx", "b": "model.onnx"}}, 2, "choose one of a, b"),
        ({"deployed": {"here": "../model.onnx"}}, 1, "lists no file '../model.onnx'"),
        ({"deployed": {"here": ["model.onnx"]}}, 1, "budget cannot be checked"),
        ({"latency": {}}, 1, "it lacks 'here'"),
        ({"latency": None}, 1, "does not state how model.onnx was measured on here"),
        ({"latency": {"here": {"measured_with": {"threads": 1}}}}, 1, "it lacks 'provider'"),
    ],
)
def test_a_budget_needs_the_setting_from_the_manifest(kit, bundle, changes, code, named) -> None:
    resealed(kit, bundle, **changes)
    result = VerifyResult(kit, bundle, "--budget", "1s", "--rounds", "1")
    assert result.code == code
    assert named in result.out + result.err


def test_a_timer_that_the_manifest_does_not_list_is_not_started(kit, bundle) -> None:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    del files["bench.py"]
    resealed(kit, bundle, files=files)
    (bundle / "bench.py").write_text("import pathlib; pathlib.Path(__file__).with_name('started').touch()")
    result = VerifyResult(kit, bundle, "--budget", "1s")
    assert result.code == 1
    assert "lists no file 'bench.py'" in result.out


def test_pipes_and_links_to_devices_do_not_block(kit, bundle) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (bundle / "model.onnx").unlink()
        make(bundle / "model.onnx")
        result = VerifyResult(kit, bundle)
        assert (result.code, result.err) == (1, "")
        assert "model.onnx is not a plain file" in result.failed[0]


def edited(model: bytes, change: Callable[[onnx.ModelProto], object]) -> bytes:
    proto = onnx.load_from_string(model)
    change(proto)
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda proto: setattr(proto.graph.node[0], "op_type", "Levitate"), "Levitate"),
        (lambda proto: setattr(proto.opset_import[0], "version", 999), "999"),
        (lambda proto: proto.graph.ClearField("node"), "cannot be loaded"),
        (lambda proto: setattr(proto.metadata_props[0], "value", "other"), "is network"),
    ],
)
def test_unsupported_models_and_other_networks_are_named(kit, bundle, change, named: str) -> None:
    def on_arch(proto: onnx.ModelProto) -> None:
        props = sorted(proto.metadata_props, key=lambda prop: prop.key != "edgenas.arch")
        proto.ClearField("metadata_props")
        proto.metadata_props.extend(props)
        change(proto)

    replaced(kit, bundle, "model.onnx", edited((bundle / "model.onnx").read_bytes(), on_arch))
    result = VerifyResult(kit, bundle)
    assert result.code == 1
    assert len(result.failed) == 1
    assert named in result.failed[0]
    assert "onnxruntime_src" not in result.failed[0]


def test_a_model_with_other_outputs_fails_although_all_checksums_match(kit, bundle) -> None:
    def other_weights(proto: onnx.ModelProto) -> None:
        weights = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = np.frombuffer(weights.raw_data, np.float32) * 1.1
        weights.raw_data = values.astype(np.float32).tobytes()

    replaced(kit, bundle, "model.onnx", edited((bundle / "model.onnx").read_bytes(), other_weights))
    result = VerifyResult(kit, bundle)
    assert result.code == 1
    assert "computes different outputs" in result.failed[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["cat", "dog"]},
        {"preprocess": {"size": 8}},
        {"preprocess": None},
        {"samples": {}},
        {"samples": {"tolerance": {"model.onnx": "wide"}}},
        {"files": {}},
        {"files": {"../manifest.json": "0" * 64}},
        {"files": {"samples.npz": 7}},
        {"files": ["model.onnx"]},
        {"classes": 7},
    ],
)
def test_invalid_manifests_fail(kit, bundle, changes) -> None:
    resealed(kit, bundle, **changes)
    result = VerifyResult(kit, bundle)
    assert result.code == 1
    assert result.failed or result.err.startswith("verify: the bundle cannot be checked")


@pytest.mark.parametrize("change", [{"crop": 0}, {"crop": "half"}, {"presize": -8}, {"interpolation": "nearest"}])
def test_invalid_preprocessing_fails(kit, bundle, change) -> None:
    preprocess = json.loads((bundle / "manifest.json").read_text())["preprocess"]
    resealed(kit, bundle, preprocess=preprocess | change)
    result = VerifyResult(kit, bundle)
    assert result.code == 1
    assert result.failed
    assert all(str(next(iter(change.values()))) in line for line in result.failed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"schema_version": "1"}',
        '{"a": NaN}',
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_manifests_that_are_not_json_objects_fail(kit, bundle, text) -> None:
    (bundle / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    result = VerifyResult(kit, bundle)
    assert (result.code, len(result.failed)) == (1, 1)


def zipped(path: Path, entries: dict[str, bytes], mode: int = stat.S_IFREG) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            entry = zipfile.ZipInfo("placeholder")
            entry.filename = name
            entry.external_attr = (mode | 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return path


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("../evil.py", "plain file names"),
        ("/etc/passwd", "plain file names"),
        ("a/../../evil.py", "plain file names"),
        ("..\\evil.py", "plain file names"),
        ("C:evil.py", "plain file names"),
        ("a/b/c.py", "plain file names"),
        ("elsewhere/other.py", "several folders"),
    ],
)
def test_zips_with_unsafe_paths_are_refused(kit, bundle, tmp_path, name: str, cause: str) -> None:
    entries = {f"bundle/{path.name}": path.read_bytes() for path in bundle.iterdir()}
    result = VerifyResult(kit, zipped(tmp_path / "x.zip", entries | {name: b"evil"}))
    assert (result.code, len(result.failed)) == (1, 1)
    assert cause in result.failed[0]
    assert not (tmp_path / "evil.py").exists()


def test_zip_bombs_links_and_too_many_entries_are_refused(kit, tmp_path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {"model.onnx": bytes(50_000_000)})
    assert "times its size" in VerifyResult(kit, bomb).out
    link = zipped(tmp_path / "link.zip", {"model.onnx": b"/etc/passwd"}, stat.S_IFLNK)
    assert "a link" in VerifyResult(kit, link).out
    crowd = zipped(tmp_path / "crowd.zip", {f"{number}": b"" for number in range(101)})
    assert "101 entries" in VerifyResult(kit, crowd).out
    large = zipped(tmp_path / "large.zip", {"model.onnx": os.urandom(2000)})
    with pytest.raises(kit.CheckFailed, match="2,000 bytes"):
        kit.Zip(large, max_bytes=1000)


def test_an_entry_is_read_no_further_than_its_stated_size(kit, bundle, tmp_path) -> None:
    path = zip_bundle(bundle, tmp_path / "bundle.zip")
    data = path.read_bytes()
    size = (bundle / "model.onnx").stat().st_size.to_bytes(4, "little")
    assert size in data
    path.write_bytes(data.replace(size, (1000).to_bytes(4, "little")))
    result = VerifyResult(kit, path)
    assert (result.code, result.err) == (1, "")
    assert "model.onnx" in result.failed[0]


def test_truncated_and_overwritten_zips_fail(kit, bundle, tmp_path) -> None:
    data = zip_bundle(bundle, tmp_path / "bundle.zip").read_bytes()
    rng = np.random.default_rng(0)
    for number, place in enumerate(rng.integers(0, len(data), 30)):
        torn = tmp_path / f"{number}.zip"
        # Cut, or a stretch of it overwritten.
        torn.write_bytes(data[:place] if number % 2 else data[:place] + bytes(64) + data[place + 64 :])
        result = VerifyResult(kit, torn)
        assert (result.code, result.err) == (1, "")
        assert result.failed


def test_a_zip_bundle_is_reproducible_and_unpacks_into_a_folder(bundle, tmp_path) -> None:
    first, second = (zip_bundle(bundle, tmp_path / folder / "b.zip") for folder in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"b"}


def test_the_budget_is_compared_with_a_measurement_on_this_machine(kit, bundle, tmp_path) -> None:
    generous = VerifyResult(kit, bundle, "--budget", "5s", "--rounds", "4", "--json")
    assert generous.code == 0
    assert json.loads(generous.out)["measured"]["latency_ms"]["p50"] > 0
    zipped = zip_bundle(bundle, tmp_path / "bundle.zip")
    tight = VerifyResult(kit, zipped, "--budget", "0.0001us@p95", "--rounds", "4")
    assert tight.code == 1
    assert "the budget is" in tight.failed[0]


@pytest.mark.parametrize("budget", ["8", "ms", "-8ms", "0ms", "8ms@p99", "8 hours", "nanms"])
def test_malformed_budgets_are_refused(kit, bundle, budget: str) -> None:
    result = VerifyResult(kit, bundle, f"--budget={budget}")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("verify: --budget: expected")


def test_unlisted_files_are_named_and_not_checked(kit, bundle) -> None:
    (bundle / "my image.png").write_bytes(b"")
    result = VerifyResult(kit, bundle)
    assert result.code == 0
    assert "'my image.png'" in result.out


def test_imports_only_the_standard_library_numpy_and_onnxruntime() -> None:
    tree = ast.parse((shipped("export") / "verify.py").read_text(encoding="utf-8"), feature_version=(3, 9))
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    parts = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    roots = {str(name).split(".")[0] for name in plain + parts}
    assert roots - sys.stdlib_module_names == {"numpy", "onnxruntime"}
