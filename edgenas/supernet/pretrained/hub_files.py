"""Files of repositories on the Hugging Face Hub, through huggingface-hub and its cache."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

from edgenas.errors import WeightsError, first_line
from edgenas.progress import Progress
from edgenas.supernet.pretrained.network_names import INSTALL_TIMM
from edgenas.supernet.pretrained.url_download import report_bytes
from edgenas.supernet.pretrained.weights_file import DIGEST, check_pinned, check_published

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""Files of a repository of timm: weights, description of the network, model card."""


def hub(part: str = "") -> Any:
    """Return the package huggingface_hub, or one of its modules such as `.constants`.

    Raises:
        WeightsError: it is not installed.
    """
    try:
        return importlib.import_module(f"huggingface_hub{part}")
    except ModuleNotFoundError:
        raise WeightsError(f"weights: the package huggingface-hub is not installed: {INSTALL_TIMM}") from None


def cached_file(repository: str, name: str) -> Path | None:
    """Return a file of a repository in the cache; None if it is not there."""
    path = hub().try_to_load_from_cache(repository, name)
    return Path(path) if isinstance(path, str) else None


def hub_file(repository: str, name: str, progress: Progress | None) -> Path:
    """Return a file of a repository, downloaded if it is not in the cache.

    Args:
        repository: like `timm/mobilenetv3_large_100.ra_in1k`.
        name: name of the file there.
        progress: called with the megabytes done and all; None to report nothing.

    Raises:
        WeightsError: the repository is missing or gated, lacks the file, or cannot be reached.
    """
    if (path := cached_file(repository, name)) is not None:
        return path
    errors, constants = hub(".errors"), hub(".constants")
    page = f"{constants.ENDPOINT}/{repository}"
    lead = f"weights hf:{repository}:"
    try:
        # A download that cannot begin is repeated for 23 seconds; one request states the cause at once.
        hub().get_hf_file_metadata(hub().hf_hub_url(repository, name))
        return Path(hub().hf_hub_download(repository, name, tqdm_class=_bar(name, progress)))
    except errors.HFValidationError as error:
        raise WeightsError(
            f"{lead} {first_line(error)} Expected a name like hf:timm/mobilenetv3_small_050.lamb_in1k"
        ) from None
    except errors.GatedRepoError:
        raise WeightsError(
            f"{lead} the repository is gated: accept its conditions on {page}, log in with `hf auth login`, and repeat "
            "the command"
        ) from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(
            f"{lead} {page} does not exist, or is private: check the name, or log in with `hf auth login`"
        ) from None
    except errors.RemoteEntryNotFoundError:
        raise WeightsError(
            f"{lead} {page} has no {name}: expected a repository of timm, with {CONFIG} and {WEIGHTS}; pickles, like "
            "pytorch_model.bin, are not loaded from the Hub, since they can hold code"
        ) from None
    # What the HTTP client of huggingface-hub raises differs between its versions.
    except Exception as error:
        raise WeightsError(
            f"{lead} cannot download {name} of {page} ({first_line(error)}): on a machine with network, run `hf "
            f"download {repository} {CONFIG} {WEIGHTS} {CARD}`, copy the folder {_folder(repository)} of its cache to "
            f"{_cache() / _folder(repository)}, and repeat the command"
        ) from None


def check_hub_file(path: Path, repository: str) -> tuple[str, bool]:
    """Return the SHA-256 of a file in the cache, and whether it was compared with the one that the Hub states.

    The cache names the blobs of large files by the digest of Git LFS, a SHA-256. Without symbolic links, as on Windows,
    there are no blobs, and the digest is that of the first download.

    Raises:
        WeightsError: the file is another.
    """
    blob = path.resolve()
    remedy = f"remove the folder {_cache() / _folder(repository)} and repeat the command, which downloads it again"
    if DIGEST.fullmatch(blob.name):
        return check_published(blob, blob.name, remedy), True
    return check_pinned(path, remedy), False


def stated_licence(repository: str) -> str | None:
    """Return the licence in the model card of a repository in the cache; None if there is no card, or no licence."""
    card = cached_file(repository, CARD)
    if card is None:
        return None
    try:
        data = hub().ModelCard.load(card, ignore_metadata_errors=True).data
    # A card is a stranger's text, and its YAML may raise anything.
    except Exception:
        return None
    return data.license if isinstance(data.license, str) else None


def cached_repositories(owner: str) -> list[str]:
    """Return the repositories of an owner whose weights are in the cache, by name."""
    beginning = _folder(f"{owner}/")
    folders = sorted(_cache().glob(f"{beginning}*"))
    names = [f"{owner}/{folder.name.removeprefix(beginning)}" for folder in folders]
    return [name for name in names if cached_file(name, WEIGHTS) is not None]


def _cache() -> Path:
    return Path(hub(".constants").HF_HUB_CACHE)


def _folder(repository: str) -> str:
    return f"models--{repository.replace('/', '--')}"


def _bar(name: str, progress: Progress | None) -> type[Any]:
    """Return a class of progress bars that draws nothing and reports to `progress`, under the name of the file."""
    base: Any = hub(".utils").tqdm

    class Bar(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options |= {"disable": progress is None, "file": io.StringIO()}
            super().__init__(*arguments, **options)

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            report_bytes(progress, name, int(self.n), int(self.total or 0))

    return Bar
