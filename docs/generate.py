"""What docs/ holds of the code, so that it cannot drift: ``python docs/generate.py`` writes it.

Tables stand between ``<!-- generated: NAME -->`` and ``<!-- end -->``; the pages of docs/losses/ are made as a whole,
and so is their part of mkdocs.yml. tests/test_docs.py fails when anything is old.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import loss_pages
import typer
from loss_pages import Rows, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hyperarc.cli import app
from hyperarc.data.drawn import Conditions
from hyperarc.data.drawn.scene import NUISANCES
from hyperarc.data.drawn.traits import TRAITS
from hyperarc.inversion import Priors, Search
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe, recipe_names

FOLDER = Path(__file__).parent

# meanings of keys that the models leave undescribed because their names say it
MEANINGS = {
    "name": "of the run; the default run folder is `runs/NAME`",
    "description": "a sentence or two, shown on the report",
    "seed": "of backbone, centers, batches, flips and dropout",
    "data.sampler": "how batches are put together, else a plain shuffle; see [Data](data.md#samplers)",
    "data.augmentation": "what befalls faces in training; see [Data](data.md#augmentation)",
    "data.sources": "folders and zips; see [Data](data.md#sources)",
    "backbone.name": "one of `hyperarc.backbone_names()`",
    "backbone.embedding_dim": "length d of an embedding",
    "optimizer.name": "SGD, or AdamW with beta2 0.999",
    "optimizer.weight_decay": "of backbone and centers",
    "schedule.kind": "shape after the warm-up; see [Training](training.md#learning-rate)",
    "schedule.epochs": "length of the run; may be a fraction",
    "schedule.factor": "of a step schedule",
    "training.channels_last": "memory layout of images and convolutions",
    "training.keep_checkpoints": "newest ones kept",
    "evaluation": "judgements of the finished model; see [Judging](judging.md)",
    "evaluation.N.protocol": "see [Judging](judging.md#protocols)",
}


def recipe_table() -> Rows:
    """Every key of a recipe, in the order of the models."""
    yield "Key", "Values", "Default", "Meaning"
    yield from _section(Recipe, "")


def _section(model: type[BaseModel], prefix: str) -> Rows:
    for name, field in model.model_fields.items():
        key = prefix + name
        inner = _model_in(field.annotation)
        meaning = field.description or MEANINGS.get(key) or (inner and _first_line(inner))
        if not meaning:
            raise SystemExit(f"recipe key {key} has no description")
        if inner is None:
            yield f"`{key}`", _values(field), _default(field), meaning
        else:
            listed = "list of sections" if get_origin(field.annotation) is tuple else "section"
            default = "required" if field.is_required() else ("none" if field.default in (None, ()) else "its defaults")
            yield f"**`{key}`**", listed, default, meaning
            yield from _section(inner, f"{key}.N." if listed.startswith("list") else f"{key}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)


def _first_line(model: type[BaseModel]) -> str:
    text = " ".join((model.__doc__ or "").split("\n\n")[0].split())
    return re.sub(r":mod:`([^`]+)`", r"`\1`", text[0].lower() + text[1:]).rstrip(".")


def _values(field: FieldInfo) -> str:
    annotation = field.annotation
    choices = [str(v) for v in _literals(annotation)]
    listed = get_origin(annotation) is tuple
    if choices:
        return ("list of " if listed else "") + ", ".join(f"`{choice}`" for choice in choices)
    kinds = {"bool": "true, false", "str": "text", "int": "whole number", "float": "number", "dict": "map"}
    inner = next((a for a in get_args(annotation) if a not in (type(None), ...)), annotation)
    kind = annotation if inspect.isclass(annotation) and get_origin(annotation) is None else inner
    word = "map" if get_origin(annotation) is dict else kinds.get(getattr(kind, "__name__", ""), "text")
    if listed and ... not in get_args(annotation):
        return "two numbers"
    return ("list of numbers" if listed else word) + _bounds(field)


def _literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for inner in get_args(annotation) for value in _literals(inner)]


def _bounds(field: FieldInfo) -> str:
    signs = (("gt", "> "), ("ge", ">= "), ("lt", "< "), ("le", "<= "))
    found = [(sign, getattr(m, name)) for name, sign in signs for m in field.metadata if hasattr(m, name)]
    return f" {', '.join(sign + _short(value) for sign, value in found)}" if found else ""


def _short(value: float) -> str:
    return f"2^{value.bit_length() - 1}" if isinstance(value, int) and value > 1e9 else f"{value:,}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}, ""):
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


def recipes_shipped() -> Rows:
    """The recipes that come with the package."""
    yield "Name", "What it is"
    for name in recipe_names():
        yield f"`{name}`", " ".join(load_recipe(name).description.split())


def traits_table() -> Rows:
    """Identity parameters of a drawn person."""
    yield "Identity parameter", "Range", "Meaning"
    for name, (low, high, meaning) in TRAITS.items():
        yield f"`{name}`", f"{low} to {high}", meaning


def nuisances_table() -> Rows:
    """Nuisances of a picture of a drawn person."""
    yield "Nuisance", "Range", "Meaning"
    for name, (low, high, meaning) in NUISANCES.items():
        yield f"`{name}`", f"{low} to {high}", meaning


def conditions_table() -> Rows:
    """The limits that nuisances are drawn within, with their presets."""
    presets = {"default": Conditions(), "frontal": Conditions.frontal(), "profile": Conditions.profile()}
    presets |= {"low_quality": Conditions.low_quality(), "neutral": Conditions.neutral()}
    yield "Condition", *(f"`{name}`" for name in presets)
    for field in fields(Conditions):
        yield f"`{field.name}`", *(f"{getattr(preset, field.name):g}" for preset in presets.values())


def inversion_rows() -> Rows:
    """Options of a search for faces, with what they are where they are not given."""
    command: Any = typer.main.get_command(app)
    known = {option for one in command.commands["invert"].params for option in (*one.opts, *one.secondary_opts)}
    yield "Option", "Default", "Meaning"
    for settings, before in ((Search(), ""), (Priors(), "prior-")):
        said = loss_pages.read_doc(type(settings)).entries("Attributes")
        for field in (one for one in fields(settings) if one.name != "precision"):  # of the machine, in the text
            option = f"--{before}{field.name.removesuffix('_px').replace('_', '-')}"
            value = getattr(settings, field.name)
            told = ", ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value).lower()
            shown = f"`{option}`" if option in known else f"in Python: `{type(settings).__name__}.{field.name}`"
            yield shown, told, loss_pages.prose(said[field.name])


TABLES: dict[str, tuple[str, Callable[[], Rows]]] = {
    "recipe": ("recipes.md", recipe_table),
    "shipped": ("recipes.md", recipes_shipped),
    "traits": ("data.md", traits_table),
    "nuisances": ("data.md", nuisances_table),
    "conditions": ("data.md", conditions_table),
    "inversion": ("inversion.md", inversion_rows),
    "margins": ("losses.md", loss_pages.margin_rows),
    "choice": ("losses.md", loss_pages.choice_rows),
    "auxiliary": ("losses.md", loss_pages.auxiliary_rows),
}


def with_tables(page: str, text: str) -> str:
    """The text of a page with its tables made anew."""
    for name, (home, rows) in TABLES.items():
        if home != page:
            continue
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        before, marked, rest = text.partition(begin)
        if not marked or end not in rest:
            raise SystemExit(f"{page} has no place for table {name}: {begin} ... {end}")
        text = f"{before}{begin}\n{table(rows())}\n{end}{rest.partition(end)[2]}"
    return text


def fresh_files() -> dict[Path, str]:
    """Every generated file with the text that it should hold."""
    fresh = {}
    for page in sorted({home for home, _ in TABLES.values()}):
        fresh[FOLDER / page] = with_tables(page, (FOLDER / page).read_text(encoding="utf-8"))
    for loss in loss_pages.all_losses():
        fresh[FOLDER / "losses" / f"{loss.name}.md"] = loss_pages.page(loss)
    site = FOLDER.parent / "mkdocs.yml"
    begin, end = "      # losses, by docs/generate.py\n", "      # end of losses\n"
    before, _, rest = site.read_text(encoding="utf-8").partition(begin)
    fresh[site] = f"{before}{begin}{loss_pages.navigation()}\n{end}{rest.partition(end)[2]}"
    return fresh


def old_files() -> list[Path]:
    """Generated files that are missing, hold another text, or belong to a loss that is gone."""
    fresh = fresh_files()
    differ = [path for path, text in fresh.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    return differ + [path for path in (FOLDER / "losses").glob("*.md") if path not in fresh]


def main() -> int:
    """Write what is old; with ``--check``, only say so."""
    fresh, old = fresh_files(), old_files()
    check = "--check" in sys.argv
    for path in old:
        print(f"{path.relative_to(FOLDER.parent)} {'is old' if check else 'written' if path in fresh else 'removed'}")
        if not check and path in fresh:
            path.parent.mkdir(exist_ok=True)
            path.write_text(fresh[path], encoding="utf-8")
        elif not check:
            path.unlink()
    print("run python docs/figures.py too if a margin changed" if old else "nothing to do")
    return 1 if old and check else 0


if __name__ == "__main__":
    sys.exit(main())
