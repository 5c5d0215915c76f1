"""Devices: what a machine is, and how models are run on it. One YAML file each, without host or user names."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from edgenas.errors import TableError, UserError, explained, one_of, refuse_grouped_digits, shown
from edgenas.files import SCHEMA_VERSION, check_schema, file_name, read_yaml, shipped, user_path
from edgenas.plain_yaml import dump_yaml
from edgenas.space.narrow import check_unsupported

# Flags that a runtime's kernels are chosen by; the hundred others say nothing about inference.
INFERENCE_FLAGS = (
    *("sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("neon", "asimd", "asimdhp", "fphp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
    *("rvv", "v", "zvfh", "altivec", "vsx", "lasx", "lsx"),
)
X86_FLAGS = frozenset({"sse4_1", "sse4_2", "avx", "avx2", "avx512f"})
X86_MACHINES = frozenset({"x86_64", "amd64", "x86", "i386", "i486", "i586", "i686"})
"""What systems call x86, in lower case; the last word of `Device.os`."""
EXACT_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""x86 instructions that add products of uint8 and int8 in 32 bits."""
Precision = Literal["fp32", "int8"]
THIS_MACHINE = "here"
"""The device name that stands for the machine edgenas runs on."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_digits(cls, value: Any, info: ValidationInfo) -> Any:
        return refuse_grouped_digits(value, cls.model_fields[str(info.field_name)].annotation)


class DeviceRun(_Section):
    """How models are run on a device.

    All but the transport is part of every number's identity. `transport` is a kind of `profiling.transports`, or
    `table` for devices that are never measured. `chromium` and `onnxruntime_web` are paths of a browser and its
    runtime, for those that are not on the PATH or in `node_modules`.
    """

    transport: str = Field("local", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    threads: int = Field(1, ge=1, le=1024)
    provider: Literal["cpu", "wasm"] = "cpu"
    precision: Precision = "fp32"
    optimisation_level: Literal["all", "extended", "basic", "disable"] = "all"
    spinning: bool = False
    chromium: Path | None = None
    onnxruntime_web: Path | None = None

    @property
    def runtime(self) -> str:
        """What runs the models."""
        return "onnxruntime-web" if self.provider == "wasm" else "onnxruntime"

    def in_browser(self) -> DeviceRun:
        """The same in a browser of that machine, whose threads, where there are several, always spin."""
        forced = {"transport": "browser", "provider": "wasm", "spinning": self.threads > 1}
        return self.model_copy(update=forced)

    @model_validator(mode="before")
    @classmethod
    def _as_in_browsers(cls, value: Any) -> Any:
        """What a browser leaves no choice in need not be written."""
        if not isinstance(value, dict) or value.get("transport") != "browser":
            return value
        return {"provider": "wasm", "spinning": value.get("threads") not in (None, 1), **value}

    @model_validator(mode="after")
    def _browsers_are_different(self) -> DeviceRun:
        browser = self.transport == "browser"
        if browser != (self.provider == "wasm"):
            raise ValueError("provider wasm goes with transport browser, and no other does")
        if browser and self.spinning != (self.threads > 1):
            raise ValueError("spinning: several threads always spin in a browser, and one has nothing to wait for")
        if not browser and (self.chromium or self.onnxruntime_web):
            raise ValueError("chromium and onnxruntime_web go with transport browser")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_found(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out paths that are not set: files of other machines do not need them."""
        found = ("chromium", "onnxruntime_web")
        return {key: value for key, value in serialise(self).items() if key not in found or value is not None}


def _unsupported(entries: tuple[str, ...]) -> tuple[str, ...]:
    check_unsupported(entries)
    return entries


