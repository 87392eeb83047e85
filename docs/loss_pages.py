"""A page for every margin and auxiliary loss, made of its docstrings, its signature, its recipe and its figure.

``docs/generate.py`` writes the pages, the tables of losses.md and their places in mkdocs.yml. A new file in
``hyperarc/margins`` gets its page by running it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hyperarc.errors import HyperArcError
from hyperarc.heads.auxiliary.auxiliary import Auxiliary, auxiliaries
from hyperarc.margins import Margin
from hyperarc.margins.margin import margins
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe, recipe_names

Rows = Iterator[Sequence[str]]
SECTION = re.compile(r"^(Args|Attributes|Example|Raises):$")
CLASSES = 1000  # to see the state of a margin


@dataclass(frozen=True)
class Doc:
    """A docstring taken apart: paragraphs, and sections by name."""

    paragraphs: list[str]
    sections: dict[str, str]

    def entries(self, section: str) -> dict[str, str]:
        """``name, other: text`` of Args or Attributes, one entry a name."""
        found: dict[str, str] = {}
        for names, text in re.findall(r"^([\w, ]+): (.*(?:\n +.*)*)", self.sections.get(section, ""), re.MULTILINE):
            for name in names.split(", "):
                found[name] = " ".join(text.split())
        return found


def read_doc(thing: object) -> Doc:
    """The docstring of a class or module."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    sections: dict[str, list[str]] = {}
    text: list[str] = []
    inside: list[str] | None = None
    for line in lines:
        heading = SECTION.match(line)
        if heading:
            inside = sections.setdefault(heading[1], [])
        elif inside is not None and (not line or line.startswith(" ")):
            inside.append(line)
        else:
            inside = None
            text.append(line)
    paragraphs = [" ".join(part.split()) for part in "\n".join(text).split("\n\n")]
    return Doc([p for p in paragraphs if p], {n: inspect.cleandoc("\n".join(part)) for n, part in sections.items()})


@dataclass(frozen=True)
class Loss:
    """One registered loss and what can be read from it."""

    name: str
    cls: type[Margin] | type[Auxiliary]

    @property
    def doc(self) -> Doc:
        return read_doc(self.cls)

    @property
    def formula(self) -> str:
        return self.doc.paragraphs[0]

    @property
    def use(self) -> str:
        """When to use it: the paragraph of the class that begins so."""
        found = [p for p in self.doc.paragraphs if p.startswith("Use it")]
        return found[0].removeprefix("Use it ") if found else "see its page"

    @property
    def title(self) -> str:
        heading = read_doc(inspect.getmodule(self.cls)).paragraphs[0]
        return f"{heading.partition(':')[0]} (`{self.name}`)"

    @property
    def recipe(self) -> str | None:
        name = f"casia_r50_{self.name}"
        return name if name in recipe_names() else None

    def arguments(self) -> dict[str, inspect.Parameter]:
        """Its own, then those of its base that it takes."""
        base = Margin if issubclass(self.cls, Margin) else Auxiliary
        own = {n: p for n, p in inspect.signature(self.cls).parameters.items() if n != "rest"}
        values = {"scale": 32.0, "inter_class_filter": 0.5, "weight": 1.0}
        for name, parameter in inspect.signature(base).parameters.items():
            if name not in own and _takes(self.cls, name, values[name]):
                own[name] = parameter
        return {n: p for n, p in own.items() if _takes(self.cls, n, values.get(n, p.default))}


def _takes(cls: type[Margin] | type[Auxiliary], name: str, value: Any) -> bool:
    try:
        cls(**{name: value})
    except (HyperArcError, TypeError):
        return False
    return True


def all_losses() -> list[Loss]:
    """Margins, then auxiliary losses, of the package itself; not what else is installed here."""
    found = [Loss(n, margins.get(n)) for n in margins.names()]
    found += [Loss(n, auxiliaries.get(n)) for n in auxiliaries.names()]
    return [loss for loss in found if loss.cls.__module__.startswith("hyperarc.")]


def of_kind(kind: type[Margin] | type[Auxiliary]) -> list[Loss]:
    """The margins, or the auxiliary losses."""
    return [loss for loss in all_losses() if issubclass(loss.cls, kind)]


