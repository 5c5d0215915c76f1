"""Descriptions that other machines give of themselves (`bench.py --probe`), validated before use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from edgenas.errors import ConfigError, MeasurementError, explained
from edgenas.latency.device import INFERENCE_FLAGS, Device, DeviceRun, Precision, check_threads
from edgenas.profiling.timer_rows import printable

_Text = Annotated[str, StringConstraints(max_length=1000), AfterValidator(printable)]


class Probe(BaseModel):
    """A validated description of a machine; see `Device` for the fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    cpu: _Text
    cores: int | None = Field(ge=1, le=2**16)
    machine: _Text
    system: _Text
    memory_bytes: int | None = Field(None, ge=1, le=2**60)
    cpu_flags: tuple[_Text, ...] = Field((), max_length=2000)
    runtime_version: str = Field(pattern=r"^[\w.+-]{1,40}$")

    @property
    def isa(self) -> tuple[str, ...]:
        """Return the flags that a runtime chooses its kernels by, in the order of `INFERENCE_FLAGS`."""
        return tuple(flag for flag in INFERENCE_FLAGS if flag in self.cpu_flags)

    def device(self, name: str, transport: str, threads: int, precision: Precision = "fp32") -> Device:
        """Return the machine as a device.

        Raises:
            TableError: it has fewer cores than threads.
        """
        check_threads(threads, self.cores, f"the machine ({self.cpu})")
        return Device(
            name=name,
            description="probed",
            cpu=self.cpu,
            cores=self.cores,
            isa=self.isa,
            memory_bytes=self.memory_bytes,
            os=f"{self.system}, {self.machine}",
            run=DeviceRun(transport=transport, threads=threads, precision=precision),
        )

    def check_is(self, device: Device) -> None:
        """Refuse a machine that differs from a device.

        Raises:
            ConfigError: the first difference is named.
        """
        for field in ("cpu", "cores", "isa"):
            expected, actual = getattr(device, field), getattr(self, field)
            if expected != actual:
                raise ConfigError(
                    f"device {device.name} has {field} {expected}, but the machine that answered has {actual}: is it "
                    "another one? `edgenas devices probe` describes it"
                )


def read_probe(value: Mapping[str, Any]) -> Probe:
    """Validate the description that a machine gives of itself.

    Raises:
        MeasurementError: a value is missing or not credible.
    """
    try:
        return Probe.model_validate(dict(value))
    except ValidationError as error:
        raise MeasurementError(f"bench.py --probe on that machine: {explained(error.errors())}") from None