class Device(_Section):
    """A machine and how it is used.

    `unsupported` names what networks must do without there, `[HardSwish, kernel 7, squeeze-excite]`: spaces are
    narrowed by it before training (`space.narrow`).
    """

    schema_version: int = SCHEMA_VERSION
    name: Annotated[str, AfterValidator(file_name)]
    description: str = ""
    cpu: str
    cores: int | None = Field(None, ge=1)
    isa: tuple[str, ...] = ()
    memory_bytes: int | None = Field(None, ge=1)
    os: str
    unsupported: Annotated[tuple[str, ...], AfterValidator(_unsupported)] = ()
    run: DeviceRun = DeviceRun()

    @model_validator(mode="after")
    def _has_a_core_for_each_thread(self) -> Device:
        check_threads(self.run.threads, self.cores, f"device {self.name}")
        return self

    @property
    def is_measured(self) -> bool:
        """Whether it can be asked; else it is known by a latency table alone, which says how models were run."""
        return self.run.transport != "table"

    @property
    def int8_saturates(self) -> bool:
        """Whether int8 kernels add two products in 16 bits, where 8-bit weights overflow.

        ONNX Runtime's do on x86 without VNNI and AMX (`vpmaddubsw`). An x86 CPU whose flags are unknown counts as one
        without: 7-bit weights are right on every CPU.
        """
        flags, machine = set(self.isa), self.os.rpartition(" ")[2].lower()
        return bool(X86_FLAGS & flags or machine in X86_MACHINES) and not EXACT_INT8_FLAGS & flags


def check_threads(threads: int, cores: int | None, where: str) -> None:
    """Refuse more threads than cores: threads that wait for each other are slower than one.

    Raises:
        TableError: there are fewer cores; `where` names what has them.
    """
    if cores is not None and threads > cores:
        raise TableError(f"{where} has {cores} core(s) for {threads} threads: choose at most {cores} thread(s)")


def usable_cores() -> int:
    """Return how many cores this process may use: by its affinity (taskset, a container's set) and CPU quota."""
    import joblib

    return int(joblib.cpu_count())


def check_threads_here(threads: int) -> None:
    """Refuse more threads than this process has cores, which may be fewer than the machine has.

    Raises:
        TableError: there are fewer.
    """
    check_threads(threads, usable_cores(), "this process (limited by taskset, a container, or the machine itself)")


def device_names() -> list[str]:
    """Names of the shipped devices."""
    return sorted(path.stem for path in shipped("devices").glob("*.yaml"))


def load_device(name_or_path: str | Path) -> Device:
    """A shipped device by name, or any by the path of its file.

    Raises:
        TableError: there is no such device, or its file is broken or of a newer schema.
    """
    known = str(name_or_path) in device_names()
    path = shipped("devices") / f"{name_or_path}.yaml" if known else user_path(name_or_path)
    if not os.path.isfile(path):
        hint = one_of(str(name_or_path), [THIS_MACHINE, *device_names()])
        raise TableError(
            f"device {shown(str(name_or_path))} is neither shipped nor a file; {hint}; "
            "`edgenas devices probe` writes one for this machine"
        )
    return _read(path)


def _read(path: Path) -> Device:
    try:
        value = read_yaml(path)
        check_schema(value, path)
        return Device.model_validate(value)
    except ValidationError as error:
        keys = [*Device.model_fields, *(f"run.{name}" for name in DeviceRun.model_fields)]
        raise TableError(f"{path}: {explained(error.errors(), keys)}") from None
    except UserError as error:
        raise TableError(str(error)) from None


def dump_device(device: Device) -> str:
    """The device as YAML, every field written out."""
    return dump_yaml(device.model_dump(mode="json"))


def probe(name: str = THIS_MACHINE, threads: int = 1, precision: Precision = "fp32") -> Device:
    """Describe this machine from what its system reports; host and user names are left out.

    Raises:
        TableError: `name` cannot be a device's name, or there are fewer cores than threads.
    """
    try:
        file_name(name)
    except ValueError as error:
        raise TableError(f"device name: {error}; give it one with --name") from None
    check_threads_here(threads)
    cpuinfo = _cpuinfo()
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    return Device(
        name=name,
        description="probed",
        cpu=_cpu_model(cpuinfo),
        cores=os.cpu_count(),
        isa=tuple(flag for flag in INFERENCE_FLAGS if flag in flags),
        memory_bytes=_memory_bytes(),
        os=_system(),
        run=DeviceRun(threads=threads, precision=precision),
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cpu_model(cpuinfo: dict[str, str]) -> str:
    board = Path("/proc/device-tree/model")
    if "model name" in cpuinfo:
        return cpuinfo["model name"]
    if board.is_file():
        return board.read_text(encoding="utf-8", errors="replace").strip("\x00 \n")
    return platform.processor() or platform.machine() or "unknown"


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = f"{platform.system()} {platform.release()}"
    return f"{name}, {platform.machine()}"