def changes(cls: type[Margin]) -> str:
    """What a margin does to the plain softmax, read from what it overrides."""
    kept = [
        ("target", "the target"),
        ("negative", "negatives"),
        ("penalty", "a penalty"),
        ("rescale", "the scale"),
        ("loss", "the loss itself"),
    ]
    found = [word for method, word in kept if getattr(cls, method) is not getattr(Margin, method)]
    if cls.for_classes is not Margin.for_classes and not cls.rescales and "scale" in dict(_state(cls)):
        found.append("the scale")
    if not cls.normalizes_embeddings:
        found.append("embeddings keep their norm" if cls.normalizes_centers else "nothing is normalized")
    return ", ".join(found) or "nothing but the scale"


def work(cls: type[Margin]) -> str:
    """What it costs beside the sweep that every loss needs: what follows from its structure alone."""
    found = []
    if cls.negative is not Margin.negative:
        found.append("an elementwise map of the N x C negatives")
    if cls.offset is not Margin.offset:
        found.append("a softplus of every negative instead of an exp")
    if cls.rescales:
        found.append("a second pass over the classes, forward only")
    if _made(cls).top_k:
        found.append("the top-k of the negatives")
    return ", ".join(found) or "vector work on N numbers"


def _made(cls: type[Margin]) -> Margin:
    margin = cls()
    margin.for_classes(CLASSES)
    return margin


def _state(cls: type[Margin]) -> list[tuple[str, str]]:
    """Names of buffers and parameters, each with its shape; C stands for the number of people."""
    margin = _made(cls)
    tensors = [*margin.named_buffers(), *margin.named_parameters()]
    return [(n, str(["C" if size == CLASSES else size for size in t.shape]).replace("'", "")) for n, t in tensors]


def margin_rows() -> Rows:
    """Formulas and defaults of all margins."""
    yield "Loss", "Formula", "Arguments and defaults"
    for loss in of_kind(Margin):
        yield f"[`{loss.name}`](losses/{loss.name}.md)", prose(loss.formula), _defaults(loss)


def choice_rows() -> Rows:
    """What every margin changes, when to use it and what it costs."""
    yield "Loss", "Changes", "Use it", "Work beside the sweep"
    for loss in of_kind(Margin):
        assert issubclass(loss.cls, Margin)
        yield f"[`{loss.name}`](losses/{loss.name}.md)", changes(loss.cls), prose(loss.use), work(loss.cls)


def auxiliary_rows() -> Rows:
    """All auxiliary losses."""
    yield "Loss", "Formula", "Use it", "Arguments and defaults"
    for loss in of_kind(Auxiliary):
        yield f"[`{loss.name}`](losses/{loss.name}.md)", prose(loss.formula), prose(loss.use), _defaults(loss)


def _defaults(loss: Loss) -> str:
    shown = [f"`{n}={_value(loss, p)}`" for n, p in loss.arguments().items() if n != "inter_class_filter"]
    return ", ".join(shown) or "none"


