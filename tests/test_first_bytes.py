"""Errors name what a file is by its first bytes, whatever was wanted of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, features

from edgenas.errors import UserError
from edgenas.first_bytes import HEAD_BYTES, IMAGES, image_format, other_kind, stand_in_cause

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:7\nsize 51234\n"
WRITTEN = [name for name in IMAGES if name != "AVIF" or features.check("avif")]


@pytest.mark.parametrize("name", WRITTEN)
def test_images_are_recognised_as_pillow_writes_them(name: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(stream, name)
    assert image_format(stream.getvalue()[:HEAD_BYTES]) == name


@pytest.mark.parametrize(
    "head", [b"hello", b"BMW and others", b"P3 is what I call it", b"II", b"RIFF....WAVE", b"\x08\x07\x12\x07pytorch"]
)
def test_what_only_begins_a_little_like_it_is_neither(head: bytes) -> None:
    assert image_format(head) is None
    assert other_kind(head) is None


def test_a_damaged_zip_is_not_taken_for_a_stand_in_of_weights(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04")
    assert stand_in_cause(tmp_path / "weights.pth") is None


@pytest.mark.parametrize(
    ("data", "cause"), [(LFS, "git lfs pull"), (b"<!DOCTYPE html>", "HTML"), (b'{"error": 1}', "JSON")]
)
def test_stand_ins_of_models_and_weights_are_named(data: bytes, cause: str, tmp_path: Path) -> None:
    from edgenas.deploy.inspection.graph_cost import read_graph
    from edgenas.deploy.onnx.exporter import model_metadata
    from edgenas.deploy.onnx.runtime import open_session
    from edgenas.space.loading import load_space
    from edgenas.supernet.ofa import import_ofa_checkpoint
    from edgenas.training.checkpoint import open_checkpoint

    path = tmp_path / "model.onnx"
    path.write_bytes(data)

    def checkpoint() -> None:
        with open_checkpoint(path, "train again"):
            pass

    for read in (
        lambda: read_graph(path),
        lambda: model_metadata(path),
        lambda: open_session(path, "model.onnx"),
        lambda: import_ofa_checkpoint(path, load_space("ofa-mbv3-w1.0")),
        checkpoint,
    ):
        with pytest.raises(UserError, match=cause):
            read()
