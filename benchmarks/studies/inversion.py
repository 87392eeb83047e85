"""What BatchNorm priors are worth, and which losses give the most away: inversions under an independent judge.

    nohup python benchmarks/studies/inversion.py --out runs/inversion-study &
    python benchmarks/studies/inversion.py --out runs/of-others --attacked softmax=a/artifact arcface=b/artifact \
        --judge c/artifact --photos lfw.zip

Without --attacked, a model with each loss is trained on the same drawn people, by the same recipe for as many steps,
and a judge, which is another network, on others; the photos are of people whom none of them has seen. Class centers
(closed set) and photos (open set) are inverted under each kind of priors, with equal iterations. Work goes on where it
was stopped; what is finished is not done again. ``tables.md`` in the folder is written anew after every search.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from study import StoppedError, table, trained, write_results

from hyperarc.commands.invert import FACTS, WITH, WITHOUT, Inverting, Judging, invert
from hyperarc.commands.invert_judgement import JUDGE
from hyperarc.commands.invert_model import Machine
from hyperarc.commands.invert_search import How
from hyperarc.commands.invert_targets import CLASSES, PHOTOS, Choice
from hyperarc.commands.show import Show
from hyperarc.data.drawn import draw_set
from hyperarc.files import write_beside
from hyperarc.inversion import Priors, Search
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe

LOSSES = {
    "norm_softmax": "{margin: norm_softmax, arguments: {scale: 16}}",
    "cosface": "{margin: cosface, arguments: {scale: 16, margin: 0.2}}",
    "arcface": "{margin: arcface, arguments: {scale: 16, margin: 0.3}}",
}
PRIORS = {
    "none": Priors(batch_norm=0.0, length=0.0),
    "length": Priors(batch_norm=0.0),
    "paper": Priors(),
    "deepinversion": Priors(statistics="deepinversion"),
}
SETS = {CLASSES: "Closed set", PHOTOS: "Open set"}
ATTACKED_SEED, JUDGE_SEED, UNSEEN_SEED = 0, 1, 2  # other people each
UNSEEN_FACES = 6  # of each person
SMOKE = [
    "schedule={kind: cosine, epochs: 1}",
    "training.batch_size=16",
    "backbone={name: iresnet_tiny, embedding_dim: 16, arguments: {stem_stride: 4}}",
]


@dataclass(frozen=True)
class Cell:
    """One search: its folder, the model, the set, the name of the priors, the seed of noise."""

    folder: Path
    attacked: str
    kind: str
    priors: str
    seed: int


@dataclass(frozen=True)
class Models:
    """Artifacts by name, the judge's, and the photos of people whom none of them has seen."""

    attacked: dict[str, Path]
    judge: Path
    photos: Path


def models_of(options: argparse.Namespace, show: Show) -> Models:
    """Those that were named, or of drawn faces."""
    if options.attacked:
        named = dict(one.split("=", 1) for one in options.attacked)
        return Models({name: Path(place) for name, place in named.items()}, options.judge, options.photos)
    seeds = {"judge": JUDGE_SEED} | dict.fromkeys(options.losses, ATTACKED_SEED)
    for name, seed in seeds.items():
        recipe = recipe_of("arcface" if name == "judge" else name, seed, options)
        reached = trained(recipe, options.out / name, show)["reached"]
        show.note(f"{name}: {reached}")
    places = {name: options.out / name / "artifact" for name in seeds}
    return Models(places, places.pop("judge"), unseen_people(options.out / "unseen", options.targets))


def recipe_of(loss: str, seed: int, options: argparse.Namespace) -> Recipe:
    """Sized for one thread of a CPU: three minutes for an attacked model, seven for the judge."""
    people, each = (12, 6) if options.smoke else (500, 40)
    backbone = "iresnet_small" if seed == JUDGE_SEED else "iresnet_tiny"
    return load_recipe(
        "demo",
        [
            f"data.drawn={{people: {people}, faces_per_person: {each}, seed: {seed}}}",
            "data.noise={}",
            f"backbone={{name: {backbone}, embedding_dim: 128, arguments: {{stem_stride: 4}}}}",
            f"head={LOSSES[loss]}",
            "schedule={kind: cosine, epochs: 4, warmup_epochs: 0.3}",
            "training.threads=1",
            f"evaluation=[{{protocol: drawn, people: {min(people, 100)}}}]",
            f"seed={seed}",
            *(SMOKE if options.smoke else ()),
            *options.changes,
        ],
    )


