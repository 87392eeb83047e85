"""The backbone of an artifact as the beginning of another training."""

from __future__ import annotations

import torch
from torch import nn

from hyperarc.artifact.artifact import NETWORK, Artifact
from hyperarc.contract import Contract
from hyperarc.errors import ContractError, RecipeError
from hyperarc.recipe import Recipe


def backbone_to_tune(artifact: Artifact, recipe: Recipe) -> nn.Module:
    """The artifact's backbone with its weights, for crops as training normalizes them.

    Raises:
        ArtifactError: it was imported from an ONNX file.
        RecipeError: the recipe describes another backbone.
        ContractError: it was trained on crops of another size, template or mean.
    """
    network = artifact.require_network("a backbone to train on")
    if network != recipe.backbone:
        raise RecipeError(
            f"expected the recipe's backbone {recipe.backbone}, the artifact holds {network}",
            where=artifact.path,
            mend=f"copy the backbone section of the artifact's {NETWORK if artifact.recipe is None else 'recipe.yaml'}",
        )
    backbone = artifact.backbone()
    try:
        take_pixels(backbone, artifact.contract, Contract(embedding_dim=network.embedding_dim))
    except ContractError as error:
        raise ContractError(str(error), where=artifact.path) from None
    return backbone


def take_pixels(backbone: nn.Module, theirs: Contract, ours: Contract) -> None:
    """Change the first convolution of a backbone trained under ``theirs`` so that it takes crops as ``ours`` says.

    Color order and std are its weights' order and scale, so embeddings stay the same. Another mean is not, as the zeros
    around a crop would stand for other pixels.

    Raises:
        ContractError: height, width, template or mean differ.
    """
    mean = theirs.mean if theirs.color == ours.color else theirs.mean[::-1]
    differing = [name for name in ("height", "width", "template") if getattr(theirs, name) != getattr(ours, name)]
    if differing or mean != ours.mean:
        name = (*differing, "mean")[0]
        raise ContractError(f"training takes crops of {name} {getattr(ours, name)}, it was {getattr(theirs, name)}")
    if (theirs.color, theirs.std) == (ours.color, ours.std):
        return
    first = next(one for one in backbone.modules() if isinstance(one, nn.Conv2d))
    with torch.no_grad():
        weight = first.weight / torch.tensor(theirs.std).view(1, 3, 1, 1)
        weight = weight if theirs.color == ours.color else weight.flip(1)
        first.weight.copy_(weight * torch.tensor(ours.std).view(1, 3, 1, 1))
