"""A real sshd on loopback: keys, port and config of its own, nothing of the machine's touched."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None or not Path("/proc/self/task").exists(),
    reason="needs OpenSSH's sshd (Debian package openssh-server), ssh and /proc",
)


@dataclass(frozen=True)
class LoopbackSsh:
    """A running server, and what a client needs."""

    port: int
    pid: int
    folder: Path

    @property
    def temporary(self) -> Path:
        """Where programs that are run over the connection make temporary folders."""
        return self.folder / "tmp"

    def place(self, python: str = sys.executable) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}?python={python}"

    def cut(self) -> int:
        """Kill the processes of all connections, not the server; returns how many there were."""
        connections = [pid for pid in _descendants(self.pid) if "sshd" in _name(pid)]
        for pid in connections:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(connections)

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.temporary.iterdir())


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found


@contextlib.contextmanager
def loopback_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSsh]:
    """Start a server; `ssh` on the path is the system's with a config of its own."""
    assert SSHD is not None
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "tmp").mkdir()
    port = _free_port()
    shutil.copy(folder / "user.pub", folder / "authorized")
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nSetEnv TMPDIR={folder}/tmp OMP_NUM_THREADS=1\nMaxStartups 100\n"
    )
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {folder}/known\n"
        "GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
    )
    ssh = folder / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
    if os.geteuid() == 0:
        # Where no system service was ever started, the folder that a privileged server wants is missing.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with open(folder / "sshd.log", "wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _wait_for(port, server)
        yield LoopbackSsh(port, server.pid, folder)
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.skip("sshd does not start here (a user account that it refuses, or no right to)")
