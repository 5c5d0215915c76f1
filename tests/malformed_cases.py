"""Malformed inputs that people thought of: what a user may write, and what a folder may have become."""

from __future__ import annotations

import pickle
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from small_run import SMALL_CONFIG

from edgenas.records.paths import RESULTS
from edgenas.runs.stage_order import STAGES

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
"""Twelve lines that unfold to 10**12 values ("billion laughs")."""
DEEP = "[" * 100_000
DEVICE = "{schema_version: 1, name: mine, cpu: Abacus, os: Linux, cores: 2, run: {threads: 1}}\n"
CONFIG = SMALL_CONFIG.replace("space: tiny-16.yaml\n", "") + "space: tiny-16.yaml\n"
"""Its last line is one that no config does without, so that it cannot be cut short and still be whole."""
Edit = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        name: of the case.
        edit: makes it, in a folder that holds config.yaml, tiny-16.yaml, device.yaml, table/ and, where `stage` says
            so, the finished run `run`.
        command: what is called in that folder.
        says: what the message must name: the file, key or value at fault.
        code: exit code; 2 but where a device or measurement is at fault.
        stage: where a run is needed, the first stage whose result it lacks; `done` where it lacks none.
    """

    name: str
    edit: Edit
    command: tuple[str, ...]
    says: str
    code: int = 2
    stage: str | None = None


def nothing(folder: Path) -> None:
    """The command alone is the mistake."""


def text(name: str, content: str | bytes) -> Edit:
    """Another content of a file."""
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def replaced(name: str, old: str, new: str) -> Edit:
    """A part of a file, which must be there, exchanged."""

    def edit(folder: Path) -> None:
        before = (folder / name).read_text()
        assert old in before
        (folder / name).write_text(before.replace(old, new))

    return edit


def gone(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def a_folder(name: str) -> Edit:
    """A folder where a file should be."""

    def edit(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return edit


RUN = ("run", "config.yaml", "--run", "run")


def usage() -> Iterator[Case]:
    yield Case("unknown command", nothing, ("fly",), "No such command 'fly'")
    yield Case("slip of a command", nothing, ("trian", "config.yaml"), "train")
    yield Case("unknown option", nothing, ("run", "config.yaml", "--budgets=8ms"), "--budget")
    yield Case("no argument", nothing, ("run",), "Missing argument")
    yield Case("minutes that are none", nothing, ("train", "config.yaml", "--train-minutes=nan"), "above zero, got nan")
    yield Case("missing config", nothing, ("run", "missing.yaml"), "missing.yaml does not exist")
    yield Case("folder that is no run", nothing, ("run", "table"), "table is no run folder")
    yield Case("endless config", nothing, ("run", "/dev/zero"), "larger than")
    yield Case("image for a config", text("a.png", b"\x89PNG\r\n\x1a\n\0"), ("run", "a.png"), "a.png")
    yield Case("name too long for a file", nothing, ("run", "x" * 300), "File name too long")
    yield Case("status of nothing", nothing, ("status", "nowhere"), "nowhere is no run folder")
    yield Case("stage of no run", nothing, ("train", "table"), "table is no run folder")
    yield Case("unknown device", nothing, ("devices", "show", "xeon"), "did you mean 'xeon-2c-amx'")
    yield Case("unknown table", nothing, ("tables", "show", "nowhere"), "table 'nowhere'")
    yield Case("device name with a space", nothing, ("devices", "probe", "my device.yaml"), "--name")
    yield Case("probe over a file", nothing, ("devices", "probe", "device.yaml"), "device.yaml exists")


def run_folders() -> Iterator[Case]:
    yield Case("file for a run folder", nothing, (*RUN[:3], "device.yaml"), "device.yaml exists")
    yield Case("run folder in a file", nothing, (*RUN[:3], "device.yaml/run"), "device.yaml")
    yield Case("run folder of another", nothing, (*RUN[:3], "table"), "table exists and is no run folder")
    yield Case("run folder in /proc", nothing, (*RUN[:3], "/proc/run"), "/proc/run")
    yield Case("run folder in /dev/null", nothing, (*RUN[:3], "/dev/null/run"), "/dev/null")
    yield Case("run folder of a name too long", nothing, (*RUN[:3], "x" * 300), "File name too long")
    change = (*RUN, "--set", "search.population=9")
    yield Case("another config", nothing, change, "search.population was 8, is 9", stage="done")
    yield Case("stage with other settings", nothing, ("search", "run", "--set", "seed=1"), "run is a run", stage="done")


def configs() -> Iterator[Case]:
    contents = {
        "empty": ("", "an empty file"),
        "only a comment": ("# nothing\n", "an empty file"),
        "a list": ("- name: a\n", "got list"),
        "a text": ("hello", "got str"),
        "open bracket": ("name: [a", "line 1, column 9"),
        "tab": ("\tname: a", "line 1, column 1"),
        "two documents": ("name: a\n---\nname: b\n", "another document"),
        "object": ("name: !!python/object/apply:os.system ['touch owned']\n", "python/object"),
        "billion laughs": (BOMB, "more than 20,000 values"),
        "alias to itself": ("a: &a [*a]\n", "nested too deeply"),
        "deep": (DEEP, "nested too deeply"),
        "key twice": (CONFIG + "seed: 1\nseed: 2\n", "'seed' occurs twice"),
        "merge": (CONFIG.replace("data:", "<<: {seed: 1}\ndata:"), "unknown key '<<'"),
        "list as a key": ("? [a]\n: 1\n", "a key must be a word"),
        "NUL": (CONFIG + "seed: 1\0\n", "special characters"),
        "NUL in quotes": (CONFIG.replace("tiny-16.yaml", '"tiny\\0"'), "characters that are not valid in a text"),
        "half a character": (CONFIG.replace("tiny-16.yaml", '"\\ud800"'), "characters that are not valid in a text"),
        "Latin-1": (CONFIG.encode() + b"# \xe4\n", "it is not UTF-8 text"),
        "huge": (CONFIG + "#" * 300_000, "larger than"),
        "newer": (CONFIG + "schema_version: 9\n", "upgrade edgenas"),
        "version in words": (CONFIG + "schema_version: new\n", "schema_version"),
    }
    for name, (content, says) in contents.items():
        yield Case(f"config: {name}", text("config.yaml", content), RUN, says)


def settings() -> Iterator[Case]:
    mistakes = {
        "search.evaluation=3": "did you mean 'search.evaluations'",
        "sarch.evaluations=3": "did you mean 'search",
        "evaluations=3": "did you mean 'search.evaluations'",
        "train.epochs=0": "train.epochs: expected a number above",
        "train.epochs=.inf": "train.epochs: expected a finite number",
        "train.epochs=true": "train.epochs: expected a value other than true or false",
        "train.batch_size=64.5": "train.batch_size: expected a whole number",
        "train.batch_size=100000": "train.batch_size is 100000, but there are only",
        "train.augment=yes": "train.augment: expected keys and values",
        "seed=-1": "seed: expected a number of at least 0",
        f"seed={10**17}": "seed: expected a number below",
        f"seed={10**40}": "a whole number of 41 digits",
        "search.strategy=nsga3": "did you mean 'nsga2'",
        "data.name=mnist": "did you mean 'fashion-mnist'",
        "data={name: digits, path: /tmp}": "digits come with scikit-learn",
        "name=a/b": "name: expected up to 100 letters",
        "name=2024 05 01": "name: expected up to 100 letters",
        "space=mobile-33": "did you mean 'mobile-32'",
        "space=[a]": "space: expected a preset",
        "space={preset: mobile-32, kernels: [3]}": "did you mean 'kernel'",
        "space={preset: mobile-32, kernel: [4]}": "kernel: 4 is none of 3, 5, 7; the closest is 3",
        "space={preset: mobile-32, resolution: 28}": "resolution: expected a list of some of 28",
        "space={preset: mobile-32, stages: {7: {kernel: [3]}}}": "stages has no '7'",
        "space={path: config.yaml}": "schema_version",
        "devices=here": "devices: expected a list",
        "devices=[]": "devices: expected a list of at least 1",
        "devices=[here, here]": "devices: expected each device once",
        "devices=[nowhere]": "device 'nowhere'",
        "devices=[~no.one/mine.yaml]": "device '~no.one/mine.yaml'",
        "space=~no.one/space.yaml": "space '~no.one/space.yaml'",
        "data={name: imagefolder, path: ~no.one/images}": "~no.one/images: no such folder",
        "devices=[device.yaml]": "device mine has cpu Abacus",
        "budgets=8ms": "budgets: expected a list",
        "budgets=[8]": "budgets.0: expected a text like 8ms",
        "profile.networks=999999999": "profile.networks: expected a number of at most",
        "train.init=nowhere": "nowhere does not exist",
        "shelf=efficientnet-lite0": "shelf: expected auto, or a list of pretrained networks",
        "shelf=[efficientnet-lite0, efficientnet-lite0]": "shelf: expected each network once",
        "shelf=['../weights.pth']": "shelf: expected names of pretrained networks",
        "shelf=[efficientnet-lite0]": "shelf: networks of the shelf get a new classifier, which only",
        "train.init=~no.one/run": "~no.one/run does not exist",
        "search.evaluations": "expected key=value",
        "=3": "expected key=value",
        "name.x=3": "'name' has no keys",
        "seed=[1": "not valid YAML",
    }
    for mistake, says in mistakes.items():
        yield Case(f"--set {mistake}"[:70], nothing, (*RUN, "--set", mistake), says)


def budgets() -> Iterator[Case]:
    mistakes = {
        "8": "did you mean 8ms?",
        "pi4=8": "did you mean pi4=8ms?",
        "8MS": "did you mean 8ms?",
        "8sec": "one of us, ms, s",
        "=8ms": "'' is no name of a device",
        "my pi=8ms": "'my pi' is no name of a device",
        "": "expected a number with a unit",
        "ms": "'' is not a number",
        "0ms": "above zero",
        "-3ms": "above zero",
        "nanms": "above zero",
        "1e999ms": "above zero",
        "0,4ms": "'0,4' is not a number",
        "8ms@p99": "valid: p50, p95",
        "8ms@": "valid: p50, p95",
        "mac=10M": "did you mean macs=10M?",
        "macs=10m": "did you mean macs=10M?",
        "macs=10M@p95": "leave @p95 out",
        "weight_bytes=400": "did you mean weight_bytes=400B?",
        "pi5=8ms": "this run has no device 'pi5'",
        "macs=1": "cannot be met: the space reaches from",
    }
    for mistake, says in mistakes.items():
        yield Case(f"--budget {mistake}", nothing, (*RUN, f"--budget={mistake}"), says)
    too_fast = replaced("run/config.yaml", "budgets: []", "budgets: [0.001ms]")
    yield Case("budget below the fastest", too_fast, ("train", "run"), "cannot be met", stage="train")


def spaces_and_devices() -> Iterator[Case]:
    space: dict[str, tuple[str, str, str]] = {
        "unknown key": ("stride: 2", "strides: 2", "did you mean 'stages.1.stride'"),
        "even kernel": ("[3, 5]", "[3, 4]", "stages.1.kernel: expected odd kernel sizes"),
        "falling": ("[16, 24]", "[24, 16]", "stages.1.width: expected distinct choices in ascending order"),
        "unknown activation": ("activation: relu", "activation: gelu", "valid: hardswish, relu"),
        "infinite": ("expand: [2, 4]", "expand: [2, .inf]", "stages.1.expand.1: expected a number of at most 100"),
        "endless depth": ("depth: [1, 2]", "depth: [1, 1000000]", "stages.1.depth.1: expected a number of at most"),
        "no choice": ("width: [8]", "width: []", "stages.0.width: expected a list of at least 1"),
        "too small": ("stride: 2", "stride: 64", "too small for a total stride"),
        "newer": ("schema_version: 1", "schema_version: 7", "upgrade edgenas"),
    }
    for name, (old, new, says) in space.items():
        yield Case(f"space: {name}", replaced("tiny-16.yaml", old, new), RUN, says)
    device: dict[str, tuple[str, str, str]] = {
        "unknown key": ("threads: 1", "thread: 1", "did you mean 'run.threads'"),
        "no threads": ("threads: 1", "threads: 0", "run.threads: expected a number of at least 1"),
        "path for a name": ("name: mine", "name: ../mine", "name: expected up to 100 letters"),
        "no cpu": ("cpu: Abacus, ", "", "cpu is missing"),
        "unknown transport": ("threads: 1", "transport: pigeon", "'pigeon' is not supported; valid: "),
        "newer": ("schema_version: 1", "schema_version: 7", "upgrade edgenas"),
    }
    for name, (old, new, says) in device.items():
        yield Case(f"device: {name}", replaced("device.yaml", old, new), ("devices", "show", "device.yaml"), says)


def tables() -> Iterator[Case]:
    show = ("tables", "show", "table")
    yield Case("table without meta.json", gone("table/meta.json"), show, "meta.json does not exist")
    yield Case("table without table.csv", gone("table/table.csv"), show, "table.csv does not exist")
    yield Case(
        "table: columns renamed", replaced("table/table.csv", "p50_us", "p50_ms"), show, "missing columns p50_us"
    )

    def drop_last_row(folder: Path) -> None:
        path = folder / "table" / "table.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))

    yield Case("table cut at a line's end", drop_last_row, show, "was the file cut short?")
    check, merge = ("tables", "check", "table"), ("tables", "merge", "table", "table", "--out")
    yield Case("check of a table without meta.json", gone("table/meta.json"), check, "meta.json does not exist")
    yield Case("check of a space that is none", nothing, (*check, "--space", "mobile-33"), "did you mean 'mobile-32'")
    yield Case("check of no classes", nothing, (*check, "--space", "mobile-32", "--classes", "0"), "--classes")
    yield Case("diff with nothing", nothing, ("tables", "diff", "table", "nowhere"), "table 'nowhere'")
    yield Case("merge of one", nothing, ("tables", "merge", "table", "--out", "new"), "two or more tables")
    yield Case("merge over a folder", nothing, (*merge, "table"), "table exists: choose another --out")
    yield Case("merge into a file", nothing, (*merge, "device.yaml/new"), "device.yaml")
    for field, (old, new) in {"threads": ("1", '"unknown"'), "provider": ('"cpu"', '"unknown"')}.items():
        edit = replaced("table/meta.json", f'"{field}": {old}', f'"{field}": {new}')
        yield Case(
            f"merge of unknown {field}", edit, (*merge, "new"), f"{field} is unknown in the first and unknown in"
        )


ARCH = "r16_w8-k3e1_w16-k3e2"


def imports() -> Iterator[Case]:
    """CSV files of networks measured elsewhere; the space is tiny-16."""
    options = ("--out", "new", "--space", "tiny-16.yaml", "--classes", "10", "--device", "mine")
    command = ("tables", "import", "networks.csv", *options)
    head, line = "arch,latency_ms\n", f"{ARCH},1.5\n"
    contents: dict[str, tuple[str | bytes, str]] = {
        "empty": ("", "networks.csv: expected a line of column names"),
        "no network": (head, "networks.csv: expected a line of column names"),
        "image": (b"\x89PNG\r\n\x1a\n\0", "networks.csv cannot be read as CSV"),
        "no arch": ("name,latency_ms\na,1\n", "line 1: expected a column arch, or ks, e, d, r; missing ks"),
        "half of once-for-all": ("ks,e,latency_ms\n3,3,1\n", "missing d, r"),
        "no latency": ("arch,latency\n" + line, "line 1: has none of latency_us, latency_ms, latency_s"),
        "two latencies": (f"arch,latency_ms,latency_us\n{ARCH},1,2\n", "line 1: has latency_us, latency_ms"),
        "column twice": ("arch,latency_ms,latency_ms\n" + line, "line 1: the column 'latency_ms' occurs twice"),
        "value missing": (head + line + f"{ARCH}\n", "line 3: expected 2 values, got 1; was the file cut short?"),
        "decimal comma": (head + f"{ARCH},1,5\n", "line 2: expected 2 values, got 3; are there decimal commas?"),
        "underscores in a number": (head + f"{ARCH},1_500\n", "got '1_500': write it in digits"),
        "capitals in an arch": (head + f"{ARCH.upper()},1\n", f"did you mean '{ARCH}'?"),
        "slip in a column": (f"architecture,latency_ms\n{line}", "did you mean 'arch' by 'architecture'?"),
        "latency in words": (head + line + f"{ARCH},fast\n", "line 3, column latency_ms: expected a finite number"),
        "no number": (head + f"{ARCH},nan\n", "line 2, column latency_ms: expected a finite number above zero"),
        "negative": (head + f"{ARCH},-1\n", "line 2, column latency_ms: expected a finite number above zero"),
        "endless": (head + f"{ARCH},1e999\n", "line 2, column latency_ms: expected a finite number above zero"),
        "no text of an arch": (head + "resnet,1\n", "line 2, column arch: arch 'resnet'"),
        "arch of another space": (head + f"{ARCH.replace('r16', 'r99')},1\n", "column arch: arch r99_w8"),
        "kernels in words": ("ks,e,d,r,latency_ms\nbig,3,1,16,1\n", "line 2, column ks: expected numbers like 3-5-7"),
        "two resolutions": ("ks,e,d,r,latency_ms\n3,3,1,16-20,1\n", "line 2, column r: expected one resolution"),
        "few kernels": (
            "ks,e,d,r,latency_ms\n3,3,1,16,1\n",
            "line 2, column ks e d r: once-for-all settings: expected 2 values for ks",
        ),
        "part of a run": (
            "arch,latency_ms,count\n" + f"{ARCH},1,2.5\n",
            "line 2, column count: expected a whole number",
        ),
        "negative spread": ("arch,latency_ms,std\n" + f"{ARCH},1,-2\n", "line 2, column std"),
    }
    for name, (content, says) in contents.items():
        yield Case(f"import: {name}", text("networks.csv", content), command, says)
    fine = text("networks.csv", head + line)
    yield Case("import: missing file", nothing, command, "networks.csv does not exist")
    yield Case("import: a folder", a_folder("networks.csv"), command, "networks.csv is not a file")
    yield Case("import: endless file", nothing, ("tables", "import", "/dev/zero", *options), "/dev/zero is not a file")
    yield Case("import: over a folder", fine, (*command, "--out", "table"), "table exists")
    yield Case("import: path for a device", fine, (*command, "--device", "../mine"), "--device: expected up to 100")
    yield Case("import: unknown column", fine, (*command, "--latency-column", "latency"), "did you mean 'latency_ms'")
    yield Case("import: unknown unit", fine, (*command, "--unit", "ns"), "--unit")
    named = text("networks.csv", "arch,time\n" + line)
    yield Case("import: no unit", named, (*command, "--latency-column", "time"), "set --unit to one of us, ms, s")


def exports() -> Iterator[Case]:
    """Networks, forms and folders that a run's export cannot give; refused before anything is exported."""

    def case(what: str, *options: str, says: str, edit: Edit = nothing) -> Case:
        return Case(f"export: {what}", edit, ("export", "run", *options), says, stage="done")

    def thesis(folder: Path) -> None:
        (folder / "mine").mkdir()
        (folder / "mine" / "thesis.txt").write_text("years of work")

    kernel = "--arch=r16_w8-k7e1_w16-k3e2"
    yield case("arch outside the space", kernel, says="stage0.block0.kernel is 7, the space has 3")
    yield case("arch that is none", "--arch=fastest", says="expected a text like")
    yield case("best of none", "--arch=best:0", says="expected best:1 to best:")
    yield case("best of too many", "--arch=best:999", says="expected best:1 to best:")
    yield case("best of a word", "--arch=best:one", says="expected a text like")
    yield case("batch of two", "--batch=2", says="'2' is not one of '1', 'dynamic'")
    yield case("int4", "--precision=int4", says="'int4' is not one of 'fp32', 'int8'")
    yield case("folder of another", "--out=mine", says="files that do not belong to a bundle (thesis.txt)", edit=thesis)
    yield case("file for a folder", "--out=device.yaml", says="files that do not belong to a bundle (device.yaml)")
    yield case("the run's own bundle", "--out=run/export/bundle", says="choose another --out")
    greedy = replaced("run/config.yaml", "calibration_images: 256", "calibration_images: 99999")
    says = "export.calibration_images is 99999, but there are only"
    yield case("quantiser wants more images", "--precision=int8", says=says, edit=greedy)
    start = (*RUN, "--set", "export={precision: int8, calibration_images: 99999}")
    yield Case("start: quantiser wants more images", nothing, start, says)
    yield Case("plan: quantiser wants more images", nothing, (*start, "--plan"), says)


