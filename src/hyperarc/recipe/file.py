"""Reading recipes: by name or path, with overrides, every mistake one clear error.

A recipe is read by name (shipped in ``hyperarc/recipes``) or by path, changed with ``key=value`` overrides and checked
as a whole. An unknown key is an error that names the nearest known one. ``${NAME}`` in a path is taken from the
environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from hyperarc.errors import RecipeError, UsageError, nearest_names, unknown_name
from hyperarc.recipe.dialect import YamlLoader
from hyperarc.recipe.frozen import Frozen
from hyperarc.recipe.sections import Backbone, Evaluation, Recipe

MAX_RECIPE_BYTES = 1 << 20
_PROBLEMS_TOLD = 20
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)  # the latter two of impossible dates and of endless nesting


class EvaluationList(Frozen):
    """The section ``evaluation`` of a recipe by itself."""

    evaluation: tuple[Evaluation, ...] = ()


class BackboneAlone(Frozen):
    """The section ``backbone`` of a recipe by itself."""

    backbone: Backbone


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    files = resources.files("hyperarc.recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe; every mistake is one :class:`RecipeError` that says where it is.

    An override that is no ``key=value``, or that leads nowhere, is a :class:`UsageError`.

    Example:
        >>> recipe = load_recipe("demo", ["training.batch_size=32", "head.margin=cosface"])
        >>> recipe.training.batch_size, recipe.head.margin
        (32, 'cosface')
    """
    content = _content(name_or_path)
    for override in overrides:
        _override(content, override)
    return parse_recipe(content, where=name_or_path)


def load_evaluations(name_or_path: str) -> tuple[Evaluation, ...]:
    """The section ``evaluation`` of a recipe; a file may hold this section alone. Errors as :func:`load_recipe`.

    Example:
        >>> [evaluation.protocol for evaluation in load_evaluations("demo")]
        ['drawn']
    """
    return parse_evaluations(_content(name_or_path), where=name_or_path)


def load_backbone(path: Path) -> Backbone:
    """The section ``backbone`` of a recipe, from a file that holds it alone. Errors as :func:`load_recipe`."""
    try:
        return BackboneAlone.model_validate(_content(str(path))).backbone
    except ValidationError as error:
        raise RecipeError(_explain(error), where=path) from None


def parse_evaluations(content: dict[str, Any], *, where: object) -> tuple[Evaluation, ...]:
    """Check the evaluations of a recipe, or of its section ``evaluation`` alone, given as nested dictionaries."""
    try:
        model = EvaluationList if set(content) == {"evaluation"} else Recipe
        found = model.model_validate(content).evaluation
    except ValidationError as error:
        raise RecipeError(_explain(error), where=where) from None
    if not found:
        raise UsageError("its section evaluation names nothing to judge by", where=where)
    return found


def parse_recipe(content: dict[str, Any], *, where: object) -> Recipe:
    """Check a recipe given as nested dictionaries."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(_explain(error), where=where) from None


def expand_path(path: str) -> Path:
    """``path`` with ${NAME} taken from the environment and ~ from the user; an unset name is an error."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise RecipeError(
                f"environment variable {match[1]} is not set", where=path, mend=f"run with {match[1]}=/a/folder"
            )
        return os.environ[match[1]]

    expanded = Path(re.sub(r"\$\{(\w+)\}", value, path))
    try:
        return expanded.expanduser()
    except RuntimeError as error:
        raise RecipeError("the home folder is not known", where=path, mend="write the whole path") from error


def read_values(overrides: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as names and values, each value read as YAML.

    Example:
        >>> read_values(["norm=false", "ranks=[1, 5]"])
        {'norm': False, 'ranks': [1, 5]}
    """
    content: dict[str, Any] = {}
    for override in overrides:
        _override(content, override)
    return content


def _content(name_or_path: str) -> dict[str, Any]:
    """The recipe as nested dictionaries, unchecked."""
    try:
        content = yaml.load(_read(name_or_path), YamlLoader)
    except NOT_YAML as error:
        raise RecipeError(f"not valid YAML: {' '.join(str(error).split())}", where=name_or_path) from error
    if not isinstance(content, dict):
        raise RecipeError(f"expected keys and values, got {type(content).__name__}", where=name_or_path)
    return content


def _read(name_or_path: str) -> str:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in name_or_path:
        if not path.is_file():
            raise RecipeError("no such recipe file", where=path, mend=f"or a shipped one: {', '.join(recipe_names())}")
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise RecipeError(f"larger than {MAX_RECIPE_BYTES} bytes, which no recipe is", where=path)
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError("not a text file", where=path) from error
        except OSError as error:
            raise RecipeError(f"cannot be read: {error.strerror}", where=path) from error
    if name_or_path not in recipe_names():
        if path.exists():
            raise RecipeError("expected a recipe, a YAML file", where=path, mend="it names faces by data.sources")
        raise unknown_name("recipe", name_or_path, recipe_names())
    return (resources.files("hyperarc.recipes") / f"{name_or_path}.yaml").read_text(encoding="utf-8")


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(f"expected key=value, got {override!r}")
    try:
        parsed = yaml.load(value, YamlLoader)
    except NOT_YAML as error:
        raise UsageError("the value is not valid YAML", where=override) from error
    *parents, last = key.strip().split(".")
    here: Any = content
    for part in parents:
        place = _place(here, part, override)
        if isinstance(here, dict) and here.get(part) is None:
            here[part] = {}
        here = here[place]
    here[_place(here, last, override)] = parsed


def _place(section: Any, part: str, override: str) -> Any:
    """``part`` as a key of a section or an index of a list."""
    if isinstance(section, dict):
        return part
    if isinstance(section, list):
        if part.isdecimal() and int(part) < len(section):
            return int(part)
        raise UsageError(f"expected an index below {len(section)}, got {part!r}", where=override)
    raise UsageError(f"{part!r} is sought in a value, not in a section", where=override)


def _explain(error: ValidationError) -> str:
    lines = []
    problems = error.errors()
    for problem in problems[:_PROBLEMS_TOLD]:
        *parents, last = problem["loc"] or ("recipe",)
        key = _short(".".join(map(str, problem["loc"])))
        if problem["type"] == "extra_forbidden":
            known = _fields_at(parents)
            near = nearest_names(_short(str(last)), known)
            mend = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
            lines.append(f"unknown key {key!r}; {mend}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            came = problem["input"]
            shown = "" if isinstance(came, dict | list | BaseModel) else f", got {_short(repr(came))}"
            lines.append(f"{key}: {message}{shown}" if problem["loc"] else message)
    if len(problems) > _PROBLEMS_TOLD:
        lines.append(f"and {len(problems) - _PROBLEMS_TOLD} more")
    return " | ".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."


def _fields_at(location: Sequence[str | int]) -> list[str]:
    """Field names of the model that ``location`` leads to."""
    model: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        inner = None if field is None else _model_in(field.annotation)
        if inner is not None:
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)
