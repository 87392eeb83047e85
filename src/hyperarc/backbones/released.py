"""Weights that others released, as those of our backbones: by exact rules for the names of the tensors.

Every repository names the parts of a network in its own way, a *dialect*. A state dict fits a backbone when, renamed,
it has all of its tensors, in their shapes, and no others but those of a classifier. Three things are filled in, none
of which changes an embedding: counts of batches that older files lack, and of AdaFace, where they have no weights, the
shortcut of the first block and weight 1 and bias 0 of the last BatchNorm. What has no weights anywhere, such as
where a stride lies, is taken to be as in the repository.

Sources: insightface 7fadd42, ``recognition/arcface_torch/backbones``; TreB1eN/InsightFace_Pytorch 016916f, ``model.py``
(MobileFaceNet; the same with ``sep``, ``GDC_dw`` and ``last_bn`` of later repositories); mk-minchul/AdaFace, ``net.py``
(Backbone of mode ir).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hyperarc.backbones import create_backbone
from hyperarc.backbones.iresnet import DEPTHS as IRESNETS
from hyperarc.backbones.mobilefacenet import DEPTHS as MOBILEFACENETS
from hyperarc.errors import ArtifactError

State = dict[str, Tensor]

_COUNT = ".num_batches_tracked"
_CLASSIFIER = re.compile(r"(?:module\.|model\.)*(?:head\..+|fc\.weight)")
_BN_EPS = 1e-5  # torch's default, with which all these repositories build their networks
_MOST_CHANNELS = 4096  # whose identity is written out; all networks known have 64
_TOLD = 4  # names of a kind in an error


@dataclass(frozen=True)
class Dialect:
    """How some repositories name the tensors of one family of backbones.

    Attributes:
        name: of the repository and network.
        marker: a tensor that these state dicts have, and by which they are told from others.
        backbones: that may be meant.
        last_norm: the BatchNorm that makes the embedding, under our name.
        rules: pattern and replacement, applied to every name one after another.
        finish: what is left to do then.
    """

    name: str
    marker: str
    backbones: tuple[str, ...]
    last_norm: str
    rules: tuple[tuple[str, str], ...] = ()
    finish: Callable[[State], State] = dict

    def translate(self, state: Mapping[str, Tensor]) -> State:
        """The same tensors under our names; whatever no rule speaks of keeps its own."""
        ours: State = {}
        for theirs, tensor in state.items():
            name = theirs
            for pattern, replacement in self.rules:
                name = re.sub(pattern, replacement, name)
            if name in ours:
                raise ArtifactError(f"{theirs!r} stands for {name!r}, and another tensor does too")
            ours[name] = tensor
        return self.finish(ours)

    def embedding_dim(self, ours: State) -> int:
        """d, as translated weights have it."""
        name = f"{self.last_norm}.running_mean"
        shape = list(ours[name].shape) if name in ours else "none"
        if name not in ours or ours[name].dim() != 1 or len(ours[name]) < 2:
            raise ArtifactError(f"expected {self.name}, which has a vector {name} as long as an embedding; got {shape}")
        return len(ours[name])


@dataclass(frozen=True)
class Released:
    """Released weights that fit a backbone.

    Attributes:
        backbone: its name.
        embedding_dim: d.
        state: its whole state dict, in float32.
        dialect: of which repository the names were.
        left_out: names of the tensors of a classifier, which are no part of the backbone.
    """

    backbone: str
    embedding_dim: int
    state: State
    dialect: str
    left_out: tuple[str, ...]


def fit_released(state: Mapping[str, Tensor], backbone: str | None = None, **arguments: Any) -> Released:
    """Find the backbone that these weights are of; what precedes all names, such as ``module.``, is of no matter.

    Args:
        state: name -> tensor, as saved.
        backbone: its name, where it is known; default whichever fits.
        arguments: of the backbone, such as ``input_size``.

    Raises:
        ArtifactError: tensors are missing, left over, of another shape, or not finite.
        UnknownNameError: unknown ``backbone`` or argument.

    Example:
        >>> theirs = {f"module.{name}": t for name, t in create_backbone("iresnet_tiny", 8).state_dict().items()}
        >>> fitting = fit_released(theirs)
        >>> fitting.backbone, fitting.embedding_dim
        ('iresnet_tiny', 8)
    """
    dialect, prefix = _dialect_of(state)
    ours = dialect.translate({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})
    outside = [name for name in state if not name.startswith(prefix)]
    dim = dialect.embedding_dim(ours)
    networks = {name: _shapes(name, dim, arguments) for name in ([backbone] if backbone else dialect.backbones)}
    compared = {name: _compare(ours, outside, shapes) for name, shapes in networks.items()}
    name = min(compared, key=lambda one: compared[one].wrong)
    if compared[name].wrong:
        raise ArtifactError(f"expected all weights of {name}, as {dialect.name} has them: {compared[name]}")
    return Released(name, dim, _complete(ours, networks[name]), dialect.name, compared[name].classifier)


@dataclass(frozen=True)
class _Comparison:
    """What keeps weights from being those of a backbone."""

    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    misshapen: tuple[str, ...]
    classifier: tuple[str, ...]

    @property
    def wrong(self) -> int:
        return len(self.missing) + len(self.left_over) + len(self.misshapen)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "left over": self.left_over, "of another shape": self.misshapen}
        return "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _compare(ours: State, outside: Sequence[str], expected: Mapping[str, torch.Size]) -> _Comparison:
    """Weights and a backbone; ``outside`` are the names of what does not lie with the backbone's own tensors."""
    others = [name for name in ours if name not in expected] + list(outside)
    misshapen = [n for n in expected if n in ours and ours[n].shape != expected[n]]
    return _Comparison(
        missing=tuple(name for name in expected if name not in ours and not name.endswith(_COUNT)),
        left_over=tuple(name for name in others if not _CLASSIFIER.fullmatch(name)),
        misshapen=tuple(f"{n} {list(ours[n].shape)} for {list(expected[n])}" for n in misshapen),
        classifier=tuple(name for name in others if _CLASSIFIER.fullmatch(name)),
    )


