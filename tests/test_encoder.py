"""The encoder: one contract from pixels to vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hyperarc.backbones import create_backbone
from hyperarc.contract import Contract, require_same
from hyperarc.encoder import Embeddings, Encoder
from hyperarc.errors import ContractError, DataError, HyperArcError

DIM = 6
CONTRACT = Contract(embedding_dim=DIM, height=20, width=16)


class Toy(nn.Module):
    """A backbone that sees left from right and red from blue, and remembers how it was called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(DIM, 3, 20, 16) / 30)
        self.calls: list[int] = []

    def forward(self, faces: Tensor) -> Tensor:
        self.calls.append(len(faces))
        assert not self.training
        return torch.einsum("nchw,dchw->nd", faces, self.weight)


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 20, 16, 3), dtype=np.uint8)


def by_hand(toy: Toy, crops: np.ndarray) -> np.ndarray:
    pixels = (crops.astype(np.float64) - 127.5) / 127.5
    return np.einsum("nhwc,dchw->nd", pixels, toy.weight.detach().double().numpy())


def test_without_flip_by_hand() -> None:
    toy = Toy()
    contract = CONTRACT.model_copy(update={"flip": "none"})
    embedded = Encoder(toy, contract).embed(faces(3))
    assert isinstance(embedded, Embeddings)
    assert embedded.vectors.dtype == embedded.norms.dtype == np.float32
    np.testing.assert_allclose(embedded.vectors, by_hand(toy, faces(3)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(embedded.norms, np.linalg.norm(embedded.vectors, axis=1))
    assert embedded.contract == contract.digest


def test_flip_sums_a_crop_and_its_mirror_image() -> None:
    toy = Toy()
    embedded = Encoder(toy, CONTRACT).embed(faces(3))
    expected = by_hand(toy, faces(3)) + by_hand(toy, faces(3)[:, :, ::-1])
    np.testing.assert_allclose(embedded.vectors, expected, rtol=1e-4, atol=1e-4)
    mirrored = Encoder(toy, CONTRACT).embed(faces(3)[:, :, ::-1])
    np.testing.assert_allclose(mirrored.vectors, embedded.vectors, rtol=1e-4, atol=1e-4)


def test_a_bgr_contract_swaps_the_channels() -> None:
    toy = Toy()
    swapped = Encoder(toy, CONTRACT.model_copy(update={"color": "bgr"})).embed(faces(3))
    by_us = Encoder(toy, CONTRACT).embed(faces(3)[..., ::-1])
    np.testing.assert_array_equal(swapped.vectors, by_us.vectors)


def test_mean_and_std_are_per_channel() -> None:
    toy = Toy()
    contract = CONTRACT.model_copy(update={"mean": (10.0, 20.0, 30.0), "std": (1.0, 2.0, 4.0), "flip": "none"})
    pixels = (faces(2).astype(np.float64) - [10, 20, 30]) / [1, 2, 4]
    expected = np.einsum("nhwc,dchw->nd", pixels, toy.weight.detach().double().numpy())
    np.testing.assert_allclose(Encoder(toy, contract).embed(faces(2)).vectors, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 32])
def test_batches_change_nothing_but_the_calls(batch_size: int) -> None:
    toy = Toy()
    seen: list[int] = []
    embedded = Encoder(toy, CONTRACT, batch_size=batch_size).embed(faces(7), seen.append)
    np.testing.assert_allclose(embedded.vectors, Encoder(Toy(), CONTRACT).embed(faces(7)).vectors, rtol=1e-5, atol=1e-5)
    assert sum(seen) == 7
    assert max(seen) <= batch_size
    assert toy.calls == [n for n in seen for _ in range(2)]  # crop and mirror image


def test_embed_batches_takes_them_as_they_come() -> None:
    parts = (faces(7)[i : i + 3] for i in range(0, 7, 3))
    embedded = Encoder(Toy(), CONTRACT).embed_batches(parts)
    np.testing.assert_allclose(embedded.vectors, Encoder(Toy(), CONTRACT).embed(faces(7)).vectors, rtol=1e-5, atol=1e-5)


def test_no_faces_give_no_vectors() -> None:
    encoder = Encoder(Toy(), CONTRACT)
    for embedded in (encoder.embed(faces(0)), encoder.embed_batches([])):
        assert embedded.vectors.shape == (0, DIM)
        assert embedded.norms.shape == (0,)
        assert embedded.vectors.dtype == np.float32


@pytest.mark.parametrize(
    "wrong",
    [
        faces(2).astype(np.float32),
        faces(2)[0],
        faces(2)[:, :16],
        faces(2)[..., :2],
        np.moveaxis(faces(2), 3, 1),
        np.zeros((2, 16, 20, 3), np.uint8),
    ],
    ids=["float", "one face", "height", "channels", "channels first", "height and width exchanged"],
)
def test_wrong_faces(wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"expected uint8 RGB faces \[N, 20, 16, 3\], got .*; align the faces"):
        Encoder(Toy(), CONTRACT).embed(wrong)


def test_a_list_of_crops_is_told_to_be_joined() -> None:
    with pytest.raises(DataError, match=r"expected an array of faces, .*, got a list; join crops by numpy.stack"):
        Encoder(Toy(), CONTRACT).embed(list(faces(2)))  # type: ignore[arg-type]


def test_views_and_read_only_arrays_are_taken() -> None:
    crops = faces(4)
    crops.flags.writeable = False
    expected = Encoder(Toy(), CONTRACT).embed(faces(4)[::-1].copy()).vectors
    np.testing.assert_array_equal(Encoder(Toy(), CONTRACT).embed(crops[::-1]).vectors, expected)
    assert np.array_equal(crops, faces(4))


def test_the_backbones_mode_comes_back_even_after_an_error() -> None:
    toy = Toy().train()
    encoder = Encoder(toy, CONTRACT)
    encoder.embed(faces(1))
    assert toy.training
    with pytest.raises(DataError):
        encoder.embed_batches([faces(1), faces(1)[:, :3]])
    assert toy.training
    assert not toy.weight.requires_grad or toy.weight.grad is None


def test_bfloat16_is_close_to_float32() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("iresnet_tiny", embedding_dim=16).eval()
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    contract = Contract(embedding_dim=16)
    exact = Encoder(backbone, contract).embed(crops).vectors
    fast = Encoder(backbone, contract, dtype=torch.bfloat16).embed(crops).vectors
    assert fast.dtype == np.float32
    cosine = (exact * fast).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    assert cosine.min() > 0.98
    assert not np.array_equal(exact, fast)
    alone = Encoder(backbone, contract, batch_size=1).embed(crops).vectors
    np.testing.assert_allclose(alone, exact, rtol=1e-3, atol=1e-3 * float(np.abs(exact).max()))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "xpu"])
def test_a_device_that_is_not_there_is_one_clear_error(device: str) -> None:
    with pytest.raises(HyperArcError, match=f"device {device}: the device cannot be used: .*; use cpu"):
        Encoder(Toy(), CONTRACT, device=device)


def test_contracts_that_differ_are_told_apart() -> None:
    require_same(CONTRACT, CONTRACT.model_copy())
    other = CONTRACT.model_copy(update={"model": "abc", "flip": "none"})
    with pytest.raises(ContractError) as caught:
        require_same(CONTRACT, other, where="gallery")
    text = str(caught.value)
    assert "flip 'sum' against 'none'" in text
    assert "model '' against 'abc'" in text
    assert "height" not in text
    assert CONTRACT.digest in text
    assert other.digest in text
