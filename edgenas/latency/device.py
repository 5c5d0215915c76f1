"""Devices: descriptions of a machine and of how models are run on it, one YAML file each.

They have no host or user names.
"""

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

# CPU flags that runtimes choose kernels by. Other flags do not affect inference.
INFERENCE_FLAGS = (
    *("sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("neon", "asimd", "asimdhp", "fphp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
    *("rvv", "v", "zvfh", "altivec", "vsx", "lasx", "lsx"),
)
X86_FLAGS = frozenset({"sse4_1", "sse4_2", "avx", "avx2", "avx512f"})
X86_MACHINES = frozenset({"x86_64", "amd64", "x86", "i386", "i486", "i586", "i686"})
"""Names of x86 in lower case, as in the last word of `Device.os`."""
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
    """Settings that models are run with on a device.

    All settings but the transport and the paths are part of the identity of latencies.

    Attributes:
        transport: name of a transport of `profiling.transports`, or `table` for devices that are never measured.
        chromium: path of the browser, if it is not on the PATH.
        onnxruntime_web: path of the browser's runtime, if it is not in `node_modules`.
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
        """Return the name of the runtime."""
        return "onnxruntime-web" if self.provider == "wasm" else "onnxruntime"

    def in_browser(self) -> DeviceRun:
        """Return the same settings in a browser of that machine, in which several threads always spin."""
        forced = {"transport": "browser", "provider": "wasm", "spinning": self.threads > 1}
        return self.model_copy(update=forced)

    @model_validator(mode="before")
    @classmethod
    def _fill_browser_settings(cls, value: Any) -> Any:
        """Fill in the settings that have a single valid value in browsers."""
        if not isinstance(value, dict) or value.get("transport") != "browser":
            return value
        return {"provider": "wasm", "spinning": value.get("threads") not in (None, 1), **value}

    @model_validator(mode="after")
    def _check_browser_settings(self) -> DeviceRun:
        browser = self.transport == "browser"
        if browser != (self.provider == "wasm"):
            raise ValueError("provider wasm requires transport browser, and transport browser requires provider wasm")
        if browser and self.spinning != (self.threads > 1):
            raise ValueError("spinning: in a browser, expected true for several threads and false for one")
        if not browser and (self.chromium or self.onnxruntime_web):
            raise ValueError("chromium and onnxruntime_web require transport browser")
        return self

    @model_serializer(mode="wrap")
    def _without_unset_paths(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serialise the settings without paths that are not set."""
        paths = ("chromium", "onnxruntime_web")
        return {key: value for key, value in serialise(self).items() if key not in paths or value is not None}


def _unsupported(entries: tuple[str, ...]) -> tuple[str, ...]:
    check_unsupported(entries)
    return entries


class Device(_Section):
    """A machine, and the settings that models are run with on it.

    Attributes:
        unsupported: parts of networks that the machine does not support, for example
            `[HardSwish, kernel 7, squeeze-excite]`. Spaces are narrowed by them before training (`space.narrow`).
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
    def _check_cores(self) -> Device:
        check_threads(self.run.threads, self.cores, f"device {self.name}")
        return self

    @property
    def is_measured(self) -> bool:
        """Return whether latencies are measured; otherwise they are only read from a latency table."""
        return self.run.transport != "table"

    @property
    def int8_saturates(self) -> bool:
        """Return whether int8 kernels add two products in 16 bits, which overflows with 8-bit weights.

        ONNX Runtime's kernels do so on x86 without VNNI and AMX (`vpmaddubsw`). An x86 CPU with unknown flags is
        assumed to lack them, because 7-bit weights are exact on every CPU.
        """
        flags, machine = set(self.isa), self.os.rpartition(" ")[2].lower()
        return bool(X86_FLAGS & flags or machine in X86_MACHINES) and not EXACT_INT8_FLAGS & flags


def check_threads(threads: int, cores: int | None, where: str) -> None:
    """Raise an error if there are more threads than cores.

    Threads that wait for each other are slower than a single one.

    Args:
        threads: number of threads.
        cores: number of cores; None if unknown.
        where: device or process that has the cores, for the message.

    Raises:
        TableError: there are more threads than cores.
    """
    if cores is not None and threads > cores:
        raise TableError(f"{where} has {cores} core(s) for {threads} threads: choose at most {cores} thread(s)")


def usable_cores() -> int:
    """Return the number of cores that this process may use by its affinity (taskset, containers) and CPU quota."""
    import joblib

    return int(joblib.cpu_count())


def check_threads_here(threads: int) -> None:
    """Raise an error if there are more threads than cores that this process may use.

    Raises:
        TableError: there are more threads than cores.
    """
    check_threads(threads, usable_cores(), "this process (limited by taskset, a container, or the machine itself)")


def device_names() -> list[str]:
    """Return the names of the shipped devices."""
    return sorted(path.stem for path in shipped("devices").glob("*.yaml"))


def load_device(name_or_path: str | Path) -> Device:
    """Load a shipped device by name, or any device by the path of its file.

    Raises:
        TableError: there is no such device, or its file is malformed or of a newer schema.
    """
    is_shipped = str(name_or_path) in device_names()
    path = shipped("devices") / f"{name_or_path}.yaml" if is_shipped else user_path(name_or_path)
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
    """Return the device as YAML with every field."""
    return dump_yaml(device.model_dump(mode="json"))


def probe(name: str = THIS_MACHINE, threads: int = 1, precision: Precision = "fp32") -> Device:
    """Describe this machine from what its system reports; host and user names are left out.

    Raises:
        TableError: `name` is not a valid device name, or there are more threads than cores.
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
    """Return the fields of the first processor in /proc/cpuinfo; empty if there is no such file."""
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