def _complete(ours: State, expected: Mapping[str, torch.Size]) -> State:
    """The backbone's state dict in its own order, with the counts of batches that may be missing."""
    state = {}
    for name in expected:
        if name.endswith(_COUNT):
            state[name] = ours.get(name, torch.zeros(())).to(torch.int64)
            continue
        state[name] = ours[name].detach().to(torch.float32)
        if not ours[name].is_floating_point() or not torch.isfinite(state[name]).all():
            raise ArtifactError(f"expected finite floating-point weights, {name} holds others")
    return state


def _shapes(name: str, embedding_dim: int, arguments: Mapping[str, Any]) -> dict[str, torch.Size]:
    with torch.device("meta"):
        backbone = create_backbone(name, embedding_dim, **arguments)
    return {name: tensor.shape for name, tensor in backbone.state_dict().items()}


def _dialect_of(state: Mapping[str, Tensor]) -> tuple[Dialect, str]:
    """The dialect, and what precedes all names of the backbone."""
    found = [
        (dialect, name.removesuffix(dialect.marker))
        for dialect in DIALECTS
        for name in state
        if name == dialect.marker or name.endswith(f".{dialect.marker}")
    ]
    if not found:
        known = ", ".join(f"{dialect.name} ({dialect.marker})" for dialect in DIALECTS)
        raise ArtifactError(
            f"expected the tensors of one of {known}; got {_some(list(state))}",
            mend="export the model to ONNX and import that",
        )
    if len(found) > 1:
        raise ArtifactError(
            f"expected one backbone, got {len(found)}, under {', '.join(repr(prefix) for _, prefix in found)}",
            mend="save the state dict of one of them",
        )
    return found[0]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(name[:80] for name in names[:_TOLD]) + more


def _flat_projection(ours: State) -> State:
    """A 1x1 convolution of a 1x1 map is a linear layer."""
    name = "features.layers.2.weight"
    weight = ours.get(name)
    if weight is not None and weight.dim() == 4 and weight.shape[2:] == (1, 1):
        ours[name] = weight.flatten(1)
    return ours


def _stages(blocks: State) -> State:
    """Blocks counted through, ``body.7``, as those of four stages, ``layer3.0``; a stage begins with a convolution."""
    first = sorted({0} | {int(name.split(".")[1]) for name in blocks if re.match(r"body\.\d{1,3}\.downsample\.", name)})
    ours = {}
    for name, tensor in blocks.items():
        if re.match(r"body\.\d{1,3}\.", name):
            _, number, rest = name.split(".", 2)
            stage = sum(int(number) >= one for one in first)
            name = f"layer{stage}.{int(number) - first[stage - 1]}.{rest}"
        ours[name] = tensor
    return _without_weights(ours)


