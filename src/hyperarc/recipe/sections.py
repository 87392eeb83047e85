"""Recipes: everything a training run depends on, in one validated YAML file.

A recipe is frozen, checked as a whole, and saved with the result; :mod:`hyperarc.recipe.file` reads it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from hyperarc.recipe.augmentation import Augmentation
from hyperarc.recipe.dialect import YamlDumper
from hyperarc.recipe.frozen import Frozen
from hyperarc.recipe.loss import HeadSection


class DrawnData(Frozen):
    """Faces drawn by the program itself; see :mod:`hyperarc.data.drawn`."""

    people: int = Field(200, ge=2, le=10_000_000, description="number of people")
    faces_per_person: int = Field(24, ge=1, description="mean faces of a person")
    seed: int = Field(0, ge=0, description="another seed draws other people")
    tail_exponent: float = Field(0.0, ge=0, description="0 for equal class sizes, larger for a longer tail")
    low_quality: float = Field(0.0, ge=0, le=1, description="share of faces blurred, small and compressed")


class SourceData(Frozen):
    """One folder, zip or tar of person folders, a ``.rec``, a list, or a manifest (``.parquet``) with its marks."""

    path: str = Field(description="folder, .zip, .tar, .rec, list or manifest; ${NAME} is taken from the environment")
    color: Literal["rgb", "bgr"] = Field(
        "rgb", description="bgr: red and blue are exchanged in all files, and put right on reading"
    )


class Noise(Frozen):
    """Wrong labels put in on purpose, the truth kept beside the run; see :mod:`hyperarc.data.noise`."""

    flips: float = Field(0.0, ge=0, le=1, description="share of faces given another person's name")
    strangers: float = Field(0.0, ge=0, le=1, description="share of faces replaced by people who are not in the set")
    strangers_from: SourceData | None = Field(
        None, description="faces of strangers; none draws them, where the set is drawn too"
    )
    conflicts: float = Field(0.0, ge=0, le=1, description="share of people cut into two names")
    together: int = Field(1, ge=1, description="faces of one wrong person that go under the same name")
    seed: int = Field(0, ge=0, description="another seed takes other faces")

    @model_validator(mode="after")
    def _fits(self) -> Noise:
        if self.flips + self.strangers > 1:
            raise ValueError(f"flips and strangers are more than all faces: {self.flips:g} + {self.strangers:g}")
        return self


class PeopleTable(Frozen):
    """A CSV file about people, used to leave people out and to merge those who stand in several sources."""

    path: str = Field(description="CSV with a header; one row per source and person")
    source: str = Field("set", description="column with the source's name (file name without ending)")
    person: str = Field("id_folder", description="column with the person's folder in the source")
    merge_by: str | None = Field(None, description="column whose equal values are one person")
    leave_out_above: dict[str, float] = Field(
        default_factory=dict, description="column -> value; people with a larger value in any source are left out"
    )


class PeopleSampler(Frozen):
    """Batches of P = batch_size / K people with K faces each, as triplet losses need."""

    faces_per_person: int = Field(4, ge=2, description="K; must divide batch_size / accumulate")


class AdaptiveSampler(Frozen):
    """The Adaptive Data Sampling of AdaptiveFace; the paper gives no numbers, so these are HyperArc's own."""

    decrease: float = Field(0.8, gt=0, le=1, description="factor on the weight of a correctly classified face")
    increase: float = Field(1.25, ge=1, description="factor on the weight of a misclassified face")
    floor: float = Field(0.25, gt=0, le=1, description="s_min: easy faces keep at least this weight; all begin at 1")
    ceiling: float = Field(4.0, ge=1, description="hard faces get at most this weight")
    noise_cosine: float = Field(
        0.2, ge=-1, lt=1, description="noise guard: below this cosine to its own center a face is suspected"
    )
    noise_factor: float = Field(
        0.1, gt=0, le=1, description="factor on the weight of a suspected face, and on the floor for it"
    )
    warmup_epochs: int = Field(2, ge=0, description="epochs before weights move; at first all faces look like noise")


class ShardSampler(Frozen):
    """Faces nearly in the order in which they lie, for shards that are streamed from far away or from slow disks."""

    window: int = Field(8192, ge=1, description="faces among which each one is shuffled; shards come in random order")
    parts: int = Field(1, ge=1, description="of a batch, each with shards of its own: as many as processes")
    turns: int = Field(1, ge=1, description="steps in turn, each with shards of its own: as many as data.workers")


