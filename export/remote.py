#!/usr/bin/env python3
"""The far end of `ssh://`: what edgenas has a device do. Python 3.9 or newer, standard library only.

edgenas sends this text over the connection with each command, followed by what the command reads:

    open TOKEN               unpack a zip into a fresh folder of that name, and probe the machine with its bench.py
    send TOKEN               unpack another zip there
    time TOKEN SKIP LEASE    start the timer unless it runs; pass on its rows but the first SKIP, until it has ended
    close TOKEN              stop the timer and remove the folder

Lines on standard output begin with TOKEN, which nobody else knows, so that a login's greetings are no answer.
The timer does not hang on the connection: after a drop it runs on, and `time` is asked for again. When nobody
has asked for LEASE seconds it is stopped, and the folder removed.
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

OLDEST = (3, 9)
PAUSE_SECONDS = 0.5
ENDING_SECONDS = 5.0
LONGEST_SAYING = 2000
LOST = "lost"
"""In place of an exit code: what watched the timer died before the timer ended."""
THREAD_VARIABLES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "ORT_")


def say(token, word, value=""):
    """One line of an answer."""
    sys.stdout.write(f"{token} {word} {value}\n")
    sys.stdout.flush()


def unpack(folder):
    """Write what standard input holds, a zip, into the folder."""
    with tempfile.TemporaryFile() as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
        zipfile.ZipFile(stream).extractall(folder)


def open_folder(token, folder):
    """Make the folder, for this user alone, and say what the machine is; or what it lacks."""
    say(token, "here")
    with contextlib.suppress(FileExistsError):
        # It is there when the answer to a first attempt was lost.
        os.mkdir(folder, 0o700)
    unpack(folder)
    words = [sys.executable, os.path.join(folder, "bench.py"), "--probe"]
    null = subprocess.DEVNULL
    done = subprocess.run(
        words, stdin=null, capture_output=True, text=True, errors="replace", env=environment(folder), check=False
    )
    if done.returncode == 0:
        say(token, "probe", done.stdout.strip())
    else:
        say(token, "refused", json.dumps((done.stderr.strip() or "bench.py failed")[-LONGEST_SAYING:]))


def time_models(token, folder, skip, lease):
    """Pass on rows, and the newest progress, until the timer has ended."""
    start(token, folder, lease)
    rows, log = (Tail(os.path.join(folder, name)) for name in ("rows.jsonl", "log"))
    while True:
        touch(folder)
        ended = exit_code(folder)
        for line in rows.lines():
            if skip > 0:
                skip -= 1
            else:
                say(token, "row", line)
        said = log.lines()
        steps = [line for line in said if line.startswith("progress ")]
        for line in [line for line in said if line not in steps] + steps[-1:]:
            say(token, "log", line[:LONGEST_SAYING])
        if ended is not None:
            say(token, "exit", ended)
            return
        say(token, "wait")
        time.sleep(PAUSE_SECONDS)


def start(token, folder, lease):
    """Start the timer in a session of its own, once."""
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
    """Run the timer; end it when nobody has asked for it for so long. Runs detached."""
    words = [sys.executable, os.path.join(folder, "bench.py"), "--jobs", os.path.join(folder, "jobs.json")]
    with (
        open(os.path.join(folder, "log"), "ab") as log,
        subprocess.Popen(words, stdout=log, stderr=log, env=environment(folder)) as process,
    ):
        asked = Asked(folder)
        while process.poll() is None:
            if asked.seconds_ago() > lease:
                process.kill()
                process.wait()
                shutil.rmtree(folder, ignore_errors=True)
                return
            time.sleep(2 * PAUSE_SECONDS)
    write(folder, "exit", process.returncode)
    # Nobody may come for the rows either.
    while asked.seconds_ago() <= lease:
        time.sleep(2 * PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def environment(folder):
    """What the timer runs in: temporary files in the folder (the runtime leaves one), threads as edgenas says."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(THREAD_VARIABLES)}
    return {**kept, "TMPDIR": folder}


def exit_code(folder):
    """How the timer ended; None while it runs, `LOST` where it ran and nothing watches it any more."""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, "exit"), encoding="ascii") as stream:
        return int(stream.read())
    return None if watched(folder) else LOST


def watched(folder):
    """Whether the process that watches the timer lives: it alone holds a lock, which no end of it leaves behind.

    Its number would not do: a dead child that nobody has waited for keeps it, and after a restart another may have it.
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
    """Of the session that the timer runs in; None where there is none."""
    with (
        contextlib.suppress(FileNotFoundError, ValueError),
        open(os.path.join(folder, "pid"), encoding="ascii") as stream,
    ):
        return int(stream.read())
    return None


def close_folder(folder):
    """Stop the timer, and leave nothing."""
    process = process_id(folder)
    if process is not None:
        end = time.monotonic() + ENDING_SECONDS
        with contextlib.suppress(OSError):
            os.killpg(process, signal.SIGTERM)
            while time.monotonic() < end:
                os.killpg(process, 0)
                time.sleep(0.05)
            os.killpg(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def touch(folder):
    """Say that somebody asks: a word that was not there before."""
    write(folder, "alive", os.urandom(8).hex())


def write(folder, name, value):
    """Write a small file at once."""
    path = os.path.join(folder, name)
    with open(path + ".new", "w", encoding="ascii") as stream:
        stream.write(str(value))
    os.replace(path + ".new", path)


class Asked:
    """When somebody last asked, by a clock that nobody sets: the time of day may jump from 1970 to now."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "alive")
        self.stamp, self.since = self._stamp(), time.monotonic()

    def seconds_ago(self):
        """Seconds since the file was seen to change; endless once the folder is gone."""
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
    """Lines of a growing file, each once."""

    def __init__(self, path):
        self.path, self.offset = path, 0

    def lines(self):
        """Those that were ended since the last call."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as stream:
            stream.seek(self.offset)
            whole, end, _ = stream.read().rpartition(b"\n")
            self.offset += len(whole) + len(end)
            return whole.decode("utf-8", errors="replace").split("\n") if end else []
        return []


def main(verb, token, *rest):
    """Do one command, and say that it is done."""
    if sys.version_info < OLDEST:
        return say(token, "refused", json.dumps(f"this is Python {sys.version.split()[0]}: wanted 3.9 or newer"))
    folder = os.path.join(tempfile.gettempdir(), "edgenas-" + token)
    if verb == "watch":
        return watch(folder, float(rest[0]))
    if verb == "open":
        open_folder(token, folder)
    elif verb == "send":
        unpack(folder)
    elif verb == "time":
        time_models(token, folder, int(rest[0]), float(rest[1]))
    elif verb == "close":
        close_folder(folder)
    return say(token, "done")


if __name__ == "__main__":
    main(*sys.argv[1:])