def in_run_folder() -> Iterator[Case]:
    """Pieces of a run folder that are missing, folders where files should be, versions that are newer."""
    status, report = ("status", "run"), ("report", "run")
    yield Case("run without config.yaml", gone("run/config.yaml"), status, "holds no config.yaml", stage="done")
    yield Case("run without space.yaml", gone("run/space.yaml"), status, "holds no space.yaml", stage="done")
    yield Case("run without data.json", gone("run/data.json"), report, "data.json does not exist", stage="done")
    devices = "run/devices/00-here.yaml"
    yield Case("run without its device", gone(devices), ("verify", "run"), "holds 0 devices", stage="verify")
    predictor = "run/latency/here/predictor.json"
    yield Case(
        "run without predictor", gone(predictor), ("search", "run"), "predictor.json does not exist", stage="search"
    )
    models = replaced("run/verify/result.json", "verify/models/", "../../models/")
    yield Case("model outside the run", models, ("export", "run"), "model:", stage="export")
    settings = {"threads": ("1", "4"), "precision": ('"fp32"', '"int8"'), "spinning": ("false", "true")}
    settings |= {"runtime_version": ('"', '"0.9.'), "device": ('"here"', '"there"')}
    for key, (old, new) in settings.items():
        edit = replaced("run/latency/here/meta.json", f'"{key}": {old}', f'"{key}": {new}')
        yield Case(
            f"table of another {key}", edit, ("search", "run"), f"another setting ({key}: expected ", stage="search"
        )
    space = replaced("run/latency/here/table.csv", "tiny-16@", "other-16@")
    yield Case("table of another space", space, ("train", "run"), "expected networks of tiny-16@", stage="train")
    classes = replaced("run/latency/here/predictor.json", '"num_classes": 10', '"num_classes": 12')
    yield Case("predictor of other classes", classes, ("search", "run"), "expected 10 classes, got 12", stage="search")
    other = replaced("run/latency/here/predictor.json", '"space": "tiny-16@', '"space": "other@')
    yield Case("predictor of another space", other, ("search", "run"), "fitted for space 'other@", stage="search")
    digits = replaced("run/data.json", '"digest": "', '"digest": "0')
    yield Case("other images", digits, ("search", "run"), "images of digits changed", stage="search")
    for stage in STAGES[:-1]:
        name = f"run/{RESULTS[stage]}"
        yield Case(f"folder for {RESULTS[stage]}", a_folder(name), report, f"{name} cannot be read", stage="done")
        newer = replaced(name, '"schema_version": 1', '"schema_version": 2')
        yield Case(f"newer {RESULTS[stage]}", newer, report, "upgrade edgenas", stage="done")
    newer = replaced("run/config.yaml", "schema_version: 1", "schema_version: 2")
    yield Case("newer config of a run", newer, status, "upgrade edgenas", stage="done")


