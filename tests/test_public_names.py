import re
import subprocess
import sys

import pytest

import edgenas
from edgenas import errors

HEAVY = ("torch", "torchvision", "pymoo", "onnx", "onnxruntime", "onnxscript", "sklearn", "scipy", "matplotlib")


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded behind `statement`."""
    code = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", edgenas.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(edgenas, name).__doc__


def test_public_names_are_the_promised_ones_and_sorted() -> None:
    promised = {"load_space", "SuperNet", "materialise", "LatencyTable", "LatencyPredictor", "search", "export_onnx"}
    assert promised <= set(edgenas.__all__)
    assert edgenas.__all__ == sorted(edgenas.__all__)
    assert dir(edgenas) == edgenas.__all__


def test_names_that_are_not_there_are_refused_like_any_other() -> None:
    with pytest.raises(AttributeError, match="no attribute 'set_active_subnet'"):
        _ = edgenas.set_active_subnet


def test_importing_edgenas_loads_nothing_heavy() -> None:
    assert loaded_by("import edgenas; dir(edgenas)") == set()


@pytest.mark.parametrize(
    "statement",
    [
        "from edgenas import load_space",
        "from edgenas import load_config",
        "import edgenas.search; edgenas.search.optimise",
    ],
)
def test_what_needs_no_torch_loads_none(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "torchvision", "onnxruntime"}


def test_the_tree_of_errors_is_the_documented_one() -> None:
    assert errors.__doc__
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__)) | {"EdgenasError"}
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    classes = {name: value for name, value in classes.items() if issubclass(value, Exception)}
    assert drawn == set(classes)
    below_user = set(re.findall(r"│   [├└]── (\w+)", errors.__doc__)) | {"UserError"}
    for name, value in classes.items():
        assert issubclass(value, errors.EdgenasError)
        assert issubclass(value, errors.UserError) == (name in below_user)
        assert issubclass(value, ValueError) == (name in below_user)


def test_valid_names_are_listed_and_slips_get_the_closest_first() -> None:
    assert errors.one_of("digit", ["fashion-mnist", "digits"]) == "did you mean 'digits'? valid: digits, fashion-mnist"
    assert errors.one_of("xyz", {"b", "a"}) == "valid: a, b"
