"""``hyperarc train``: a recipe becomes a run folder with log, checkpoints, artifact and report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from hyperarc.artifact import Artifact, build_backbone, build_head, contract_of, open_artifact, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.artifact.fine_tuning import backbone_to_tune
from hyperarc.commands.aligned import warn_unaligned
from hyperarc.commands.judgement import Judgement, judge_all
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.face_set import FaceSet
from hyperarc.data.loader import Batch, Loader
from hyperarc.data.training_set import TrainingSet, open_training_set
from hyperarc.encoder import Encoder
from hyperarc.errors import CheckpointError, RecipeError
from hyperarc.faces.augmentation.augmenter import open_augmenter
from hyperarc.files import write_beside
from hyperarc.parallel import rank, together, world_size
from hyperarc.protocols.protocol import check_evaluation
from hyperarc.recipe import Recipe
from hyperarc.training.checkpoint import Checkpoints, recipe_digest
from hyperarc.training.estimate import Load, sweep_of
from hyperarc.training.hardware import Hardware, choose_hardware
from hyperarc.training.loop import Plan
from hyperarc.training.loop import train as run_loop
from hyperarc.training.processes import Launch, joined, own_stream, require_batches, require_same, require_shared_folder
from hyperarc.training.schedule import rate_factor
from hyperarc.training.state import TrainingState, make_state
from hyperarc.training.teacher import open_teacher
from hyperarc.training.watch import open_watchers, read_log


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        resume: None for a new run, "auto" for the newest checkpoint if there is one, or a checkpoint's path.
        source: artifact to fine-tune from, or None.
    """

    resume: str | None = None
    source: Path | None = None


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        folder: the run folder.
        finished: False when it was stopped early; ``--resume auto`` continues it.
        recipe, training_set: what it was trained by and on.
        judgements: of the finished model, in the recipe's order.
        facts: steps, seconds, people, faces and the like.
        leads: whether this process is the one that writes and tells, the first of several.
    """

    folder: Path
    finished: bool
    recipe: Recipe
    training_set: TrainingSet
    judgements: list[Judgement] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    leads: bool = True

    def results(self) -> list[dict[str, Any]]:
        """Every judgement as plain values."""
        return [judgement.result.as_dict() for judgement in self.judgements]

    def log(self) -> list[dict[str, Any]]:
        """One row a step."""
        return read_log(self.folder / "log.jsonl")


def train(recipe: Recipe, folder: Path, start: Start, show: Show) -> Trained:
    """Train ``recipe`` in ``folder``, from the beginning or from where it was stopped.

    Under torchrun all processes train together; started again after one was lost, they go on from the last checkpoint.
    """
    launch = Launch.of_environment()
    if launch.restarts and start.resume is None:
        start = replace(start, resume="auto")
    with joined(recipe.training, launch):
        done = _train(recipe, folder, start, show if launch.rank == 0 else Show(quiet=True))
        together()
    return replace(done, leads=launch.rank == 0)


def _train(recipe: Recipe, folder: Path, start: Start, show: Show) -> Trained:
    require_batches(recipe.training)
    require_same({"recipe": recipe_digest(recipe), "version of torch": torch.__version__})
    require_shared_folder(folder)
    checkpoints = Checkpoints(folder / "checkpoints", recipe, recipe.training.keep_checkpoints)
    checkpoint = _where_to_resume(folder, checkpoints, start.resume)
    for evaluation in recipe.evaluation:
        check_evaluation(evaluation)
    hardware = choose_hardware(recipe.training, Launch.of_environment().local_rank)
    contract = Contract(embedding_dim=recipe.backbone.embedding_dim)
    teacher = open_teacher(recipe, contract, hardware)
    with show.progress("looking at faces") as progress:
        faces = open_training_set(recipe.data, progress)
    for found in faces.manifest.findings:
        show.note(str(found))
    warn_unaligned(FaceSet(faces.sources, faces.kept), contract, show)
    state = new_state(recipe, faces.kept.num_people, hardware)
    state.order = faces.order(recipe.data.sampler, recipe.training.batch_size, recipe.seed)
    if start.source is not None and checkpoint is None:
        show.note(_fine_tune_from(open_artifact(start.source), recipe, state, faces))
    checkpoints.data = faces.digest()
    require_same({"faces": checkpoints.data})
    if teacher is not None:
        teacher.require_people(faces.kept.people)
        checkpoints.teacher = teacher.digest
        show.note(f"taught by {teacher.artifact.backbone_name} of {teacher.artifact.path}")
    if checkpoint is not None:
        checkpoints.load(checkpoint, state)
        show.note(f"resumed from {checkpoint.name}")
    if rank() == 0:
        _write_beginning(folder, recipe, faces)
    loader, plan = _loader_and_plan(recipe, faces, contract, hardware, state, _evaluator(folder, recipe, state, show))
    augmenter = open_augmenter(recipe.data.augmentation, recipe.seed, contract.template)
    plan = replace(plan, teacher=teacher, augmenter=augmenter)
    _tell(show, recipe, faces, hardware, plan)
    watchers = open_watchers(folder, recipe, state.step) if rank() == 0 else []
    try:
        with show.steps(plan.total_steps, state.step, recipe.name) as bar:
            finished = run_loop(state, plan, loader, [*watchers, bar], checkpoints)
    finally:
        for watcher in watchers:
            watcher.close()
    if not finished:
        show.note(f"stopped after step {state.step}; continue with --resume auto")
        return Trained(folder, False, recipe, faces)
    return _finish(folder, recipe, faces, hardware, state, show)


def _where_to_resume(folder: Path, checkpoints: Checkpoints, resume: str | None) -> Path | None:
    newest = checkpoints.latest()
    if resume is None:
        if newest is not None:
            raise CheckpointError(
                "this folder already holds a run",
                where=folder,
                mend="continue it with --resume auto, or name another --run",
            )
        return None
    if resume == "auto":
        return newest
    return Path(resume)


def new_state(recipe: Recipe, people: int, hardware: Hardware) -> TrainingState:
    """Backbone, head and optimizer of a recipe before the first step, the same for the same seed.

    Of several processes each holds its part of the centers, and draws its own dropout.
    """
    torch.manual_seed(recipe.seed)
    backbone, head = build_backbone(recipe), build_head(recipe, people, sharded=world_size() > 1)
    _require_same_groups(getattr(backbone, "groups", 0), getattr(head, "groups", 0), recipe)
    if rank() > 0:
        torch.manual_seed(own_stream(recipe.seed))
    return make_state(recipe, backbone, head, hardware)


def _require_same_groups(given: int, taken: int, recipe: Recipe) -> None:
    """The head groupface takes apart what the neck groupface joined: one does not go without the other."""
    if given == taken:
        return
    raise RecipeError(
        f"head {recipe.head.margin} expects a backbone with {taken or 'no'} groups, {recipe.backbone.name} "
        f"with neck {recipe.backbone.arguments.get('neck', 'of its own')} gives {given or 'none'}",
        where="backbone.arguments",
        mend=f"use {{neck: groupface, groups: {taken}}}" if taken else "use another neck, or head.margin=groupface",
    )


def _fine_tune_from(artifact: Artifact, recipe: Recipe, state: TrainingState, faces: TrainingSet) -> str:
    """Take over the artifact's backbone, and its centers where people and head are the same; says what was taken."""
    state.backbone.load_state_dict(backbone_to_tune(artifact, recipe).state_dict())
    if state.ema is not None:
        state.ema.module.load_state_dict(state.backbone.state_dict())
    if artifact.recipe and artifact.recipe.head == recipe.head and artifact.people() == list(faces.kept.people):
        artifact.load_head(state.head)
        return f"fine-tuning backbone and centers of {artifact.path}"
    return f"fine-tuning the backbone of {artifact.path}; fresh centers, as people or head differ"


