"""The training loop, on one page: batches -> embeddings -> loss -> step -> watch -> save."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from hyperarc.contract import Contract
from hyperarc.data.loader import Batch
from hyperarc.encoder import model_input
from hyperarc.errors import TrainingError
from hyperarc.faces.augmentation.augmenter import Augmenter
from hyperarc.parallel import agreed, gather, rank, world_size
from hyperarc.recipe import Recipe
from hyperarc.training.checkpoint import Checkpoints
from hyperarc.training.distributed import average_buffers, held_back, over_processes
from hyperarc.training.hardware import Hardware
from hyperarc.training.optimizer import clip, set_rate, share_overflow
from hyperarc.training.state import TrainingState
from hyperarc.training.teacher import Teacher
from hyperarc.training.watch import Watcher


@dataclass(frozen=True)
class Plan:
    """What the loop is told and does not decide.

    Attributes:
        recipe, contract, hardware: as chosen.
        total_steps: steps of the whole run.
        rate: step -> factor on the peak rate.
        faces_of: rows of a batch -> names of its faces, for error messages.
        evaluate: called with the step count every ``evaluate_every`` steps, or None.
        evaluate_every: steps.
        teacher: whose word is added to the loss, or None.
        augmenter: changes the faces before the model sees them, or None.
    """

    recipe: Recipe
    contract: Contract
    hardware: Hardware
    total_steps: int
    rate: Callable[[int], float]
    faces_of: Callable[[Batch], list[str]]
    evaluate: Callable[[int], None] | None = None
    evaluate_every: int = 0
    teacher: Teacher | None = None
    augmenter: Augmenter | None = None


def train(
    state: TrainingState, plan: Plan, batches: Iterable[Batch], watchers: Sequence[Watcher], checkpoints: Checkpoints
) -> bool:
    """Train from ``state.step`` to the end. False when Ctrl-C or a termination signal ended it early, state saved."""
    training = plan.recipe.training
    saved = time.monotonic()
    prepare(state, training.freeze_batchnorm)
    backbone = over_processes(state.backbone, plan.hardware.device)
    forward = torch.compile(backbone) if training.compile else backbone
    with _stop_signals() as stopped:
        for batch in batches:
            started, started_cpu = time.perf_counter(), time.process_time()
            set_rate(state.optimizer, plan.recipe.optimizer.lr * plan.rate(batch.step))
            row = _step(state, plan, forward, batch, checkpoints)
            state.step = batch.step + 1
            state.wall_s += time.perf_counter() - started
            state.cpu_s += time.process_time() - started_cpu
            row["faces_per_s"] = round(world_size() * len(batch.labels) / (time.perf_counter() - started), 2)
            row["cpu_s"] = round(state.cpu_s, 2)
            if batch.step == 0:  # far apart, they tell of a wrong scale, margin or normalization
                row["expected_first_loss"] = round(state.head.expected_first_loss(), 3)
            for watch in watchers:
                watch(row)
            overdue = time.monotonic() - saved > training.checkpoint_every_s
            stop, overdue = agreed(bool(stopped), overdue)
            if stop or overdue or state.step % training.checkpoint_every == 0 or state.step == plan.total_steps:
                checkpoints.save(state)
                saved = time.monotonic()
            if stop:
                return False
            if plan.evaluate and plan.evaluate_every and state.step % plan.evaluate_every == 0:
                plan.evaluate(state.step)
                prepare(state, training.freeze_batchnorm)
    return True


def _step(
    state: TrainingState, plan: Plan, forward: Callable[[torch.Tensor], torch.Tensor], batch: Batch, kept: Checkpoints
) -> dict[str, float | int | str]:
    state.optimizer.zero_grad(set_to_none=True)
    (loss, accuracy), cosines, added = _learn(state, plan, forward, batch)
    if state.scaler.is_enabled():
        share_overflow(state.head)
    state.scaler.unscale_(state.optimizer)
    norm = clip(state.backbone, plan.recipe.optimizer.clip_norm)
    head_norm = clip(state.head, plan.recipe.optimizer.clip_norm)
    finite = math.isfinite(loss) and (state.scaler.is_enabled() or bool(torch.isfinite(norm + head_norm)))
    if not finite:
        raise _not_finite(plan, batch, loss, float(norm), state, kept)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    average_buffers(state.backbone)
    if state.ema is not None:
        state.ema.update_parameters(state.backbone)
    of_all = gather(cosines.T)[0].T
    angles = of_all.clamp(-1, 1).acos().rad2deg().mean(dim=1)
    if state.order is not None:
        rows = gather(torch.from_numpy(batch.rows).to(of_all.device))[0]
        state.order.observe(batch.step, rows.cpu().numpy(), *of_all.cpu().numpy())
    return {
        "step": batch.step,
        "loss": loss,
        "target_angle_deg": float(angles[0]),
        "nearest_negative_angle_deg": float(angles[1]),
        "accuracy": accuracy,
        "learning_rate": plan.recipe.optimizer.lr * plan.rate(batch.step),
        "gradient_norm": float(norm),
        "head_gradient_norm": float(head_norm),
        **added,
    }


def _learn(
    state: TrainingState, plan: Plan, forward: Callable[[torch.Tensor], torch.Tensor], batch: Batch
) -> tuple[list[float], torch.Tensor, dict[str, float]]:
    """Gradients of a batch, part by part. Answers loss and accuracy, the cosines of this process's faces to their own
    and to the nearest other center [2, n], and the auxiliary values.
    """
    training, hardware = plan.recipe.training, plan.hardware
    sums = torch.zeros(2, dtype=torch.float64)
    added: dict[str, float] = {}
    cosines: list[torch.Tensor] = []
    for images, labels in _parts(plan, batch):
        last = len(cosines) == training.accumulate - 1
        inputs = model_input(images, plan.contract, hardware.device, training.channels_last)
        with held_back(forward, last):
            with torch.autocast(hardware.device, hardware.dtype, enabled=hardware.dtype != torch.float32):
                embeddings = forward(inputs)
            out = state.head(embeddings.float(), labels.to(hardware.device, non_blocking=True))
            if plan.teacher is not None:
                out = plan.teacher(out, images, embeddings.float(), state.head)
            state.scaler.scale(out.loss / training.accumulate).backward()
        cosines.append(torch.stack([out.target_cosine, out.nearest_negative_cosine]))
        sums += torch.stack([out.loss.detach(), out.accuracy]).double().cpu() / training.accumulate
        share = {} if out.dominant_share is None else {"dominant_share": out.dominant_share}
        if out.skipped is not None and out.skipped.share is not None:
            share["skipped_share"] = torch.tensor(out.skipped.share)
        for name, value in (out.auxiliary | share).items():
            added[name] = added.get(name, 0.0) + float(value) / training.accumulate
    return sums.tolist(), torch.cat(cosines, dim=1), added


def _parts(plan: Plan, batch: Batch) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Faces, augmented, and labels of each part that a batch is computed in."""
    faces, count = batch.images, plan.recipe.training.accumulate
    if plan.augmenter is not None:
        faces = faces.to(plan.hardware.device, non_blocking=True)
        faces = plan.augmenter(faces, batch.step, rank=rank(), world_size=world_size())
    return zip(faces.chunk(count), batch.labels.chunk(count), strict=True)


def prepare(state: TrainingState, freeze_batchnorm: bool) -> None:
    """Put both modules into training mode, batch norms into eval mode where their statistics are frozen."""
    state.backbone.train()
    state.head.train()
    if freeze_batchnorm:
        for module in state.backbone.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()


def _not_finite(
    plan: Plan, batch: Batch, loss: float, norm: float, state: TrainingState, kept: Checkpoints
) -> TrainingError:
    faces = plan.faces_of(batch)
    shown = ", ".join(faces[:8]) + (f" and {len(faces) - 8} more" if len(faces) > 8 else "")
    good = kept.latest()
    rate = plan.recipe.optimizer.lr * plan.rate(batch.step)
    return TrainingError(
        f"loss {loss}, gradient norm {norm} at learning rate {rate:.6g}; faces of the batch: {shown}",
        where=f"step {batch.step}",
        mend=(f"last good checkpoint: {good}; " if good else "no checkpoint was saved yet; ")
        + "lower optimizer.lr, lengthen schedule.warmup_epochs, or look at those faces",
    )


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them, so that a step is never torn apart; a second one kills."""
    stopped: list[int] = []

    def note(number: int, frame: object) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where Python takes no signals: the caller's business then
        yield stopped
        return
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
