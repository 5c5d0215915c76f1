"""A local HTTP server with weights, as of a publisher or of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Answer:
    """A status, headers and a body; `length` is stated, the body may be shorter."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


@dataclass
class Server:
    """The base URL, answers by path, and the paths that were asked for."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def serve(self, name: str, body: bytes) -> str:
        """Serve a file, and return its URL."""
        self.answers[f"/{name}"] = Answer(body)
        return f"{self.url}/{name}"

    def serve_repository(self, repository: str, files: Mapping[str, bytes], *, etag: str | None = None) -> None:
        """Serve a repository as the Hub does: large files with the digest of Git LFS."""
        for name, body in files.items():
            digest = etag or hashlib.sha256(body).hexdigest()
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(body))}
            headers = {"ETag": f'"{digest[:40]}"', "X-Repo-Commit": COMMIT}
            headers |= linked if name.endswith(".safetensors") else {}
            self.answers[f"/{repository}/resolve/main/{name}"] = Answer(body, headers=headers)

    def refuse_repository(self, repository: str, status: int, code: str) -> None:
        """Answer every file of a repository with an error of the Hub, such as `GatedRepo`."""
        self.answers[f"/{repository}/"] = Answer(status=status, headers={"X-Error-Code": code})

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        refused = next(
            (answer for start, answer in self.answers.items() if start.endswith("/") and path.startswith(start)), None
        )
        absent = Answer(status=404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        return refused or self.answers.get(path, absent)


@contextmanager
def served() -> Iterator[Server]:
    """A server on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            answer = server.answer(self.path)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            if with_body:
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on standard error."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{listening.server_address[1]}")
    thread = Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def timm_config(architecture: str, **changes: object) -> bytes:
    """config.json as timm writes it."""
    given = {"input_size": [3, 224, 224], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.875}
    return json.dumps({"architecture": architecture, "num_classes": 1000, "pretrained_cfg": given} | changes).encode()