def unseen_people(folder: Path, people: int) -> Path:
    """Pictures of other drawn people, a folder for each."""
    if not folder.exists():
        drawn = draw_set(people, UNSEEN_FACES, seed=UNSEEN_SEED)
        with write_beside(folder) as beside:
            for row, (picture, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
                place = beside / f"unseen{label:04d}" / f"{row % UNSEEN_FACES + 1}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(place)
    return folder


def cells_of(models: Models, options: argparse.Namespace) -> Iterator[Cell]:
    """Seed by seed; artifacts without a head have no closed set."""
    for seed in options.seeds:
        for name, artifact in models.attacked.items():
            for kind in options.sets:
                if kind == CLASSES and not (artifact / "head.safetensors").exists():
                    continue
                for priors in options.priors:
                    place = options.out / "searches" / f"{name}-{kind}-{priors}-seed{seed}"
                    yield Cell(place, name, kind, priors, seed)


def inverted(cell: Cell, models: Models, options: argparse.Namespace, show: Show) -> dict[str, Any]:
    """What a search came to; pictures, page and numbers lie in its folder."""
    search = Search(iterations=options.iterations, seed=cell.seed)
    asked = {"search": asdict(search), "priors": asdict(PRIORS[cell.priors]), "targets": options.targets}
    path = cell.folder / FACTS
    if path.exists():
        done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {name: done[name] for name in asked} == json.loads(json.dumps(asked)):
            return done
    closed = cell.kind == CLASSES
    choice = Choice("all" if closed else None, None if closed else str(models.photos), limit=options.targets)
    job = Inverting(
        models.attacked[cell.attacked],
        choice,
        How(search, PRIORS[cell.priors], batch=options.targets),
        Judging(models.judge, "auto" if closed else str(models.photos)),
        Machine(threads=options.threads, precision="fp32"),
        cell.folder,
    )
    return invert(job, show)


def tables(found: Sequence[tuple[Cell, dict[str, Any]]]) -> str:
    """Markdown: a table for each set, a line for each model and kind of priors, real faces last."""
    lines: list[str] = []
    for kind in dict.fromkeys(cell.kind for cell, _ in found):
        of_kind = [(cell, facts) for cell, facts in found if cell.kind == kind]
        facts = of_kind[0][1]
        rows = [(f"{cell.attacked}, {cell.priors}", *one) for cell, told in of_kind for one in numbers(told).items()]
        rows += [("real faces", *one) for one in real_numbers(facts).items()]
        told = f"{facts['targets']} targets, {facts['search']['iterations']} iterations"
        lines += table(f"{SETS[kind]}: {told}; mean over seeds, half the range behind", "Attacked, priors", rows)
    return "\n".join(lines) + "\n"


def numbers(facts: dict[str, Any]) -> dict[str, float]:
    """What is told of a search, all but the first by the judge."""
    told = facts["results"][_searched(facts)]
    judged = told[JUDGE]
    return {
        "To the target": told["cosine_to_target"]["mean"],
        "Judge's cosine": judged["cosine_to_real_faces"],
        "Verified, %": 100 * judged["accuracy"]["mean"],
        "Two people": judged["cosine_of_two_people"],
        "Frechet": judged["frechet"]["distance"],
    }


def real_numbers(facts: dict[str, Any]) -> dict[str, float]:
    """The judge's of real faces alone, as far as there are enough."""
    judged = facts["results"][_searched(facts)][JUDGE]
    found = {"Judge's cosine": judged["cosine_real_same"], "Two people": judged["cosine_of_two_real_people"]}
    for name, told, value, factor in (
        ("Verified, %", judged["real_accuracy"], "mean", 100),
        ("Frechet", judged["real_frechet"], "distance", 1),
    ):
        found[name] = None if told is None else factor * told[value]
    return {name: number for name, number in found.items() if number is not None}


def _searched(facts: dict[str, Any]) -> str:
    return WITH if facts["priors"]["batch_norm"] else WITHOUT


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", help="key=value changes of the recipe by which models are trained")
    parser.add_argument("--out", type=Path, default=Path("runs/inversion-study"))
    parser.add_argument("--attacked", nargs="+", metavar="NAME=ARTIFACT", help="in place of models of drawn faces")
    parser.add_argument("--judge", type=Path, help="artifact; with --attacked")
    parser.add_argument("--photos", type=Path, help="faces of unseen people; with --attacked")
    parser.add_argument("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--priors", nargs="+", choices=list(PRIORS), default=["none", "paper", "deepinversion"])
    parser.add_argument("--targets", type=int, default=16, help="of a search, all in one batch")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a dozen people, one epoch: shows that all of it runs")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(words)
    if options.attacked and not (options.judge and options.photos):
        parser.error("--attacked needs --judge and --photos")
    if options.smoke:
        options.targets, options.iterations = 3, 2
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run what is left to do; the tables on standard output."""
    options = arguments(words)
    show = Show(quiet=options.quiet)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        models = models_of(options, show)
    except StoppedError:
        return 130
    found: list[tuple[Cell, dict[str, Any]]] = []
    for cell in cells_of(models, options):
        found.append((cell, inverted(cell, models, options, show)))
        results = [asdict(one) | {"reached": numbers(facts), "real": real_numbers(facts)} for one, facts in found]
        write_results(options.out, results, tables(found))
        show.note(f"{cell.folder.name}: {numbers(found[-1][1])}")
    print(tables(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
