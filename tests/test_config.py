from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import edgenas
from edgenas.budget import Budget, parse_budget
from edgenas.config.reading import config_keys, dump_config, load_config, parse_config
from edgenas.config.run_config import RunConfig
from edgenas.config.train_config import RECIPE_DEFAULTS
from edgenas.errors import ConfigError, SpaceError, UserError
from edgenas.objective import Objective
from edgenas.quantities import ERROR, LATENCY, MACS, P95, PEAK_ACTIVATION_BYTES, WEIGHT_BYTES

DEMO = Path(edgenas.__file__).parent / "demo.yaml"
LEAST: dict[str, Any] = {"name": "a", "space": "mobile-32", "data": {"name": "digits"}, "train": {"epochs": 1}}


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("8ms", Budget(LATENCY, limit=8000)),
        (" 8 ms ", Budget(LATENCY, limit=8000)),
        ("8ms@p95", Budget(P95, limit=8000)),
        ("8ms@p50", Budget(LATENCY, limit=8000)),
        ("pi4=20ms", Budget(LATENCY, limit=20_000, device="pi4")),
        ("pi4=20ms@p95", Budget(P95, limit=20_000, device="pi4")),
        ("350us", Budget(LATENCY, limit=350)),
        (".5s", Budget(LATENCY, limit=500_000)),
        ("macs=10M", Budget(MACS, limit=10_000_000)),
        ("macs=250", Budget(MACS, limit=250)),
        ("macs=1.5G", Budget(MACS, limit=1.5e9)),
        ("weight_bytes=400kB", Budget(WEIGHT_BYTES, limit=400_000)),
        ("peak_activation_bytes=64KiB", Budget(PEAK_ACTIVATION_BYTES, limit=65_536)),
        ("peak_activation_bytes=2MiB", Budget(PEAK_ACTIVATION_BYTES, limit=2**21)),
    ],
)
def test_budgets_are_read(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a number with a unit"),
        ("8", "one of us, ms, s"),
        ("8parsec", "one of us, ms, s"),
        ("ms", "not a number"),
        ("1.2.3ms", "'1.2.3' is not a number"),
        ("0ms", "above zero"),
        ("-1ms", "above zero"),
        ("nan ms", "above zero"),
        ("inf ms", "above zero"),
        ("8ms@p99", "unknown statistic 'p99'; .*valid: p50, p95"),
        ("macs=1ms", "one of .none., k, M, G"),
        ("macs=10M@p95", "macs"),
        ("weight_bytes=4", "one of B, kB, MB, KiB, MiB"),
        ("weight_bytes=4M", "one of B, kB, MB, KiB, MiB"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_budget(text)


LATENCIES = st.builds(
    Budget,
    quantity=st.sampled_from([LATENCY, P95]),
    limit=st.floats(1e-3, 1e9),
    device=st.sampled_from([None, "pi4", "here"]),
)
COUNTS = st.builds(
    Budget,
    quantity=st.sampled_from([MACS, WEIGHT_BYTES, PEAK_ACTIVATION_BYTES]),
    # Up to ten times the MACs of the largest public networks.
    limit=st.integers(1, 10**13).map(float),
)


@given(st.one_of(LATENCIES, COUNTS))
def test_budgets_round_trip_through_their_text(budget: Budget) -> None:
    assert parse_budget(str(budget)) == budget


def test_a_budget_without_a_device_goes_to_the_first() -> None:
    assert parse_budget("8ms").on(["pi4", "here"]).device == "pi4"
    assert parse_budget("here=8ms").on(["pi4", "here"]).device == "here"
    assert parse_budget("macs=8M").on(["pi4", "here"]).device is None
    with pytest.raises(ConfigError, match="no device 'pi5'; did you mean 'pi4'"):
        parse_budget("pi5=8ms").on(["pi4", "here"])


def test_the_demo_config_loads_and_writes_out_every_key() -> None:
    assert isinstance(load_config(DEMO), RunConfig)

    def keys(value: dict[str, Any], prefix: str = "") -> set[str]:
        found = set()
        for name, inner in value.items():
            found |= keys(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {prefix + name}
        return found

    # Of a section that it leaves out it holds the name alone.
    out = ("accuracy", "finetune.data")
    known = {next((name for name in out if key.startswith(f"{name}.")), key) for key in config_keys()}
    assert keys(yaml.safe_load(DEMO.read_text())) == known


def test_every_key_of_the_demo_config_is_explained() -> None:
    for line in DEMO.read_text().splitlines():
        key, colon, rest = line.partition(":")
        opens_section = colon and not rest.strip()
        if colon and not key.lstrip().startswith("#") and not opens_section and key.strip() != "schema_version":
            assert "#" in line, line


@pytest.mark.parametrize("value", [LEAST, yaml.safe_load(DEMO.read_text())], ids=["least", "demo"])
def test_dumped_configs_read_back_equal(value: dict[str, Any]) -> None:
    budgets = ["8ms", "here=2ms@p95", "macs=10M", "weight_bytes=64KiB"]
    config = parse_config({**value, "budgets": budgets, "data": {"name": "fashion-mnist", "path": "x/y"}}, "here")
    text = dump_config(config)
    assert parse_config(yaml.safe_load(text), "there") == config
    written = {key for key in yaml.safe_load(text) if not isinstance(config.model_dump()[key], dict)}
    assert {*config_keys(), "accuracy"} >= written


@pytest.mark.parametrize(
    ("change", "recipe"),
    [
        ({}, "all-sizes"),
        ({"budgets": ["8ms"]}, "within-budgets"),
        ({"budgets": ["8ms"], "train": {"epochs": 1, "recipe": None}}, "within-budgets"),
        ({"budgets": ["8ms"], "train": {"epochs": 1, "recipe": "uniform"}}, "uniform"),
        ({"budgets": ["8ms"], "train": {"epochs": 0, "init": "x"}}, "all-sizes"),
        ({"budgets": ["8ms"], "finetune": {"teacher": "largest"}}, "all-sizes"),
        ({"budgets": ["8ms"], "train": {"epochs": 1, "init": "efficientnet-lite0"}}, "from-pretrained"),
        ({"budgets": ["8ms"], "train": {"epochs": 1, "init": "auto", "recipe": None}}, "from-pretrained"),
        ({"space": "auto"}, "from-pretrained"),
        ({"space": "auto", "finetune": {"teacher": "largest"}}, "teacher-first"),
        ({"budgets": ["8ms"], "train": {"epochs": 1, "init": "auto", "recipe": "sandwich"}}, "sandwich"),
    ],
)
def test_weights_and_budgets_choose_the_recipe_unless_one_is_named(change: dict[str, Any], recipe: str) -> None:
    config = parse_config({**LEAST, **change}, "here")
    assert config.training.recipe == recipe
    assert yaml.safe_load(dump_config(config))["train"]["recipe"] == recipe


def test_fine_tuning_a_pretrained_network_has_defaults_of_its_own() -> None:
    tuned, stated = (
        parse_config({**LEAST, "train": {"epochs": 1, "init": "auto", **change}}, "here").training
        for change in ({}, {"layer_decay": 0.7, "batch_size": 16})
    )
    fresh = parse_config(LEAST, "here").training
    assert tuned.layer_decay < fresh.layer_decay == 1
    assert (stated.layer_decay, stated.batch_size) == (0.7, 16)
    assert stated.learning_rate == tuned.learning_rate


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, None),
        ({"space": "auto"}, "auto"),
        ({"train": {"epochs": 1, "init": "efficientnet-lite0"}}, "auto"),
        ({"train": {"epochs": 1, "init": "runs/other"}}, None),
        ({"space": "auto", "data": {"name": "digits"}}, None),
        ({"space": "auto", "train": {"epochs": 1, "augment": {"flip": True}}}, None),
        ({"space": "auto", "train": {"epochs": 1, "augment": {"level": "none"}}}, "none"),
    ],
)
def test_photographs_and_pretrained_weights_choose_the_level_unless_augmentation_is_stated(
    change: dict[str, Any], level: str | None
) -> None:
    photographs = {**LEAST, "space": "mobile-96", "data": {"name": "imagefolder", "path": "x"}}
    config = parse_config({**photographs, **change}, "here")
    assert config.training.augment.level == level
    assert parse_config(yaml.safe_load(dump_config(config)), "here") == config