def _write_beginning(folder: Path, recipe: Recipe, faces: TrainingSet) -> None:
    with write_beside(folder / "recipe.yaml") as path:
        path.write_text(recipe.to_yaml(), encoding="utf-8")
    faces.manifest.write(folder / "manifest.parquet")
    if faces.truth is not None:
        faces.truth.write(faces.manifest, folder / "truth.parquet")


def _loader_and_plan(
    recipe: Recipe,
    faces: TrainingSet,
    contract: Contract,
    hardware: Hardware,
    state: TrainingState,
    evaluate: Callable[[int], None],
) -> tuple[Loader, Plan]:
    order = state.order
    assert order is not None
    total, rate = rate_factor(recipe.schedule, order.batches_per_epoch)
    loader = Loader(
        faces.sources,
        faces.kept,
        order,
        start_step=state.step,
        stop_step=total,
        workers=recipe.data.workers,
        flip=recipe.data.flip,
        cache_bytes=recipe.data.cache_mb << 20,
        pin_memory=hardware.device == "cuda",
        rank=rank(),
        world_size=world_size(),
    )

    def faces_of(batch: Batch) -> list[str]:
        return faces.kept.faces(batch.rows)

    epochs = recipe.training.evaluate_every_epochs
    every = 0 if epochs is None else max(1, round(epochs * order.batches_per_epoch))
    return loader, Plan(recipe, contract, hardware, total, rate, faces_of, evaluate, every)


