"""``hyperarc invert``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperarc.cli.options import Json, Quiet, print_result

_SEARCH, _PRIORS, _JUDGING = "Search (defaults: docs/inversion.md)", "Priors", "Judging"
_MADE, _ATTACK = "Targets that nobody has", "Attack on stored templates"


def invert(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder of the model whose embeddings are inverted.")],
    classes: Annotated[str | None, typer.Option(help="Class centers: all, or 0,3,7-12, or names.")] = None,
    photos: Annotated[str | None, typer.Option(help="Aligned crops: a picture, a folder, zip, .rec, manifest.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="What hyperarc embed wrote, or a .npy [N, d].")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Targets at most, evenly spread over all.")] = None,
    new: Annotated[int | None, typer.Option(min=1, rich_help_panel=_MADE, help="People who do not exist.")] = None,
    per_person: Annotated[int, typer.Option(min=1, rich_help_panel=_MADE, help="With --new: faces of each.")] = 1,
    spread: Annotated[float, typer.Option(rich_help_panel=_MADE, help="With --new: how far from the first.")] = 20.0,
    least_arc: Annotated[
        float | None, typer.Option(rich_help_panel=_MADE, help="With --new: degrees from everybody; else the data's.")
    ] = None,
    between: Annotated[str | None, typer.Option(rich_help_panel=_MADE, help="Two people, such as ann,bob.")] = None,
    sub_centers: Annotated[
        bool, typer.Option("--sub-centers", rich_help_panel=_MADE, help="With --classes: all that each has.")
    ] = False,
    attack: Annotated[
        Path | None, typer.Option(rich_help_panel=_ATTACK, help="What hyperarc embed wrote; --real has the photos.")
    ] = None,
    protect: Annotated[
        str, typer.Option(rich_help_panel=_ATTACK, help="none,signs,values:64,noise:30,rotation,pairs:64; or all.")
    ] = "all",
    frames: Annotated[int, typer.Option(min=0, help="Show how faces appear, in so many pictures.")] = 0,
    paper: Annotated[
        bool, typer.Option("--paper", rich_help_panel=_SEARCH, help="Settings of the paper where none are given.")
    ] = False,
    iterations: Annotated[int | None, typer.Option(rich_help_panel=_SEARCH, help="Steps of Adam.")] = None,
    rate: Annotated[float | None, typer.Option(rich_help_panel=_SEARCH, help="Of Adam.")] = None,
    schedule: Annotated[str | None, typer.Option(rich_help_panel=_SEARCH, help="constant or cosine.")] = None,
    warmup: Annotated[int | None, typer.Option(rich_help_panel=_SEARCH, help="Steps of rising rate, cosine.")] = None,
    jitter: Annotated[int | None, typer.Option(rich_help_panel=_SEARCH, help="Shift by up to so many px.")] = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", rich_help_panel=_SEARCH, help="Mirror some.")] = None,
    resolutions: Annotated[str | None, typer.Option(rich_help_panel=_SEARCH, help="Such as 0.5,1.")] = None,
    batch: Annotated[int, typer.Option(min=1, rich_help_panel=_SEARCH, help="Targets searched together.")] = 64,
    tries: Annotated[int, typer.Option(min=1, rich_help_panel=_SEARCH, help="Of each target; the best is kept.")] = 1,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=_SEARCH, help="Of noise, shifts and flips.")] = 0,
    prior_batch_norm: Annotated[
        float | None, typer.Option(rich_help_panel=_PRIORS, help="Weight of BatchNorm's statistics.")
    ] = None,
    no_batch_norm: Annotated[
        bool, typer.Option("--no-batch-norm", rich_help_panel=_PRIORS, help="As --prior-batch-norm 0.")
    ] = False,
    prior_statistics: Annotated[
        str | None, typer.Option(rich_help_panel=_PRIORS, help="How they are compared: paper or deepinversion.")
    ] = None,
    prior_first_layer: Annotated[
        float | None, typer.Option(rich_help_panel=_PRIORS, help="Factor on the first BatchNorm.")
    ] = None,
    prior_neck: Annotated[
        bool | None,
        typer.Option("--prior-neck/--no-prior-neck", rich_help_panel=_PRIORS, help="Whether the neck's counts."),
    ] = None,
    prior_variation: Annotated[
        str | None, typer.Option(rich_help_panel=_PRIORS, help="Kind of total variation: picture, l2 or l1.")
    ] = None,
    prior_total_variation: Annotated[
        float | None, typer.Option(rich_help_panel=_PRIORS, help="Weight of total variation.")
    ] = None,
    prior_image_norm: Annotated[
        float | None, typer.Option(rich_help_panel=_PRIORS, help="Weight of the pictures' length.")
    ] = None,
    prior_length: Annotated[
        float | None, typer.Option(rich_help_panel=_PRIORS, help="Weight of embeddings that are too short.")
    ] = None,
    prior_out_of_range: Annotated[
        float | None, typer.Option(rich_help_panel=_PRIORS, help="Weight of values that no pixel has.")
    ] = None,
    compare_priors: Annotated[
        bool, typer.Option("--compare-priors", rich_help_panel=_PRIORS, help="Without BatchNorm's too, beside it.")
    ] = False,
    judge: Annotated[
        Path | None, typer.Option(rich_help_panel=_JUDGING, help="Artifact folder of another model.")
    ] = None,
    real: Annotated[
        str, typer.Option(rich_help_panel=_JUDGING, help="Faces of the same people; auto: the photos, or the run's.")
    ] = "auto",
    inception: Annotated[
        Path | None, typer.Option(rich_help_panel=_JUDGING, help="torch-fidelity's weights file; adds FID.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/invert-NAME-KIND.")] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes all cores.")] = 0,
    save_every: Annotated[float, typer.Option(min=0.0, help="Seconds of work that a kill may cost.")] = 60.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """From class centers, photos or embeddings back to faces, by the model's gradients and BatchNorm statistics."""
    from hyperarc.commands.invert import Inverting, Judging, closing_text
    from hyperarc.commands.invert import invert as run_invert
    from hyperarc.commands.invert_model import Machine
    from hyperarc.commands.invert_search import How, frame_steps
    from hyperarc.commands.invert_targets import Choice
    from hyperarc.commands.show import Show
    from hyperarc.inversion import Priors, Search

    search = _given(
        iterations=iterations, rate=rate, schedule=schedule, warmup=warmup, jitter_px=jitter, flip=flip, seed=seed,
        resolutions=None if resolutions is None else _numbers(resolutions),
    )  # fmt: skip
    priors = _given(
        batch_norm=0.0 if no_batch_norm else prior_batch_norm, statistics=prior_statistics,
        first_layer=prior_first_layer, neck=prior_neck, variation=prior_variation,
        total_variation=prior_total_variation, image_norm=prior_image_norm, length=prior_length,
        out_of_range=prior_out_of_range,
    )  # fmt: skip
    _one_of("--schedule", schedule, "constant", "cosine")
    _one_of("--prior-statistics", prior_statistics, "paper", "deepinversion")
    _one_of("--prior-variation", prior_variation, "picture", "l2", "l1")
    settings = replace(Search.paper() if paper else Search(), **search, same_start=between is not None)
    steps = frame_steps(settings.iterations, frames) if frames else ()
    known = replace(Priors.paper() if paper else Priors(), **priors)
    how, machine = How(settings, known, batch, tries, save_every, steps), Machine(device, threads, precision)
    choice, show = Choice(classes, photos, embeddings, limit), Show(quiet=quiet)
    people = _given(count=new, per_person=per_person, spread_deg=spread, least_arc_deg=least_arc, seed=seed)
    made = _made(people, between, sub_centers)
    if attack is not None:
        _nothing_beside(classes, photos, embeddings, made, frames or None, compare_priors or None, inception)
        _attack(artifact, (attack, real, judge, protect, limit), (how, machine, run), (show, as_json))
        return
    job = Inverting(artifact, choice, how, Judging(judge, real, compare_priors, inception), machine, run, made)
    facts = run_invert(job, show)
    print_result(facts, closing_text(facts), as_json)