class Sampler(Frozen):
    """How batches are put together; without one of these, a plain shuffle."""

    people: PeopleSampler | None = None
    adaptive: AdaptiveSampler | None = None
    shards: ShardSampler | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> Sampler:
        if sum(one is not None for one in (self.people, self.adaptive, self.shards)) > 1:
            raise ValueError("give only one of data.sampler.people, data.sampler.adaptive and data.sampler.shards")
        return self


class Data(Frozen):
    """Which faces to train on."""

    drawn: DrawnData | None = None
    sources: tuple[SourceData, ...] = ()
    people_table: PeopleTable | None = None
    noise: Noise = Noise()
    manifest: str | None = Field(
        None, description="a manifest of these faces, as hyperarc purify leaves: its names and marks count; "
        "${NAME} is taken from the environment"
    )
    min_faces: int = Field(1, ge=1, description="people with fewer faces are left out")
    sampler: Sampler = Sampler()
    flip: bool = Field(True, description="mirror every second face at random, as all recipes of the family do")
    augmentation: Augmentation = Augmentation()
    verify: bool = Field(True, description="decode every face once before training and leave the unreadable out")
    cache_mb: int = Field(4096, ge=0, description="decoded faces kept in memory, MiB; later epochs decode nothing")
    workers: int = Field(0, ge=0, le=64, description="decoding processes")
    licence: str = Field("unknown", description="licence of the data, written into the artifact's card")

    @model_validator(mode="after")
    def _one_kind(self) -> Data:
        if (self.drawn is None) == (not self.sources):
            raise ValueError("give either data.drawn or data.sources")
        return self


class Backbone(Frozen):
    """The network that embeds a crop."""

    name: str = "iresnet50"
    embedding_dim: int = Field(512, ge=2, le=65536)
    arguments: dict[str, Any] = Field(default_factory=dict, description="the backbone's own, such as neck and dropout")


class Distillation(Frozen):
    """A teacher to learn from beside the labels; weights as in ArcFace's light track."""

    teacher: str = Field(description="artifact folder; ${NAME} is taken from the environment")
    embedding_weight: float = Field(1.0, ge=0, description="of the squared distance between unit embeddings")
    class_weight: float = Field(0.1, ge=0, description="of the KL divergence between class similarities")
    class_scale: float = Field(64.0, gt=0, description="s of the class similarities softmax(s cos); smaller is softer")

    @model_validator(mode="after")
    def _teaches(self) -> Distillation:
        if not (self.embedding_weight or self.class_weight):
            raise ValueError("embedding_weight and class_weight are both 0: leave distillation out")
        return self


