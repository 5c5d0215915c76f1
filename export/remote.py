#!/usr/bin/env python3
"""The device's side of `ssh://`. Python 3.9 or newer, standard library only.

edgenas sends this script over the connection with each command, followed by the command's input:

    open TOKEN               unpack a zip into a new folder of that name, and probe the machine with its bench.py
    send TOKEN               unpack another zip into the folder
    time TOKEN SKIP LEASE    start the timer unless it runs; pass on its rows from row SKIP on, until it ends
    close TOKEN              stop the timer and remove the folder

Lines on standard output begin with TOKEN, a secret, so that a login's greetings are not taken for an answer. The
timer runs detached from the connection: if the connection drops, `time` is requested again. After LEASE seconds
without a request, the timer is stopped and the folder removed.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

MINIMUM_PYTHON = (3, 9)
PAUSE_SECONDS = 0.5
STOP_SECONDS = 5.0
MAX_MESSAGE_CHARACTERS = 2000
LOST = "lost"
"""Instead of an exit code: the process that watches the timer died before the timer ended."""
THREAD_VARIABLES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "ORT_")


def send(token, word, value=""):
    """Print one line of an answer."""
    sys.stdout.write(f"{token} {word} {value}\n")
    sys.stdout.flush()


def unpack(folder):
    """Unpack the zip on standard input into the folder."""
    with tempfile.TemporaryFile() as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
        zipfile.ZipFile(stream).extractall(folder)


def create_folder(token, folder):
    """Create the folder, for this user only, and describe the machine, or report what it lacks."""
    send(token, "here")
    with contextlib.suppress(FileExistsError):
        # It exists if the answer to a first attempt was lost.
        os.mkdir(folder, 0o700)
    unpack(folder)
    words = [sys.executable, os.path.join(folder, "bench.py"), "--probe"]
    null = subprocess.DEVNULL
    done = subprocess.run(
        words, stdin=null, capture_output=True, text=True, errors="replace", env=environment(folder), check=False
    )
    if done.returncode == 0:
        send(token, "probe", done.stdout.strip())
    else:
        send(token, "refused", json.dumps((done.stderr.strip() or "bench.py failed")[-MAX_MESSAGE_CHARACTERS:]))


def time_models(token, folder, skip, lease):
    """Pass on rows and the newest progress until the timer has ended."""
    start(token, folder, lease)
    rows, log = (Tail(os.path.join(folder, name)) for name in ("rows.jsonl", "log"))
    while True:
        touch(folder)
        ended = exit_code(folder)
        for line in rows.lines():
            if skip > 0:
                skip -= 1
            else:
                send(token, "row", line)
        lines = log.lines()
        steps = [line for line in lines if line.startswith("progress ")]
        for line in [line for line in lines if line not in steps] + steps[-1:]:
            send(token, "log", line[:MAX_MESSAGE_CHARACTERS])
        if ended is not None:
            send(token, "exit", ended)
            return
        send(token, "wait")
        time.sleep(PAUSE_SECONDS)


def start(token, folder, lease):
    """Start the timer in a new session, once."""
    if os.path.exists(os.path.join(folder, "pid")):
        return
    touch(folder)
    words = [sys.executable, os.path.join(folder, "remote.py"), "watch", token, str(lease)]
    null = subprocess.DEVNULL
    with open(os.path.join(folder, "watched"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            words, stdin=null, stdout=null, stderr=null, start_new_session=True, pass_fds=[lock.fileno()]
        )
    write(folder, "pid", process.pid)


def watch(folder, lease):
    """Run the timer, and stop it when there was no request for `lease` seconds. Runs detached."""
    words = [sys.executable, os.path.join(folder, "bench.py"), "--jobs", os.path.join(folder, "jobs.json")]
    with (
        open(os.path.join(folder, "log"), "ab") as log,
        subprocess.Popen(words, stdout=log, stderr=log, env=environment(folder)) as process,
    ):
        last_request = LastRequest(folder)
        while process.poll() is None:
            if last_request.seconds_ago() > lease:
                process.kill()
                process.wait()
                shutil.rmtree(folder, ignore_errors=True)
                return
            time.sleep(2 * PAUSE_SECONDS)
    write(folder, "exit", process.returncode)
    # The rows may never be requested, either.
    while last_request.seconds_ago() <= lease:
        time.sleep(2 * PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def environment(folder):
    """Return the timer's environment: temporary files in the folder (the runtime leaves one), no thread variables."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(THREAD_VARIABLES)}
    return {**variables, "TMPDIR": folder}