def _evaluator(folder: Path, recipe: Recipe, state: TrainingState, show: Show) -> Callable[[int], None]:
    """Judges the backbone as it stands; each result goes into ``evaluations/STEP-PROTOCOL.json``."""

    def evaluate(step: int) -> None:
        for judgement in judge_all(_encoder(recipe, state), recipe.evaluation, show):
            show.note(f"step {step}: {judgement.result.name} {judgement.headline()}")
            with write_beside(folder / "evaluations" / f"{step:08d}-{judgement.result.name}.json") as path:
                path.write_text(json.dumps({"step": step, **judgement.result.as_dict()}, indent=2), encoding="utf-8")

    return evaluate


def _tell(show: Show, recipe: Recipe, faces: TrainingSet, hardware: Hardware, plan: Plan) -> None:
    show.note(
        f"{recipe.name}: {len(faces.kept):,} faces of {faces.kept.num_people:,} people, {plan.total_steps:,} steps of "
        f"{recipe.training.batch_size}, {recipe.backbone.name}, {recipe.head.margin}"
        + (f", {world_size()} processes" if world_size() > 1 else "")
    )
    switches = {"channels_last": recipe.training.channels_last, "optimizer": f"fused {recipe.optimizer.name}"}
    show.note("  ".join(f"{name} {value}" for name, value in (hardware.facts() | switches).items()))
    sweep, asked = sweep_of(recipe, Load(faces.kept.num_people, world_size(), device=hardware.device))
    moved = ", centers updated in backward" if recipe.optimizer.update_in_backward else ""
    show.note(f"sweep: {sweep}, {asked.precision}{moved}")


def _encoder(recipe: Recipe, state: TrainingState) -> Encoder:
    """The backbone to judge, under the contract that its artifact would have."""
    backbone = state.judged_backbone()
    return Encoder(backbone, contract_of(backbone, recipe), device=next(backbone.parameters()).device)


def _finish(
    folder: Path, recipe: Recipe, faces: TrainingSet, hardware: Hardware, state: TrainingState, show: Show
) -> Trained:
    backbone = state.judged_backbone()
    judgements = judge_all(_encoder(recipe, state), recipe.evaluation, show)
    facts: dict[str, Any] = {
        "people": faces.kept.num_people,
        "faces": len(faces.kept),
        "sources": [source.name for source in faces.sources],
        "licence": recipe.data.licence,
    }
    course = {
        "steps": state.step,
        "epochs": recipe.schedule.epochs,
        "batch_size": recipe.training.batch_size,
        **({"processes": world_size()} if world_size() > 1 else {}),
        "cpu_s": round(state.cpu_s, 1),
        "wall": str(timedelta(seconds=round(state.wall_s))),
    } | hardware.facts()
    metrics = {judgement.result.name: judgement.headline() for judgement in judgements}
    people = list(faces.kept.people)
    save_artifact(folder / "artifact", backbone, state.head, recipe, people, Card(facts, course, metrics))
    return Trained(folder, True, recipe, faces, judgements, facts | course)