def _made(people: dict[str, Any], between: str | None, sub_centers: bool) -> Any:
    """The targets that are to be made, or None."""
    from hyperarc.commands.invert_sphere import Between, NewPeople, SubCenters

    if ("count" in people) + (between is not None) + sub_centers > 1:
        raise typer.BadParameter("give one of --new, --between and --sub-centers")
    if between is not None:
        return Between(between)
    if sub_centers:
        return SubCenters()
    return NewPeople(**people) if "count" in people else None


def _nothing_beside(*options: Any) -> None:
    if any(option is not None for option in options):
        told = "--attack inverts the templates of its file: no other targets, --frames, --compare-priors, --inception"
        raise typer.BadParameter(told)


def _attack(artifact: Path, about: tuple[Any, ...], by: tuple[Any, ...], out: tuple[Any, bool]) -> None:
    from hyperarc.commands.attack import Attacking, closing_text
    from hyperarc.commands.attack import attack as run_attack
    from hyperarc.commands.attack_report import report_attack

    (gallery, real, judge, protect, limit), (how, machine, run), (show, as_json) = about, by, out
    if judge is None or real in ("auto", "none"):
        raise typer.BadParameter("--attack needs --judge, another model, and --real, the photos that were embedded")
    job = Attacking(artifact, gallery, real, judge, how, machine, protect, limit, run)
    facts = report_attack(*run_attack(job, show))
    print_result(facts, closing_text(facts), as_json)


def _given(**options: Any) -> dict[str, Any]:
    """Those that were given; the others keep the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--resolutions takes numbers parted by commas, such as 0.5,1; got {text!r}") from None


def _one_of(option: str, value: str | None, *known: str) -> None:
    if value is not None and value not in known:
        raise typer.BadParameter(f"{option} takes {' or '.join(known)}; got {value!r}")