def _value(loss: Loss, parameter: inspect.Parameter) -> str:
    value = parameter.default
    if parameter.name == "weight" and value is None:
        value = loss.cls.default_weight if issubclass(loss.cls, Auxiliary) else value
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def page(loss: Loss) -> str:
    """The whole page of one loss, as Markdown."""
    source = inspect.getsourcefile(loss.cls) or ""
    where = "src/hyperarc/" + source.rpartition("/hyperarc/")[2]
    module = read_doc(inspect.getmodule(loss.cls)).paragraphs
    lead = module[0].partition(":")[2].strip()
    rest = [p for p in loss.doc.paragraphs[1:] if not p.startswith("Use it")]
    parts = [
        f"<!-- made by docs/generate.py from {where}: change that file -->",
        f"# {loss.title}",
        prose(lead[:1].upper() + lead[1:]),
        *(prose(p) for p in module[1:]),
        "## What it does",
        f"**{prose(loss.formula)}**",
        *(prose(p) for p in rest),
        f"**When to use it:** {prose(loss.use)}",
        f"![Curves of {loss.name}](../figures/losses/{loss.name}.svg)",
        _caption(loss),
        "## Arguments",
        _arguments(loss),
        *_facts(loss),
        *_example(loss),
        "## Train with it",
        _training(loss),
        "[All losses](../losses.md)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _caption(loss: Loss) -> str:
    if issubclass(loss.cls, Auxiliary):
        return (
            "*Two people in the plane with 48 samples each, without the weight. Left: the samples of one person leave "
            "their center towards the other's, 90 degrees away. Right: the two people move apart.*"
        )
    return (
        f"*With its defaults, computed by the class itself, after 2000 steps at angles of 60 degrees and norms of "
        f"50 +- 13. Loss: of one sample among {CLASSES:,} people with random centers in 512 dimensions.*"
    )


def _arguments(loss: Loss) -> str:
    taken = loss.arguments()
    if not taken:
        return "None."
    said = read_doc(Margin if issubclass(loss.cls, Margin) else Auxiliary).entries("Args") | loss.doc.entries("Args")
    rows = [("Argument", "Default", "Meaning")]
    rows += [(f"`{n}`", f"`{_value(loss, p)}`", prose(said.get(n, ""))) for n, p in taken.items()]
    return table(iter(rows))


def _facts(loss: Loss) -> Iterator[str]:
    if not issubclass(loss.cls, Margin):
        said = loss.doc.entries("Attributes")
        yield from (f"State: `{n}`, {prose(text)}" for n, text in said.items())
        return
    said, state = loss.doc.entries("Attributes"), _state(loss.cls)
    shown = [f"`{n}`, {prose(said[n]).rstrip('.')}" if n in said else f"`{n}` {shape}" for n, shape in state]
    yield "## What it asks of the head"
    rows = [("Question", "Answer"), ("Changes", changes(loss.cls)), ("Work beside the sweep", work(loss.cls))]
    yield table(iter([*rows, ("State saved with the head", "; ".join(shown) or "none")]))


def _example(loss: Loss) -> Iterator[str]:
    """The example of the docstring, with what its module has imported."""
    code = loss.doc.sections.get("Example")
    if code is None:
        return
    torch = "" if "import torch" in code or "torch." not in code else ">>> import torch\n"
    module = f">>> from {loss.cls.__module__} import {loss.cls.__name__}"
    yield "## Example"
    yield f"```pycon\n{torch}{module}\n{code}\n```"


def _training(loss: Loss) -> str:
    if loss.recipe is None:
        key = f"head.margin={loss.name}" if issubclass(loss.cls, Margin) else f'"head.auxiliary={{{loss.name}: {{}}}}"'
        drawn = f"hyperarc train demo {key}" + (" head.arguments={}" if issubclass(loss.cls, Margin) else "")
        return f"There is no recipe of its own yet. On drawn faces:\n\n```sh\n{drawn}\n```"
    recipe = load_recipe(loss.recipe)
    text = " ".join(recipe.description.split())
    return f"```sh\nhyperarc train {loss.recipe}\n```\n\n{prose(text)}\n\n{table(_recipe_rows(recipe))}"


def _recipe_rows(recipe: Recipe) -> Rows:
    head, optimizer, schedule = recipe.head, recipe.optimizer, recipe.schedule
    yield "Recipe key", "Value"
    yield "`head.margin`", f"`{head.margin}`"
    for name, value in head.arguments.items():
        yield f"`head.arguments.{name}`", f"`{value}`"
    for name, value in head.auxiliary.items():
        yield f"`head.auxiliary.{name}`", f"`{value}`"
    yield "`backbone`", f"`{recipe.backbone.name}`, {recipe.backbone.embedding_dim} dimensions"
    yield "`optimizer`", f"{optimizer.name}, lr {optimizer.lr:g}, weight decay {optimizer.weight_decay:g}"
    milestones = f", drops at {', '.join(f'{m:g}' for m in schedule.milestones)}" if schedule.milestones else ""
    yield "`schedule`", f"{schedule.kind}, {schedule.epochs:g} epochs{milestones}"
    yield "`training.batch_size`", f"`{recipe.training.batch_size}`"


def prose(text: str) -> str:
    """Docstring text as Markdown: roles and literals as code, everything else shown as it is written."""
    text = re.sub(r":(?:mod|class|func|meth|data):`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else _escaped(p) for p in parts)


def _escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("<", "&lt;").replace("||", "‖")


def table(rows: Rows) -> str:
    """Rows as a Markdown table, the first as its heading; bars inside cells are escaped."""
    heading, *body = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in rows]
    lines = [heading, ["---"] * len(heading), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def navigation() -> str:
    """The pages as lines of mkdocs.yml."""
    return "\n".join(f"      - {loss.name}: losses/{loss.name}.md" for loss in all_losses())
