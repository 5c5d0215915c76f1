"""The public once-for-all checkpoints by name: `ofa:w1.0` and `ofa:w1.2`, downloaded from a list of sources."""

from __future__ import annotations

from edgenas.errors import WeightsError, one_of
from edgenas.files import user_path
from edgenas.progress import Progress
from edgenas.space.loading import load_space
from edgenas.supernet.ofa import SPACES, import_ofa_checkpoint
from edgenas.supernet.pretrained.state_dict_file import sha256_of
from edgenas.supernet.pretrained.url_download import check_file, downloaded
from edgenas.supernet.pretrained.weights_file import WeightsFile
from edgenas.supernet.supernet import SuperNet

PREFIX = "ofa"
PRESET = "ofa-mbv3-"
OFA_NAMES = tuple(f"{PREFIX}:{space.removeprefix(PRESET)}" for space in SPACES)
FOLDERS = (
    "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets",
    "https://hanlab.mit.edu/files/OnceForAll/ofa_nets",
)
"""Folders of the authors with the same files; no digest is published."""


def is_ofa_name(text: str) -> bool:
    """Return whether a text has the form of a checkpoint's name, as opposed to a path."""
    return text.startswith(f"{PREFIX}:")


def ofa_preset(name: str) -> str:
    """Return the preset space of a checkpoint.

    Raises:
        WeightsError: there is no such checkpoint.
    """
    network = name.partition("@")[0]
    if network not in OFA_NAMES:
        raise WeightsError(f"weights {name}: expected a once-for-all checkpoint; {one_of(network, OFA_NAMES)}")
    return f"{PRESET}{network.removeprefix(f'{PREFIX}:')}"


def ofa_file(name: str, progress: Progress | None) -> WeightsFile:
    """Return the file of a checkpoint: downloaded, or for `ofa:w1.0@FILE` the user's own.

    Raises:
        WeightsError: there is no such checkpoint, or it cannot be had, or it is another than at its first download.
    """
    width = ofa_preset(name).removeprefix(PRESET)
    if file := name.partition("@")[2]:
        path = user_path(file)
        return WeightsFile(path, f"file {path.name}", None, sha256_of(path), "file")
    urls = [f"{folder}/ofa_mbv3_d234_e346_k357_{width}" for folder in FOLDERS]
    path = downloaded(name, urls, progress)
    sha256, _ = check_file(path)
    return WeightsFile(path, f"once-for-all, {path.name}", None, sha256, "first download")


def load_ofa(name: str, file: WeightsFile) -> SuperNet:
    """Return the supernet of a checkpoint.

    Raises:
        WeightsError: the file is malformed, or of another width.
    """
    return import_ofa_checkpoint(file.path, load_space(ofa_preset(name)))