def _without_weights(ours: State) -> State:
    """With what AdaFace's network does without weights, as our layers that do the same.

    The first block takes every second pixel as its shortcut: a convolution and a BatchNorm that change nothing. The
    BatchNorm's statistics are those of the block's first, which sees the same pixels.
    """
    length = ours.get("features.running_mean", torch.empty(0)).numel()
    norm = {"features.weight": torch.ones(length), "features.bias": torch.zeros(length)}
    ours = ours if norm.keys() & ours.keys() else ours | norm
    seen, shortcut = "layer1.0.bn1", "layer1.0.downsample"
    mean, var = (ours.get(f"{seen}.running_{what}", torch.empty(0)).float() for what in ("mean", "var"))
    fitting = mean.dim() == 1 and mean.shape == var.shape and 0 < len(mean) <= _MOST_CHANNELS
    if f"{shortcut}.0.weight" in ours or not fitting:
        return ours
    ours[f"{shortcut}.0.weight"] = torch.eye(len(mean))[:, :, None, None]
    ours[f"{shortcut}.1.weight"], ours[f"{shortcut}.1.bias"] = (var + _BN_EPS).sqrt(), mean
    ours[f"{shortcut}.1.running_mean"], ours[f"{shortcut}.1.running_var"] = mean, var
    return ours


_MOBILEFACENET = (
    (r"^conv1\.", "layers.0."),
    (r"^conv2_dw\.", "layers.1."),
    (r"^conv_23\.", "layers.2."),
    (r"^conv_3\.model\.", "layers.3.layers."),
    (r"^conv_34\.", "layers.4."),
    (r"^conv_4\.model\.", "layers.5.layers."),
    (r"^conv_45\.", "layers.6."),
    (r"^conv_5\.model\.", "layers.7.layers."),
    (r"^conv_6_sep\.", "conv_sep."),
    (r"^sep\.", "conv_sep.conv."),
    (r"^sep_bn\.", "conv_sep.bn."),
    (r"^prelu\.", "conv_sep.prelu."),
    (r"^(linear|features)\.", "features.layers.2."),
    (r"^(bn|last_bn)\.", "features.layers.3."),
    (r"^conv_6_dw\.", "features.layers.0."),
    (r"^GDC_dw\.", "features.layers.0.conv."),
    (r"^GDC_bn\.", "features.layers.0.bn."),
    (r"\.conv\.(?=(conv|bn|prelu)\.)", ".layers.0."),  # the three steps of a bottleneck
    (r"\.conv_dw\.", ".layers.1."),
    (r"\.project\.", ".layers.2."),
    (r"\.conv\.", ".layers.0."),  # the three parts of a step
    (r"\.bn\.", ".layers.1."),
    (r"\.prelu\.", ".layers.2."),
)
_ADAFACE = (
    (r"^input_layer\.0\.", "conv1."),
    (r"^input_layer\.1\.", "bn1."),
    (r"^input_layer\.2\.", "prelu."),
    (r"\.res_layer\.0\.", ".bn1."),
    (r"\.res_layer\.1\.", ".conv1."),
    (r"\.res_layer\.2\.", ".bn2."),
    (r"\.res_layer\.3\.", ".prelu."),
    (r"\.res_layer\.4\.", ".conv2."),
    (r"\.res_layer\.5\.", ".bn3."),
    (r"\.shortcut_layer\.", ".downsample."),
    (r"^output_layer\.0\.", "bn2."),
    (r"^output_layer\.3\.", "fc."),
    (r"^output_layer\.4\.", "features."),
)

DIALECTS = (
    Dialect("arcface_torch's IResNet", "layer1.0.bn1.weight", tuple(IRESNETS), "features"),
    Dialect("arcface_torch's MobileFaceNet", "conv_sep.layers.0.weight", tuple(MOBILEFACENETS), "features.layers.3"),
    Dialect(
        "InsightFace_Pytorch's MobileFaceNet",
        "conv_23.project.conv.weight",
        ("mobilefacenet",),
        "features.layers.3",
        _MOBILEFACENET,
        _flat_projection,
    ),
    Dialect("AdaFace's IR", "body.0.res_layer.0.weight", tuple(IRESNETS), "features", _ADAFACE, _stages),
)
