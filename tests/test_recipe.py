"""Recipes: shipped ones are sound, and every mistake is one clear error that says where it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from hyperarc.errors import RecipeError, UnknownNameError, UsageError
from hyperarc.recipe import Data, DrawnData, Recipe
from hyperarc.recipe.file import MAX_RECIPE_BYTES, expand_path, load_recipe, parse_recipe, recipe_names

SOURCES = {"name": "two", "data": {"sources": [{"path": "a"}, {"path": "b"}]}}


def write(folder: Path, text: str | bytes, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def complaint(name_or_path: str, *overrides: str) -> str:
    with pytest.raises((RecipeError, UsageError)) as caught:
        load_recipe(name_or_path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_parse_and_are_named_as_their_file(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description.strip()
    assert recipe.evaluation


def test_recipe_is_frozen() -> None:
    recipe = load_recipe("demo")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", recipe_names())
def test_to_yaml_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["description='Grüße: [a], {b}'", "seed=7"])
    again = load_recipe(write(tmp_path, recipe.to_yaml()))
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


def test_to_yaml_holds_the_defaults() -> None:
    content = yaml.safe_load(Recipe(name="mine", data=Data(drawn=DrawnData())).to_yaml())
    assert content["optimizer"]["momentum"] == 0.9
    assert content["training"]["ema"] is None


def test_overrides() -> None:
    recipe = load_recipe(
        "demo",
        [
            "training.batch_size=32",
            "head.arguments.scale=20",
            "head.arguments.beyond_pi=raw",
            "evaluation.0.people=5",
            "training.ema=0.5",
            "training.ema=null",
            "schedule.milestones=[1, 2]",
            "optimizer={lr: 0.2}",
            "data.people_table.path=people.csv",
            " seed =3",
        ],
    )
    assert recipe.training.batch_size == 32
    assert recipe.head.arguments | {"margin": None} == {"scale": 20, "margin": None, "beyond_pi": "raw"}
    assert recipe.evaluation[0].people == 5
    assert recipe.training.ema is None
    assert recipe.schedule.milestones == (1.0, 2.0)
    assert (recipe.optimizer.lr, recipe.optimizer.weight_decay) == (0.2, 5e-4)
    assert recipe.data.people_table is not None
    assert recipe.data.people_table.path == "people.csv"
    assert recipe.seed == 3


def test_override_of_a_list_index(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(SOURCES))
    recipe = load_recipe(path, ["data.sources.1.path=c", "data.sources.0.color=bgr"])
    assert [(s.path, s.color) for s in recipe.data.sources] == [("a", "bgr"), ("c", "rgb")]
    assert "expected an index below 2, got '2'" in complaint(path, "data.sources.2.path=c")
    assert "expected an index below 2, got 'first'" in complaint(path, "data.sources.first=c")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.batch_size", "expected key=value, got 'training.batch_size'"),
        ("=3", "expected key=value, got '=3'"),
        ("name=[1", "the value is not valid YAML"),
        ("seed=2020-13-45", "the value is not valid YAML"),
        ("name=" + "[" * 3000, "the value is not valid YAML"),
        ("name.first=x", "'first' is sought in a value, not in a section"),
    ],
)
def test_bad_overrides(override: str, said: str) -> None:
    assert said in complaint("demo", override)


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("traning.batch_size=8", "traning", "'training'"),
        ("training.batchsize=8", "training.batchsize", "'batch_size'"),
        ("data.drawn.peple=8", "data.drawn.peple", "'people'"),
        ("evaluation.0.protocl=lfw", "evaluation.0.protocl", "'protocol'"),
        ("xyzzy=1", "xyzzy", "known: name, description, seed"),
        ("optimizer.qqqq=1", "optimizer.qqqq", "known: name, lr, momentum"),
    ],
)
def test_unknown_key_names_the_nearest(override: str, key: str, near: str) -> None:
    text = complaint("demo", override)
    assert f"unknown key '{key}'" in text
    assert near in text


def test_unknown_keys_in_a_file_are_all_told_of(tmp_path: Path) -> None:
    content = {**SOURCES, "seeed": 1, "data": {"sources": [{"path": "a"}, {"path": "b", "colour": "bgr"}]}}
    path = write(tmp_path, yaml.safe_dump(content))
    text = complaint(path)
    assert path in text
    assert "unknown key 'seeed'; did you mean 'seed'" in text
    assert "unknown key 'data.sources.1.colour'; did you mean 'color'" in text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.batch_size=1", "training.batch_size: "),
        ("training.batch_size=many", "got 'many'"),
        ("training.batch_size=9 ", ""),
        ("optimizer.lr=0", "optimizer.lr: "),
        ("optimizer.lr=.nan", "optimizer.lr: "),
        ("optimizer.lr=.inf", "optimizer.lr: "),
        ("schedule.epochs=.inf", "schedule.epochs: "),
        ("head.sample_rate=1.5", "head.sample_rate: "),
        ("data.noise.flips=2", "data.noise.flips: "),
        ("data.noise={flips: 0.6, strangers: 0.5}", "flips and strangers are more than all faces: 0.6 + 0.5"),
        ("training.precision=fp8", "training.precision: "),
        ("schedule.warmup_epochs=99", "schedule: warmup_epochs must be fewer than epochs"),
        ("schedule.kind=step", "schedule: a step schedule needs milestones"),
        ("schedule.milestones=[2, 1]", "schedule: milestones must ascend"),
        ("training.accumulate=3", "training: batch_size 64 is not a multiple of accumulate 3"),
        ("training.accumulate=64", "training: a part of one face has no batch statistics"),
        ("data.drawn=null", "data: give either data.drawn or data.sources"),
        ("data.sources=[{path: a}]", "data: give either data.drawn or data.sources"),
        ("training.trackers=[mlflow]", "training.trackers.0: "),
        ("name=a b", "name: "),
        ("name=../up", "name: "),
        ("seed=-1", "seed: "),
        (f"seed={2**70}", "seed: "),
    ],
)
def test_values_out_of_range(override: str, said: str) -> None:
    if not said:
        assert load_recipe("demo", [override]).training.batch_size == 9
        return
    assert said in complaint("demo", override)


def test_missing_section_is_told_of() -> None:
    with pytest.raises(RecipeError, match="here: data: Field required"):
        parse_recipe({"name": "x"}, where="here")


def test_expand_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACES_AT", "/some/where")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_path("${FACES_AT}/lfw.zip") == Path("/some/where/lfw.zip")
    assert expand_path("~/lfw.zip") == tmp_path / "lfw.zip"
    assert expand_path("$FACES_AT/x") == Path("$FACES_AT/x")
    monkeypatch.delenv("FACES_AT")
    with pytest.raises(RecipeError, match="environment variable FACES_AT is not set; run with FACES_AT=") as caught:
        expand_path("${FACES_AT}/lfw.zip")
    assert "${FACES_AT}/lfw.zip" in str(caught.value)
    with pytest.raises(RecipeError, match="home folder"):
        expand_path("~nobody-by-this-name/x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1", "not valid YAML"),
        (b"seed: 2020-13-45", "not valid YAML"),
        (b"[" * 5000, "not valid YAML"),
        (b"\xff\xfe\x00nonsense\xff", "not a text file"),
        (b"a: \x00", "not valid YAML"),
        (b"just words", "expected keys and values, got str"),
        (b"- a\n- b\n", "expected keys and values, got list"),
        (b"", "expected keys and values, got NoneType"),
        (b"1: 2\n", "Keys should be strings, got 1"),
        (b"a: !!python/object/apply:os.system [echo]", "not valid YAML"),
        (b"#" * (MAX_RECIPE_BYTES + 1), "larger than"),
    ],
)
def test_bad_files(content: bytes, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    text = complaint(path)
    assert said in text
    assert path in text


def test_missing_file_and_unknown_name(tmp_path: Path) -> None:
    text = complaint(str(tmp_path / "absent.yaml"))
    assert "no such recipe file" in text
    assert "demo" in text
    assert "no such recipe file" in complaint(str(tmp_path))
    with pytest.raises(UnknownNameError, match="unknown recipe 'demoo'; did you mean 'demo'"):
        load_recipe("demoo")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "name: x")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "cannot be read: Permission denied" in complaint(path)


def test_numbers_survive_the_round_trip(tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["optimizer.weight_decay=1.0e-17", "schedule.epochs=0.7"])
    again = load_recipe(write(tmp_path, recipe.to_yaml(), "b.yml"))
    assert math.isclose(again.optimizer.weight_decay, 1e-17, rel_tol=0)
    assert again == recipe


@pytest.mark.parametrize(
    ("text", "value"), [("5e-4", 5e-4), ("-1E3", -1000.0), ("2.e5", 2e5), (".5e1", 5.0), ("e5", "e5"), ("1e5x", "1e5x")]
)
def test_numbers_without_a_point_are_numbers(text: str, value: object, tmp_path: Path) -> None:
    recipe = load_recipe("demo", [f"head.arguments.eps={text}"])
    assert recipe.head.arguments["eps"] == value
    quoted = load_recipe("demo", [f"description='{text}'"])
    assert load_recipe(write(tmp_path, quoted.to_yaml())).description == text
