"""The result of a gate: its checks, and the measurements that they rest on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgenas.gate.gate_device import TimedFile
from edgenas.gate.gate_images import MeasuredTop1
from edgenas.records.record import Verdict

Outcome = Literal["pass", "not significant", "fail"]
VERSION = 1


@dataclass(frozen=True)
class Check:
    """One requirement on a bundle, and whether it is met; `verdict` where it limits a latency."""

    check: str
    ok: bool
    message: str
    verdict: Verdict | None = None


@dataclass
class Evidence:
    """The checks of a bundle, and what was measured. Both are added to while the bundle is checked.

    Attributes:
        bundle: the folder or zip.
        digest: digest of its manifest; None where it has none.
        checks: all checks so far.
        device: the device that the bundle is checked for; None where all give the same result, or there is none.
        model: the deployed file.
        top1: top-1 on labelled images; None where none are given.
        timed: latency of the deployed file; None where no budget is of time.
    """

    bundle: Path
    digest: str | None
    checks: list[Check]
    device: str | None = None
    model: str | None = None
    top1: MeasuredTop1 | None = None
    timed: TimedFile | None = None

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(check.ok for check in self.checks)

    @property
    def outcome(self) -> Outcome:
        """Whether the bundle passes.

        It is `not significant` where nothing fails but latencies whose p50 is within the limit and whose upper
        confidence limit is not.
        """
        failed = [check for check in self.checks if not check.ok]
        if not failed:
            return "pass"
        return "not significant" if all(check.verdict == "not significant" for check in failed) else "fail"

    @property
    def verdict_line(self) -> str:
        """The result in one line."""
        failed = [check.check for check in self.checks if not check.ok]
        names = ", ".join(failed)
        lines = {
            "pass": f"PASS  {self.bundle}: all {len(self.checks)} checks passed",
            "not significant": f"NOT SIGNIFICANT  {self.bundle}: within budget, but not beyond the noise of measuring: "
            f"{names}: more --rounds or a quiet device may decide it",
            "fail": f"FAIL  {self.bundle}: {len(failed)} of {len(self.checks)} checks failed: {names}",
        }
        return lines[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as JSON values, without measurements that were not made."""
        value: dict[str, Any] = {"bundle": str(self.bundle), "digest": self.digest, "edgenas_gate": VERSION}
        if self.model is not None:
            value |= {"device": self.device, "model": self.model}
        if self.top1 is not None:
            value["top1"] = {**asdict(self.top1), "top1": self.top1.top1}
        if self.timed is not None:
            value |= {"measured": asdict(self.timed.measurement), "repeated": self.timed.repeated}
            value["machine"] = self.timed.device.model_dump(mode="json")
        return {**value, "ok": self.ok, "checks": [asdict(check) for check in self.checks]}
