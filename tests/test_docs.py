"""README, CONTRIBUTING and docs/ say what is true: code runs, commands and recipes exist, links lead somewhere."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from hyperarc.margins.margin import margins
from hyperarc.protocols.protocol import protocols
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe, parse_evaluations, parse_recipe, read_values, recipe_names

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
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
    """A script of docs/, imported; scripts import each other."""
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
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
        given = [word for word in words if re.match(r"[a-z_0-9.]+=", word)]
        if verb in ("evaluate", "calibrate") and given:
            protocol = protocols.get(words[words.index("--protocol") + 1] if "--protocol" in words else "folder")
            assert set(read_values(given)) <= set(inspect.signature(protocol).parameters), f"{page.name}: {given}"
        else:
            load_recipe("demo", given)
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
            content = yaml.safe_load(block)
            parse = parse_evaluations if set(content) == {"evaluation"} else parse_recipe
            parse(content, where=page.name)
            seen += 1
    assert seen >= 3


def test_what_is_generated_is_current() -> None:
    old = [str(path.relative_to(ROOT)) for path in script("generate").old_files()]
    assert not old, f"old: {', '.join(old)}: run python docs/generate.py"


def test_every_loss_has_its_page_and_figure() -> None:
    from hyperarc.heads.auxiliary import auxiliary_names
    from hyperarc.margins import margin_names

    names = {*margin_names(), *auxiliary_names()}
    assert {page.stem for page in (DOCS / "losses").glob("*.md")} == names
    figures = {figure.stem for figure in (DOCS / "figures" / "losses").glob("*.svg")}
    assert figures == names, f"{figures ^ names}: run python docs/figures.py NAME"


def test_generating_finds_what_is_missing_old_or_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = script("generate")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("figures", "__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    monkeypatch.setattr(generate, "FOLDER", tmp_path / "docs")
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.old_files() == []
    (tmp_path / "docs" / "losses" / "arcface.md").unlink()
    (tmp_path / "docs" / "losses" / "cosface.md").write_text("old")
    (tmp_path / "docs" / "losses" / "gone.md").write_text("of a loss that was taken away")
    site = tmp_path / "mkdocs.yml"
    site.write_text(site.read_text().replace("      - arcface: losses/arcface.md\n", ""))
    assert [path.name for path in generate.old_files()] == ["arcface.md", "cosface.md", "mkdocs.yml", "gone.md"]
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.main() == 0
    assert generate.old_files() == []
    assert site.read_text() == (ROOT / "mkdocs.yml").read_text()


@pytest.mark.usefixtures("margins_restored")
def test_a_new_margin_gets_its_page() -> None:
    """As a file in hyperarc/margins would; one that lives elsewhere gets none."""
    from hyperarc.margins import Margin

    class Bare(Margin):
        """Target cos(theta_y) * 2 for <all>."""

    pages = script("generate").loss_pages
    margins.register("bare")(Bare)
    assert "bare" not in {loss.name for loss in pages.all_losses()}
    Bare.__module__ = "hyperarc.margins.cosface"
    (loss,) = [loss for loss in pages.all_losses() if loss.name == "bare"]
    text = pages.page(loss)
    assert "**Target cos(theta_y) \\* 2 for &lt;all>.**" in text
    assert "see its page" in text
    assert "| `scale` | `64` | s, the radius of the hypersphere" in text
    assert "hyperarc train demo head.margin=bare" in text
    assert any("losses/bare.md" in row[0] for row in pages.choice_rows())


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "pycon")], ids=lambda p: p.stem)
def test_examples_of_pages_run_as_they_stand(page: Path) -> None:
    for code in blocks(page, "pycon"):
        example = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
        assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


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
        if DOCS in page.parents:
            assert DOCS in target.parents, f"{page.name}: {link} leaves the site"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_nothing_is_taken_for_html(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`|<!--.*?-->", "", prose(page))
    assert not re.findall(r"</?[a-zA-Z][^>]*>", text), f"{page.name}: put it into `code`"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"[\w/-]+\.md$", text, re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_figures_are_there_and_small() -> None:
    files = {str(path) for path in script("figures").figure_files().values()}
    assert files == {str(f.relative_to(DOCS / "figures")) for f in (DOCS / "figures").rglob("*.*")}
    for file in files:
        assert 1_000 < (DOCS / "figures" / file).stat().st_size < 250_000, file
    links = {link for page in PAGES for link in LINK.findall(prose(page)) if "figures/" in link}
    assert {link.rpartition("figures/")[2] for link in links} == files


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
    if name.startswith("hyperarc.heads.sweep.fused_"):
        pytest.importorskip("triton", reason="Triton is not installed")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    assert result.failed == 0, f"see the output: {result.failed} of {result.attempted} examples of {name} fail"
    assert sys.modules[name] is module
