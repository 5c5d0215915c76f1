"""The instruction sets that int8 kernels are chosen by, and a machine that reports one of them."""

from __future__ import annotations

import platform

import pytest

from edgenas.latency import device

AVX2 = "sse4_1 sse4_2 avx f16c fma avx2"
AVX512 = f"{AVX2} avx512f avx512bw avx512dq avx512vl"
ISAS = {
    "sse4": "sse4_1 sse4_2",
    "avx2": AVX2,
    "avx512": AVX512,
    "avx-vnni": f"{AVX2} avx_vnni",
    "vnni": f"{AVX512} avx512_vnni",
    "amx": f"{AVX512} avx512_vnni amx_tile amx_int8 amx_bf16",
    "neon": "asimd",
    "dotprod": "asimd asimdhp asimddp",
}
"""Flags as /proc/cpuinfo lists them."""
SATURATES = {"sse4", "avx2", "avx512"}


def report_isa(patch: pytest.MonkeyPatch, isa: str) -> None:
    """Let this machine report another instruction set than its own."""
    arm = isa in ("neon", "dotprod")
    patch.setattr(platform, "machine", lambda: "aarch64" if arm else "x86_64")
    flags = "Features" if arm else "flags"
    patch.setattr(device, "_cpuinfo", lambda: {"model name": f"a CPU with {isa}", flags: ISAS[isa]})
