"""Order and loader: determinism, exact resume, one decoding a face, errors by name."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hyperarc.data.loader import Batch, Loader
from hyperarc.data.manifest import Manifest
from hyperarc.data.order import BatchOrder
from hyperarc.data.sources import ArraySource, Source, ZipSource, combine
from hyperarc.data.verification import verify_faces
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

SIDE = 24


class Counting:
    """A source that counts the faces decoded in this process."""

    def __init__(self, inner: Source) -> None:
        self.inner = inner
        self.name = inner.name
        self.decoded: Counter[str] = Counter()

    def scan(self) -> Manifest:
        return self.inner.scan()

    def read(self, face: str) -> bytes:
        return self.inner.read(face)

    def image(self, face: str) -> Pixels:
        self.decoded[face] += 1
        return self.inner.image(face)


def crops(count: int, side: int = SIDE) -> Pixels:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def encoded(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> ZipSource:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i, face in enumerate(crops(23)):
            archive.writestr(f"p{i % 5}/{i}.png", encoded(face))
    return ZipSource(path)


def same(one: list[Batch], other: list[Batch]) -> None:
    assert [b.step for b in one] == [b.step for b in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.rows, b.rows)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize(("count", "size"), [(23, 4), (24, 4), (4, 4), (7, 1)])
def test_each_row_comes_once_an_epoch(count: int, size: int) -> None:
    order = BatchOrder(count, size, seed=5)
    whole = BatchOrder(count, size, seed=5, drop_last=False)
    for epoch in (0, 3):
        first = epoch * order.batches_per_epoch
        rows = np.concatenate([order.batch(first + i) for i in range(order.batches_per_epoch)])
        assert len(rows) == len(set(rows.tolist())) == count - count % size
        first = epoch * whole.batches_per_epoch
        rows = np.concatenate([whole.batch(first + i) for i in range(whole.batches_per_epoch)])
        assert sorted(rows.tolist()) == list(range(count))


def test_order_is_a_function_of_seed_and_step() -> None:
    order = BatchOrder(1000, 10, seed=1)
    late = order.batch(1234).tolist()
    order.batch(3)
    assert order.batch(1234).tolist() == BatchOrder(1000, 10, seed=1).batch(1234).tolist() == late
    assert pickle.loads(pickle.dumps(order)).batch(1234).tolist() == late
    assert order == BatchOrder(1000, 10, seed=1)
    assert BatchOrder(1000, 10, seed=2).batch(1234).tolist() != late
    assert order.batch(34).tolist() != late  # the same place in another epoch
    assert order.epoch(1234) == 12
    assert BatchOrder(5, 2, shuffle=False, drop_last=False).batch(2).tolist() == [4]


def test_flips_belong_to_the_face_and_the_epoch() -> None:
    def by_row(order: BatchOrder, epoch: int) -> dict[int, bool]:
        steps = range(epoch * order.batches_per_epoch, (epoch + 1) * order.batches_per_epoch)
        return {
            r: f for s in steps for r, f in zip(order.batch(s).tolist(), order.flips(s).tolist(), strict=True)
        }

    small, large = BatchOrder(4000, 8, seed=1), BatchOrder(4000, 500, seed=1)
    assert by_row(small, 2) == by_row(large, 2)
    maps = [by_row(large, 0), by_row(large, 1), by_row(BatchOrder(4000, 500, seed=2), 0)]
    for flips in maps:
        assert abs(sum(flips.values()) / 4000 - 0.5) < 0.04
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.mean([maps[i][r] == maps[j][r] for r in range(4000)]) - 0.5) < 0.04


def test_impossible_orders_are_refused() -> None:
    with pytest.raises(DataError, match="at least one batch of 8 faces, got 7 faces"):
        BatchOrder(7, 8)
    assert BatchOrder(7, 8, drop_last=False).batches_per_epoch == 1
    with pytest.raises(DataError, match="got none"):
        BatchOrder(0, 8)
    with pytest.raises(DataError, match="batch size"):
        BatchOrder(7, 0)
    with pytest.raises(DataError, match="step of 0 or more"):
        BatchOrder(7, 2).batch(-1)


def test_batches_hold_the_faces_and_labels(source: ZipSource) -> None:
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4, seed=3)
    batches = list(Loader(source, manifest, order, size=SIDE))
    assert [b.step for b in batches] == list(range(5))
    batch = batches[2]
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (4, 3, SIDE, SIDE)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for i, (row, flip) in enumerate(zip(batch.rows.tolist(), order.flips(2).tolist(), strict=True)):
        face = source.image(manifest.row(row).face)
        expected = face[:, ::-1] if flip else face
        np.testing.assert_array_equal(batch.images[i].permute(1, 2, 0).numpy(), expected)
        assert batch.labels[i] == manifest.labels[row]
    upright = next(iter(Loader(source, manifest, order, size=SIDE, flip=False, start_step=2)))
    face = source.image(manifest.row(int(upright.rows[0])).face)
    np.testing.assert_array_equal(upright.images[0].permute(1, 2, 0).numpy(), face)


@pytest.mark.parametrize(
    "options", [{}, {"cache_bytes": 10 * 3 * SIDE * SIDE}, {"start_method": "spawn", "workers": 1}]
)
def test_workers_change_nothing(source: ZipSource, options: dict[str, object]) -> None:
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4, seed=3)
    alone = list(Loader(source, manifest, order, size=SIDE, stop_step=12))
    helped = Loader(source, manifest, order, size=SIDE, stop_step=12, **{"workers": 2, **options})  # type: ignore[arg-type]
    same(alone, list(helped))
    if "start_method" not in options:
        same(alone, list(helped))  # a second pass over the same loader, now from its cache


def test_resume_is_exact(source: ZipSource) -> None:
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4, seed=3)
    whole = list(Loader(source, manifest, order, size=SIDE, stop_step=13))
    for start in (1, 5, 12):
        fresh = BatchOrder(len(manifest), 4, seed=3)
        resumed = Loader(source, manifest, fresh, size=SIDE, start_step=start, stop_step=13)
        assert len(resumed) == 13 - start
        same(whole[start:], list(resumed))


def test_ranks_share_the_global_batch(source: ZipSource) -> None:
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4, seed=3)
    whole = next(iter(Loader(source, manifest, order, size=SIDE)))
    parts = [next(iter(Loader(source, manifest, order, size=SIDE, rank=r, world_size=2))) for r in range(2)]
    assert torch.equal(torch.cat([p.images for p in parts]), whole.images)
    assert np.concatenate([p.rows for p in parts]).tolist() == whole.rows.tolist()
    with pytest.raises(DataError, match="divides among the ranks"):
        Loader(source, manifest, order, size=SIDE, world_size=3)


def test_no_face_is_decoded_twice(source: ZipSource) -> None:
    counting = Counting(source)
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4, seed=3, drop_last=False)
    list(Loader(counting, manifest, order, size=SIDE))
    assert len(counting.decoded) == 23
    assert set(counting.decoded.values()) == {1}


@pytest.mark.parametrize(("slots", "again"), [(100, 0), (10, 13)])
def test_cached_faces_are_not_decoded_again(source: ZipSource, slots: int, again: int) -> None:
    counting = Counting(source)
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4, seed=3, drop_last=False)
    loader = Loader(counting, manifest, order, size=SIDE, stop_step=18, cache_bytes=slots * 3 * SIDE * SIDE)
    same(list(loader), list(Loader(source, manifest, order, size=SIDE, stop_step=18)))
    assert counting.decoded.total() == 23 + 2 * again


def test_several_sources(source: ZipSource) -> None:
    drawn = ArraySource(crops(4), ["x", "x", "y", "y"], name="drawn")
    whole = combine([source, drawn])
    order = BatchOrder(len(whole), 27, shuffle=False)
    batch = next(iter(Loader([drawn, source], whole, order, size=SIDE, flip=False)))
    np.testing.assert_array_equal(batch.images[-4:].permute(0, 2, 3, 1).numpy(), drawn.images)
    with pytest.raises(DataError, match="faces of source 'faces', given were only drawn"):
        Loader(drawn, whole, order, size=SIDE)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_faces_are_named(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "bad.zip"
    good = crops(1)[0]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ann/1.png", encoded(good))
        archive.writestr("ann/2.png", encoded(good)[:-200])
        archive.writestr("bob/1.png", encoded(crops(1, 30)[0]))
    bad = ZipSource(path)
    manifest = bad.scan()
    with pytest.raises(DataError, match=r"bad\.zip:ann/2\.png: unreadable picture.*") as caught:
        list(Loader(bad, manifest, BatchOrder(3, 3, shuffle=False), size=SIDE, workers=workers))
    assert "Traceback" not in str(caught.value)
    rows = manifest.take(np.array([0, 2]))
    with pytest.raises(
        DataError, match=r"bad:bob/1\.png: size mismatch.*24x24 pixels, got 30x30; align first"
    ):
        list(Loader(bad, rows, BatchOrder(2, 2), size=SIDE, workers=workers))


def test_verified_faces_are_marked_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "bad.zip"
    good = crops(1)[0]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ann/1.png", encoded(good))
        archive.writestr("ann/2.png", encoded(good)[:-200])
        archive.writestr("bob/1.png", encoded(crops(1, 30)[0]))
    bad = ZipSource(path)
    seen: list[tuple[int, int]] = []
    verified = verify_faces(bad, bad.scan(), size=SIDE, threads=2, progress=lambda *at: seen.append(at))
    assert seen[-1] == (3, 3)
    assert verified.keep.tolist() == [True, False, False]
    assert verified.row(1).reason.startswith("unreadable: ")
    assert verified.row(2).reason == "wrong size: 30x30 instead of 24x24"
    assert [verified.row(i).width for i in range(3)] == [24, 0, 30]
    assert [f.what for f in verified.findings] == [
        "unreadable faces left out",
        "faces of the wrong size left out",
    ]
    assert verified.unmark("unreadable").keep.tolist() == [True, True, False]
    with pytest.raises(DataError, match=r"only kept faces, got 2 left out; pass manifest\.kept"):
        Loader(bad, verified, BatchOrder(3, 1), size=SIDE)
    assert len(list(Loader(bad, verified.kept(), BatchOrder(1, 1), size=SIDE))) == 1


def test_impossible_loaders_are_refused(source: ZipSource) -> None:
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4)
    with pytest.raises(DataError, match="an order over 23 faces, got one over 22"):
        Loader(source, manifest, BatchOrder(22, 4), size=SIDE)
    with pytest.raises(DataError, match="forked workers"):
        Loader(source, manifest, order, workers=1, cache_bytes=10**6, start_method="spawn")
    with pytest.raises(DataError, match="Loader"):
        Loader(source, manifest, order, prefetch=0)
    if not torch.cuda.is_available():
        with pytest.raises(DataError, match="pin memory"):
            Loader(source, manifest, order, pin_memory=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_batches_are_pinned(source: ZipSource, workers: int) -> None:
    manifest = source.scan()
    order = BatchOrder(len(manifest), 4)
    for batch in Loader(source, manifest, order, size=SIDE, workers=workers, pin_memory=True):
        assert batch.images.is_pinned()
        assert batch.labels.is_pinned()
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
