"""A disk that is full while training writes: nothing finished is lost, and the same call resumes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from halves import EVERY_STEP, STEPS, train

from edgenas.files import append_jsonl, read_jsonl, write_json
from edgenas.training import checkpoint


@contextmanager
def full_disk(largest_file: int) -> Iterator[None]:
    """Limit the size of files in bytes; as on a full disk, one write is cut short and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ, so that the write itself fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return train(tmp_path_factory.mktemp("straight"))


def test_at_a_checkpoint_the_last_one_is_kept(tmp_path: Path, straight: dict[str, torch.Tensor]) -> None:
    def stop_at_two(label: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, EVERY_STEP, stop_at_two)
    before = (tmp_path / checkpoint.FILE_NAME).read_bytes()
    with full_disk(100_000), pytest.raises(OSError, match=checkpoint.FILE_NAME):
        train(tmp_path, EVERY_STEP)
    assert (tmp_path / checkpoint.FILE_NAME).read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    torch.testing.assert_close(train(tmp_path), straight, rtol=0, atol=0)


def test_after_a_torn_log_row_training_resumes_and_the_rest_is_readable(
    tmp_path: Path, straight: dict[str, torch.Tensor]
) -> None:
    with full_disk(700), pytest.raises(OSError, match=r"training\.jsonl"):
        train(tmp_path)
    torn = (tmp_path / "training.jsonl").read_bytes()
    assert len(torn) == 700
    assert not torn.endswith(b"\n")
    torch.testing.assert_close(train(tmp_path), straight, rtol=0, atol=0)
    assert (tmp_path / "training.jsonl").read_bytes().startswith(torn)
    last = {row["step"] for row in read_jsonl(tmp_path / "training.jsonl") if row["kind"] == "step"}
    assert last == set(range(STEPS))


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with full_disk(20), pytest.raises(OSError, match=r"result\.json"):
        write_json(path, {"front": list(range(100))})
    assert list(tmp_path.iterdir()) == []


def test_rows_after_a_torn_one_have_their_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, {"row": 1})
    with full_disk(20), pytest.raises(OSError, match=r"rows\.jsonl"):
        append_jsonl(path, {"row": "torn" * 10})
    append_jsonl(path, {"row": 3})
    assert read_jsonl(path) == [{"row": 1}, {"row": 3}]
