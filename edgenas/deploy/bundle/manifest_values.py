"""Validated access to the values of a manifest from an untrusted source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edgenas.deploy.bundle.bundle import MANIFEST
from edgenas.errors import EdgenasError, explained

Value = TypeVar("Value")
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class ManifestError(EdgenasError):
    """A manifest lacks a value, or has an invalid one."""


class BundleAccuracy(BaseModel):
    """Accuracy of a file on test images, as stated in a manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    test_top1: Share
    test_images: Annotated[int, Field(ge=1)]


def _model_name(name: str) -> str:
    if not name.endswith(".onnx"):
        raise ValueError(f"{name[:100]!r} is not an ONNX file")
    return name


ModelName = Annotated[str, AfterValidator(_model_name)]


def stated(manifest: Mapping[str, Any], kind: type[Value], *path: str) -> Value:
    """Return the validated value at a path of keys.

    Args:
        manifest: values of manifest.json.
        kind: type that pydantic validates the value as.
        path: keys, the outermost first.

    Raises:
        ManifestError: a key is missing, or the value has another type.
    """
    value: Any = manifest
    for depth, key in enumerate(path, start=1):
        if not isinstance(value, Mapping) or key not in value:
            raise ManifestError(f"{MANIFEST} lacks {'.'.join(path[:depth])}: export the bundle again")
        value = value[key]
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ManifestError(f"{MANIFEST}: {'.'.join(path)}: {explained(error.errors())}") from None


def stated_model(manifest: Mapping[str, Any], *path: str) -> str:
    """Return the name of a model at a path of keys, which must be a file of the bundle.

    Raises:
        ManifestError: a key is missing, or the value is not the name of a model in the bundle.
    """
    name = stated(manifest, ModelName, *path)
    if name not in stated(manifest, dict[str, str], "files"):
        raise ManifestError(f"{MANIFEST}: {'.'.join(path)}: {name[:100]!r} is not a file of the bundle")
    return name