def test_a_narrowed_space_survives_the_dump() -> None:
    space = {"preset": "mobile-32", "resolution": [28], "stages": {"1": {"kernel": [3]}}}
    config = parse_config({**LEAST, "space": space}, "here")
    again = parse_config(yaml.safe_load(dump_config(config)), "there")
    assert again.load_space() == config.load_space()
    assert config.load_space().resolution == (28,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serach": {"evaluations": 5}}, "unknown key 'serach'; did you mean 'search"),
        ({"budget": ["8ms"]}, "unknown key 'budget'; did you mean 'budgets'"),
        ({"train": {"epochs": 1, "epoch": 2}}, "unknown key 'train.epoch'; did you mean 'train.epochs'"),
        (
            {"train": {"epochs": 1, "augment": {"shfit": 0.1}}},
            "unknown key 'train.augment.shfit'; did you mean 'train.augment.shift'",
        ),
        ({"train": {}}, "train.epochs is missing"),
        ({"train": {"epochs": "many"}}, "train.epochs: .*got 'many'"),
        ({"train": {"epochs": 0}}, r"train\.epochs: expected a number above 0.*, got 0"),
        ({"search": {"population": 1.5}}, r"search.population: .*got 1\.5"),
        ({"search": {"strategy": "climb"}}, "search.strategy: .*'climb' is unknown; valid: bayesian, gradient, grid"),
        (
            {"export": {"quantisation_aware": "often"}},
            "quantisation_aware: .*'often' .*valid: always, auto, never",
        ),
        (
            {"export": {"quantisation_aware": True}},
            "export.quantisation_aware: expected a value other than true or false",
        ),
        ({"data": {"name": "digits", "validation": 1}}, "data.validation: .*below 1"),
        ({"train": 3}, "train: .*got 3"),
        ({"name": "a/b"}, "name: .*got 'a/b'"),
        ({"devices": ["here", "here"]}, "expected each device once"),
        ({"devices": []}, "devices"),
        ({"budgets": ["8parsec"]}, r"budgets\.0: .*one of us, ms, s"),
    ],
)
def test_what_a_config_may_not_hold_is_named_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse_config({**LEAST, **change}, "here.yaml")
    assert str(raised.value).startswith("here.yaml: ")