class Optimizer(Frozen):
    """How weights move; defaults as in the ArcFace paper."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0, description="peak rate for the whole batch; not scaled with the batch size")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD, and beta1 of AdamW")
    nesterov: bool = Field(False, description="Nesterov momentum (SGD)")
    weight_decay: float = Field(5e-4, ge=0)
    decay_norms: bool = Field(True, description="decay biases, norms and PReLU slopes too, as arcface_torch does")
    backbone_lr_factor: float = Field(1.0, ge=0, description="below 1 to fine-tune; at 0 only the head learns")
    clip_norm: float = Field(5.0, gt=0, description="gradient norm limit of the backbone, and of the head apart")
    update_in_backward: bool = Field(
        False, description="SGD: centers move while the sweep goes back, without a whole gradient and without clip_norm"
    )


class Schedule(Frozen):
    """How the rate moves over the steps."""

    kind: Literal["polynomial", "step", "cosine", "constant"] = "polynomial"
    epochs: float = Field(20, gt=0)
    warmup_epochs: float = Field(0, ge=0, description="the rate rises linearly from 0 to lr")
    milestones: tuple[float, ...] = Field((), description="epochs at which a step schedule multiplies by factor")
    factor: float = Field(0.1, gt=0, le=1)
    power: float = Field(1.0, gt=0, description="of a polynomial schedule")

    @model_validator(mode="after")
    def _milestones_ascend(self) -> Schedule:
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError("milestones must ascend")
        if self.kind == "step" and not self.milestones:
            raise ValueError("a step schedule needs milestones")
        if self.warmup_epochs >= self.epochs:
            raise ValueError("warmup_epochs must be fewer than epochs")
        return self


class Training(Frozen):
    """The loop."""

    batch_size: int = Field(128, ge=2, description="faces per step over all accumulation parts")
    accumulate: int = Field(1, ge=1, description="parts that a batch is computed in")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the backbone; auto is bf16 where the hardware has it"
    )
    channels_last: bool = True
    compile: bool = Field(False, description="torch.compile the backbone; the first step takes a minute longer")
    matmul: Literal["highest", "medium"] = Field(
        "highest", description="fp32 matmul; medium is oneDNN on CPU and TF32 or bf16 where the hardware has it"
    )
    freeze_batchnorm: bool = Field(False, description="keep running statistics as they are (fine-tuning)")
    sync_batchnorm: bool = Field(
        False, description="under torchrun, batch norms see the whole batch and not each process's part"
    )
    backend: Literal["auto", "gloo", "nccl"] = Field("auto", description="under torchrun; auto is nccl with GPUs")
    timeout_s: float = Field(1800.0, gt=0, description="under torchrun, how long processes wait for each other")
    ema: float | None = Field(None, gt=0, lt=1, description="decay of an averaged copy of the backbone, which is kept")
    keep_heap: bool = Field(
        True, description="keep freed memory in the process on CPU: 10 to 25 % faster, 40 to 70 % more memory"
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0 takes all cores")
    checkpoint_every: int = Field(500, ge=1, description="steps")
    checkpoint_every_s: float = Field(300.0, gt=0, description="at the latest after so many seconds")
    keep_checkpoints: int = Field(2, ge=1)
    evaluate_every_epochs: float | None = Field(None, gt=0, description="None evaluates at the end only")
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field((), description="beside the JSONL log")

    @model_validator(mode="after")
    def _parts_fit(self) -> Training:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        if self.batch_size == self.accumulate:
            raise ValueError("a part of one face has no batch statistics; lower accumulate")
        return self


class Evaluation(Frozen):
    """One judgement of the trained model."""

    protocol: str = Field(description="one of hyperarc.protocol_names(), such as lfw, ijbc or folder")
    faces: str | None = Field(None, description="folder, .zip, .rec or .bin with the faces; ${NAME} as elsewhere")
    pairs: str | None = Field(None, description="the protocol's own files: pairs.txt, CFP's folder, a CSV, IJB's meta")
    people: int = Field(100, ge=2, description="drawn: people, none of whom is trained on")
    seed: int = Field(1_000_003, ge=0, description="drawn and folder: of what is drawn")
    arguments: dict[str, Any] = Field(default_factory=dict, description="the protocol's own, such as ijbc's norm")


class Recipe(Frozen):
    """A whole training run.

    Example:
        >>> recipe = Recipe(name="mine", data=Data(drawn=DrawnData(people=10)))
        >>> recipe.head.margin, recipe.training.batch_size
        ('arcface', 128)
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    description: str = ""
    seed: int = Field(0, ge=0, lt=2**63)
    data: Data
    backbone: Backbone = Backbone()
    head: HeadSection = HeadSection()
    distillation: Distillation | None = None
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    evaluation: tuple[Evaluation, ...] = ()

    @model_validator(mode="after")
    def _people_stay_whole(self) -> Recipe:
        sampler, part = self.data.sampler.people, self.training.batch_size // self.training.accumulate
        if sampler is not None and part % sampler.faces_per_person:
            raise ValueError(
                f"batch_size / accumulate = {part} is not a multiple of data.sampler.people.faces_per_person "
                f"{sampler.faces_per_person}"
            )
        return self

    @model_validator(mode="after")
    def _one_backward_a_step(self) -> Recipe:
        wanted = {
            "optimizer.name is sgd": self.optimizer.name == "sgd",
            "training.accumulate is 1": self.training.accumulate == 1,
            "training.precision is not fp16": self.training.precision != "fp16",
            "nothing but the margin moves the centers": self.distillation is None
            and not {"intra", "inter"} & self.head.auxiliary.keys(),
        }
        missing = [condition for condition, met in wanted.items() if not met]
        if self.optimizer.update_in_backward and missing:
            raise ValueError(f"optimizer.update_in_backward works only where {' and '.join(missing)}")
        return self

    def to_yaml(self) -> str:
        """The whole recipe, defaults included."""
        content = self.model_dump(mode="json")
        text: str = yaml.dump(content, Dumper=YamlDumper, sort_keys=False, allow_unicode=True)
        return text
