"""README, CONTRIBUTING and docs/ say what is true: code runs, commands and recipes exist, links lead somewhere."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from hyperarc.margins.margin import margins
from hyperarc.recipe import Recipe
from hyperarc.recipe_file import load_recipe, parse_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")])
NOT_RUN = "<!-- not run -->"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = ROOT / "src" / "hyperarc"
# importing __main__ runs the command line
MODULES = sorted(
    ".".join(("hyperarc", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for file in SOURCE.rglob("*.py")
    if file.name != "__main__.py"
)
HOSTS = ("keepachangelog.com", "semver.org", "arxiv.org", "github.com")


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language, without those marked as not run."""
    text = page.read_text(encoding="utf-8")
    return [
        found[2]
        for found in FENCE.finditer(text)
        if found[1] == language and not text[: found.start()].rstrip().endswith(NOT_RUN)
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def script(name: str) -> ModuleType:
    """A script of docs/, imported."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def margins_restored() -> Iterator[None]:
    """An example that registers a margin must not leave it to the tests that follow."""
    margins.names()
    before = dict(margins._things)
    yield
    margins._things.clear()
    margins._things.update(before)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, margins_restored: None) -> None:
    monkeypatch.chdir(tmp_path)
    for number, code in enumerate(blocks(page, "python")):
        exec(compile(code, f"{page.name}, block {number}", "exec", flags=0, dont_inherit=True), {"__name__": "block"})


def test_blocks_that_are_not_run_are_python_at_least() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            if text[: found.start()].rstrip().endswith(NOT_RUN):
                ast.parse(found[2])


def test_readme_example_is_short() -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 20


def test_the_margin_of_contributing_obeys_the_first_laws(margins_restored: None) -> None:
    import torch

    import hyperarc

    (code,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    assert code.count("\n") < 30
    exec(compile(code, "CONTRIBUTING.md", "exec", flags=0, dont_inherit=True), {"__name__": "block"})
    head = hyperarc.create_head("squared_cosface", num_classes=5, embedding_dim=4)
    cosine = torch.linspace(1, -1, 101)
    target = head.margin.target(cosine, torch.ones(101), torch.zeros(101, dtype=torch.long))
    assert (target.diff() <= 0).all()
    assert (target <= cosine).all()
    assert head(torch.randn(3, 4), torch.arange(3)).loss.isfinite()


def commands(page: Path) -> list[list[str]]:
    """Every ``hyperarc ...`` line of the page's shell blocks, and ``hyperarc verb`` in its text, as words."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(hyperarc [a-z][^`]*)`", prose(page))
    words = [shlex.split(line.partition(" #")[0]) for line in lines]
    return [line[1:] for line in words if line and line[0].endswith("hyperarc")]


def test_every_command_shown_exists() -> None:
    import typer

    from hyperarc.cli import app

    verbs: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = [(page, words) for page in PAGES for words in commands(page)]
    assert {words[0] for _, words in shown} >= {"demo", "train", "evaluate"}
    for page, (verb, *words) in shown:
        if verb.startswith("-"):
            continue
        assert verb in verbs, f"{page.name}: hyperarc {verb}"
        options = {option for parameter in verbs[verb].params for option in parameter.opts} | {"--help"}
        unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
        assert not unknown, f"{page.name}: hyperarc {verb} {unknown}"
        load_recipe("demo", [word for word in words if re.match(r"[a-z_0-9.]+=", word)])
        if verb == "train" and words:
            assert words[0].endswith(".yaml") or words[0] in recipe_names(), f"{page.name}: recipe {words[0]}"


def test_every_make_target_shown_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        shown = set(re.findall(r"(?:^|`|=1 )make (\w+)", text, re.MULTILINE))
        assert shown <= targets, f"{page.name}: {shown - targets}"


def test_recipes_shown_are_recipes() -> None:
    seen = 0
    for page in PAGES:
        for block in blocks(page, "yaml"):
            parse_recipe(yaml.safe_load(block), where=page.name)
            seen += 1
    assert seen >= 3


def test_generated_tables_are_current() -> None:
    generate = script("generate")
    for page in {home for home, _ in generate.TABLES.values()}:
        text = (DOCS / page).read_text(encoding="utf-8")
        assert generate.with_tables(page, text) == text, f"docs/{page} is old: run python docs/generate.py"


def test_every_recipe_key_has_its_row() -> None:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    for section, field in Recipe.model_fields.items():
        assert f"`{section}`" in text
        for key in getattr(field.annotation, "model_fields", {}):
            assert f"`{section}.{key}`" in text
    generate = script("generate")
    rows = list(generate.recipe_table())
    assert all(len(row) == 4 and all(row) for row in rows)
    keys = {row[0].strip("*`") for row in rows}
    assert set(generate.MEANINGS) <= keys, "a meaning of a key that is gone"


def anchors(page: Path) -> set[str]:
    """What ``#...`` may name on the page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            assert re.match(rf"https://([a-z]+\.)?({'|'.join(map(re.escape, HOSTS))})/", link), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{page.name}: {link}"
        if page.parent == DOCS:
            assert DOCS in target.parents, f"{page.name}: {link} leaves the site"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_nothing_is_taken_for_html(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`|<!--.*?-->", "", prose(page))
    assert not re.findall(r"</?[a-zA-Z][^>]*>", text), f"{page.name}: put it into `code`"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w-]+\.md", text))
    assert listed == {page.name for page in DOCS.glob("*.md")}


def test_figures_are_there_and_small() -> None:
    names = set(script("figures").FIGURES)
    assert {file.name for file in (DOCS / "figures").iterdir()} >= names
    for name in names:
        assert 1_000 < (DOCS / "figures" / name).stat().st_size < 300_000
    shown = {Path(link).name for page in PAGES for link in LINK.findall(prose(page)) if "figures/" in link}
    assert shown == names


def test_architecture_page_shows_the_floors() -> None:
    house = (ROOT / "tests" / "test_house.py").read_text(encoding="utf-8")
    (floors,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(house).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    drawn = dict(re.findall(r"^(\d)  \w+ +(.+)$", page, re.MULTILINE))
    for room, floor in floors.items():
        assert room in drawn[str(floor)].split(), f"docs/architecture.md: {room} is missing on floor {floor}"


def test_public_names_are_in_the_api_page() -> None:
    import hyperarc

    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in set(hyperarc.__all__) - {"__version__", "metrics"}:
        assert f"::: hyperarc.{name}\n" in text, name
    for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    assert result.failed == 0, f"see the output: {result.failed} of {result.attempted} examples of {name} fail"
    assert sys.modules[name] is module