def checkpoints() -> Iterator[Case]:
    name = "run/supernet/checkpoint.safetensors"
    search = ("search", "run")

    def case(what: str, content: bytes | Callable[[bytes], bytes], says: str = "checkpoint.safetensors") -> Case:
        def edit(folder: Path) -> None:
            path = folder / name
            path.write_bytes(content(path.read_bytes()) if callable(content) else content)

        return Case(f"checkpoint: {what}", edit, search, says, stage="search")

    def with_header(header: dict[str, str] | None) -> bytes:
        return safetensors.torch.save({"net.x": torch.zeros(2)}, header)

    yield case("pickle that runs code", pickle.dumps(Owned()), "looks like a pickle")
    yield case("zip", b"PK\x03\x04" + bytes(200), "looks like a pickle")
    yield case("no header of ours", with_header(None))
    yield case("header that is no JSON", with_header({"edgenas": "{"}))
    yield case("steps that are none", with_header({"edgenas": '{"schema_version": 1, "step": -1, "seconds": 1}'}))
    yield case("newer", with_header({"edgenas": '{"schema_version": 9, "step": 1, "seconds": 1}'}), "upgrade")
    yield case("another network", with_header({"edgenas": '{"schema_version": 1, "step": 1, "seconds": 1}'}))
    yield case("header of 2**63 bytes", b"\xff" * 8 + b"{}")
    yield case("one bit of a weight", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "not as training left it")
    yield Case("checkpoint: missing", gone(name), search, "run `edgenas train run`", stage="search")