def test_several_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs is missing.*'sede'"):
        parse_config({**LEAST, "train": {}, "sede": 1}, "here.yaml")


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_config(LEAST, "here").seed = 3  # type: ignore[misc]


@pytest.fixture
def least(tmp_path: Path) -> Path:
    path = tmp_path / "least.yaml"
    path.write_text(yaml.safe_dump(LEAST))
    return path


def test_overrides_win_over_the_file(least: Path) -> None:
    config = load_config(
        least,
        [
            "search.evaluations=200",
            "train.augment.flip=true",
            "train.epochs=2.5",
            "budgets=[8ms, macs=10M]",
            "data.limit=null",
            "space={preset: mobile-32, resolution: [28]}",
            "space.kernel=[3]",
        ],
    )
    assert (config.search.evaluations, config.train.augment.flip, config.train.epochs) == (200, True, 2.5)
    assert [str(budget) for budget in config.budgets] == ["8ms", "macs=10000000"]
    assert config.data.limit is None
    assert {kernel for stage in config.load_space().stages for kernel in stage.kernel} == {3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.evaluations", "expected key=value"),
        ("=3", "expected key=value"),
        ("name.x=3", "'name' has no keys"),
        ("search.evaluations=[1", "not valid YAML"),
        ("search.evaluation=3", "did you mean 'search.evaluations'"),
        ("sarch.evaluations=3", "unknown key 'sarch'; did you mean 'search"),
        ("search.evaluations=few", "search.evaluations: .*'few'"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(least: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(least, [override])


def test_a_space_that_does_not_load_is_refused_with_the_config(least: Path) -> None:
    with pytest.raises(SpaceError, match="did you mean 'mobile-32'"):
        load_config(least, ["space=mobile-23"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("- name: a", "got list"),
        ("name: [a", "cannot be read as YAML"),
        ("schema_version: 2", "upgrade"),
    ],
)
def test_files_that_are_no_config_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(path)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        load_config(tmp_path / "none.yaml")


def with_search(**search: Any) -> RunConfig:
    return parse_config({**LEAST, "search": search}, "a config")


def test_the_config_knows_every_strategy_of_the_search() -> None:
    from edgenas.search.strategies.by_name import STRATEGIES

    assert {with_search(strategy=name).search.strategy for name in STRATEGIES} == set(STRATEGIES)
    with pytest.raises(ConfigError, match=r"'nsga3' is unknown; did you mean 'nsga2'. valid: bayesian, .*surrogate"):
        with_search(strategy="nsga3")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"objectives": []}, "a list of at least 1"),
        ({"objectives": ["accuracy"]}, "unknown quantity 'accuracy'"),
        ({"choose": "weighted"}, "weights and choose: weighted need each other"),
        ({"weights": {"error": 1}}, "weights and choose: weighted need each other"),
        ({"choose": "weighted", "weights": {"error": -1}}, "at least 0"),
        ({"choose": "weighted", "weights": {"eror": 1}}, "did you mean 'error'"),
        ({"workers": 0}, "at least 1"),
    ],
)
def test_search_settings_that_make_no_sense_are_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_search(**search)


def test_objectives_round_trip_through_yaml() -> None:
    config = with_search(
        objectives=["error", " p95@pi4 ", "macs"], choose="weighted", weights={"error": 2, "macs": 0.5}
    )
    assert config.search.objectives == (Objective(ERROR), Objective(P95, "pi4"), Objective(MACS))
    assert parse_config(yaml.safe_load(dump_config(config)), "again") == config


def test_the_demo_config_states_the_defaults_of_recipes() -> None:
    text = " ".join(DEMO.read_text().replace("#", " ").split())
    for recipe, defaults in RECIPE_DEFAULTS.items():
        assert f"{recipe}:" in text
        for key, value in defaults.items():
            assert f"{key} {value}" in text, key