def exit_code(folder):
    """Return the timer's exit code; None while it runs, `LOST` if the process that watches it died."""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, "exit"), encoding="ascii") as stream:
        return int(stream.read())
    return None if is_watched(folder) else LOST


def is_watched(folder):
    """Return whether the process that watches the timer is alive: it holds a lock that every exit releases.

    A process id is not enough: a zombie keeps its id, and after a reboot another process may have it.
    """
    with (
        contextlib.suppress(FileNotFoundError),
        open(os.path.join(folder, "watched"), "rb") as lock,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def process_id(folder):
    """Return the process id of the timer's session; None if there is none."""
    with (
        contextlib.suppress(FileNotFoundError, ValueError),
        open(os.path.join(folder, "pid"), encoding="ascii") as stream,
    ):
        return int(stream.read())
    return None


def close_folder(folder):
    """Stop the timer and remove the folder."""
    process = process_id(folder)
    if process is not None:
        end = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(OSError):
            os.killpg(process, signal.SIGTERM)
            while time.monotonic() < end:
                os.killpg(process, 0)
                time.sleep(0.05)
            os.killpg(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def touch(folder):
    """Record a request, by a new random text."""
    write(folder, "alive", os.urandom(8).hex())


def write(folder, name, value):
    """Write a small file atomically."""
    path = os.path.join(folder, name)
    with open(path + ".new", "w", encoding="ascii") as stream:
        stream.write(str(value))
    os.replace(path + ".new", path)


class LastRequest:
    """Time of the last request, on a monotonic clock: the time of day may jump from 1970 to now."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "alive")
        self.stamp, self.since = self._stamp(), time.monotonic()

    def seconds_ago(self):
        """Return the seconds since the file last changed; infinity once the folder is gone."""
        stamp = self._stamp()
        if stamp is None:
            return float("inf")
        if stamp != self.stamp:
            self.stamp, self.since = stamp, time.monotonic()
        return time.monotonic() - self.since

    def _stamp(self):
        with contextlib.suppress(OSError), open(self.path, "rb") as stream:
            return stream.read()
        return None


class Tail:
    """Reader of a growing file that returns each line once."""

    def __init__(self, path):
        self.path, self.offset = path, 0

    def lines(self):
        """Return the lines completed since the last call."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as stream:
            stream.seek(self.offset)
            whole, end, _ = stream.read().rpartition(b"\n")
            self.offset += len(whole) + len(end)
            return whole.decode("utf-8", errors="replace").split("\n") if end else []
        return []


def main(verb, token, *rest):
    """Run one command, and confirm that it is done."""
    if sys.version_info < MINIMUM_PYTHON:
        return send(token, "refused", json.dumps(f"this is Python {sys.version.split()[0]}: expected 3.9 or newer"))
    folder = os.path.join(tempfile.gettempdir(), "edgenas-" + token)
    if verb == "watch":
        return watch(folder, float(rest[0]))
    if verb == "open":
        create_folder(token, folder)
    elif verb == "send":
        unpack(folder)
    elif verb == "time":
        time_models(token, folder, int(rest[0]), float(rest[1]))
    elif verb == "close":
        close_folder(folder)
    return send(token, "done")


if __name__ == "__main__":
    main(*sys.argv[1:])