class Owned:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("owned"),)


IMAGES = (*RUN, "--set", "data={name: imagefolder, path: images}")


def class_folders() -> Iterator[Case]:
    """Trees of images that no classifier can be trained on."""

    def case(what: str, edit: Edit, says: str) -> Case:
        def whole(folder: Path) -> None:
            for name in ("cat", "dog"):
                draw(folder / "images" / name, 20)
            edit(folder)

        return Case(f"images: {what}", whole, IMAGES, says)

    def split(folder: Path) -> None:
        (folder / "images").rename(folder / "train")
        (folder / "images").mkdir()
        (folder / "train").rename(folder / "images" / "train")
        for name in ("cat", "dog"):
            draw(folder / "images" / "val" / name, 4)

    def after_split(edit: Edit) -> Edit:
        return lambda folder: (split(folder), edit(folder))

    def without(name: str) -> Edit:
        return lambda folder: shutil.rmtree(folder / "images" / name)

    def broken(count: int, content: Callable[[bytes], bytes]) -> Edit:
        def edit(folder: Path) -> None:
            for path in sorted((folder / "images" / "cat").iterdir())[:count]:
                path.write_bytes(content(path.read_bytes()))

        return edit

    def texts(folder: Path) -> None:
        (folder / "images" / "ox").mkdir()
        text("images/ox/note.txt", "an ox")(folder)

    yield Case("images: no path", nothing, (*RUN, "--set", "data={name: imagefolder}"), "data.path")
    yield Case("images: missing folder", nothing, IMAGES, "images: no such folder")
    yield Case("images: a file for the folder", text("images", ""), IMAGES, "images: no such folder")
    yield Case("images: empty folder", lambda f: (f / "images").mkdir(), IMAGES, "2 or more classes, got none")
    yield case("single class", without("dog"), "2 or more classes, got only cat/")
    yield case("empty class", lambda f: (f / "images" / "ox").mkdir(), "ox has no images")
    yield case("class of texts", texts, "ox has no images")
    yield case("class with one image", lambda f: draw(f / "images" / "ox", 1), "'ox' has 1, expected at least 3")
    yield case("val without a class", after_split(without("val/dog")), "val lacks 1 of the classes of train/ (dog)")
    more = after_split(lambda f: draw(f / "images" / "val" / "ox", 2))
    yield case("val with a class more", more, "val has class 'ox', which train/ lacks")
    yield case("val without train", after_split(without("train")), "rename the folder of training images")
    twice = after_split(lambda f: draw(f / "images" / "valid" / "cat", 2))
    yield case("val twice", twice, "both val/ and valid/")
    yield case("truncated", broken(2, lambda data: data[: len(data) // 2]), "cat/000.png")
    yield case("empty files", broken(2, lambda data: b""), "cat/000.png")
    yield case("texts named images", broken(20, lambda data: b"hello"), "cat/000.png")
    yield case("larger than memory", broken(2, bomb), "cat/000.png")


def draw(folder: Path, count: int) -> None:
    """Images of noise, no two alike."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng((count, *str(folder.name).encode(), *folder.parent.name.encode()))
    for number in range(count):
        image = Image.fromarray(rng.integers(0, 256, (14, 12, 3), dtype=np.uint8))
        image.save(folder / f"{number:03d}.png")


def bomb(data: bytes) -> bytes:
    """A PNG whose header announces an image of a terabyte."""
    size = (600_000).to_bytes(4, "big")
    header = b"IHDR" + size + size + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


MAKERS = (
    *(usage, run_folders, configs, settings, budgets, spaces_and_devices, tables, imports, in_run_folder, checkpoints),
    *(exports, class_folders),
)
CASES = [case for maker in MAKERS for case in maker()]
