"""The order of streamed shards: every face once, near its neighbors, the same however a run is cut."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc.data.combination import combine
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.face_writer import ShardLimits
from hyperarc.data.loader import Loader
from hyperarc.data.order import Order
from hyperarc.data.packing import Packing, pack
from hyperarc.data.shard_order import ShardOrder, Streams, places_of
from hyperarc.data.sources import ArraySource
from hyperarc.data.training_set import TrainingSet
from hyperarc.errors import DataError, RecipeError
from hyperarc.recipe import Sampler, ShardSampler
from hyperarc.recipe.file import load_recipe

Numbers = npt.NDArray[np.int64]


def epoch_of(order: Order, epoch: int) -> Numbers:
    first = epoch * order.batches_per_epoch
    return np.concatenate([order.batch(first + i) for i in range(order.batches_per_epoch)])


@st.composite
def laid_out(draw: st.DrawFn) -> tuple[Numbers, Numbers, int, int]:
    """Shards of any sizes and numbers, rows in any order; batch size and window."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    numbers = draw(st.permutations(range(-5, 20)))[: len(sizes)]
    shards, places = np.repeat(numbers, sizes), np.concatenate([np.arange(size) * 512 for size in sizes])
    mixed = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(shards))
    return shards[mixed], places[mixed], draw(st.integers(1, len(shards))), draw(st.integers(1, 60))


@settings(max_examples=150, deadline=None)
@given(laid_out(), st.integers(0, 5))
def test_laws(layout: tuple[Numbers, Numbers, int, int], epoch: int) -> None:
    shards, places, size, window = layout
    order = ShardOrder(shards, places, size, window, seed=epoch)
    assert order.batches_per_epoch == len(shards) // size
    rows = epoch_of(order, epoch)
    assert len(rows) == len(set(rows.tolist())) == order.batches_per_epoch * size

    # with a window of one, shards stand one after the other, each as it lies; with more, no face moves further
    stream = ShardOrder(shards, places, size, 1, seed=epoch)._draw(epoch).astype(np.int64)
    assert sorted(stream.tolist()) == list(range(len(shards)))
    turns = list(dict.fromkeys(shards[stream].tolist()))
    assert (shards[stream][1:] != shards[stream][:-1]).sum() == len(turns) - 1
    assert all((np.diff(places[stream][shards[stream] == shard]) > 0).all() for shard in turns)
    moved = np.argsort(stream)[order._draw(epoch)] - np.arange(len(shards))
    assert np.abs(moved).max() < window


def test_it_is_a_function_of_seed_and_step() -> None:
    shards = np.repeat(np.arange(10), 30)
    order = ShardOrder(shards, np.arange(300), 12, 40, seed=1)
    late = order.batch(60).tolist()
    order.batch(3)
    again = ShardOrder(shards, np.arange(300), 12, 40, seed=1)
    assert again.batch(60).tolist() == order.batch(60).tolist() == late
    assert (again.flips(60) == order.flips(60)).all()
    assert pickle.loads(pickle.dumps(order)).batch(60).tolist() == late
    assert ShardOrder(shards, np.arange(300), 12, 40, seed=2).batch(60).tolist() != late
    assert order.batch(60 + order.batches_per_epoch).tolist() != late
    assert order.state_dict() == {}


def test_reads_stay_near_each_other_and_shards_come_in_any_order() -> None:
    shards = np.repeat(np.arange(50), 200)
    order = ShardOrder(shards, np.arange(10_000), 100, 400, seed=0)
    for epoch in range(2):
        rows = epoch_of(order, epoch)
        at_once = [len(set(shards[rows[i : i + 100]].tolist())) for i in range(0, 10_000, 100)]
        assert max(at_once) <= 5  # of 400 faces in a window, and 200 in a shard
        turns = list(dict.fromkeys(shards[rows].tolist()))
        assert sorted(turns) == list(range(50)) != turns
    assert list(dict.fromkeys(shards[epoch_of(order, 0)].tolist())) != turns


@pytest.mark.parametrize("steps", [25, 26, 3])
def test_parts_and_turns_have_shards_of_their_own(steps: int) -> None:
    """Each of 2 x 3 streams in places of its own, none twice; a cut goes through a shard at most at either end."""
    shards = np.repeat(np.arange(40), steps * 12 // 40 + 1)
    order = ShardOrder(shards, np.arange(len(shards)), 12, 20, seed=4, streams=Streams(parts=2, turns=3))
    plain = ShardOrder(shards, np.arange(len(shards)), 12, 20, seed=4)
    for epoch in range(2):
        rows = epoch_of(order, epoch)
        assert len(set(rows.tolist())) == len(rows) == len(epoch_of(plain, epoch))
        of_streams = rows.reshape(order.batches_per_epoch, 2, 6)
        read = [set(shards[of_streams[turn::3, part]].ravel().tolist()) for turn in range(3) for part in range(2)]
        assert sum(map(len, read)) <= 40 + 5
        assert all(len(one & other) <= 1 for i, one in enumerate(read) for other in read[:i])
    assert sorted(order._draw(1).tolist()) == list(range(len(shards)))
    one = ShardOrder(shards, np.arange(len(shards)), 12, 20, seed=4, streams=Streams(1, 1))
    assert (one._draw(3) == plain._draw(3)).all()


def test_bad_arguments() -> None:
    for size, window, seed in ((0, 1, 0), (1, 0, 0), (1, 1, -1)):
        with pytest.raises(DataError, match="at least 1 and a seed"):
            ShardOrder(np.zeros(4, np.int64), np.arange(4), size, window, seed)
    with pytest.raises(DataError, match="at least one batch of 5 faces, got 4"):
        ShardOrder(np.zeros(4, np.int64), np.arange(4), 5, 1)
    with pytest.raises(DataError, match=r"got 12 faces in 5 parts and 1 turns; make training\.batch_size"):
        ShardOrder(np.zeros(20, np.int64), np.arange(20), 12, 1, streams=Streams(parts=5))
    with pytest.raises(RecipeError, match="only one of"):
        load_recipe("demo", ["data.sampler.shards.window=9", "data.sampler.adaptive={}"])


def drawn(people: int, each: int) -> FaceSet:
    images = np.zeros((people * each, 112, 112, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(images))
    source = ArraySource(images, [f"p{row // each:02d}" for row in range(len(images))])
    return FaceSet((source,), source.scan())


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_files_are_the_shards(tmp_path: Path, kind: str) -> None:
    pack(drawn(5, 8), tmp_path / "faces", Packing(kind, ShardLimits(faces=10), shuffle=0))
    faces = open_faces(tmp_path / "faces")
    shards, places = places_of(faces, window=3)
    assert np.bincount(shards).tolist() == [10] * 4
    for shard in range(4):
        assert (np.diff(places[shards == shard]) > 0).all()
    training = TrainingSet(faces.sources, faces.manifest, faces.manifest)
    order = training.order(Sampler(shards=ShardSampler(window=1)), 10, seed=3)
    assert len({shards[row] for row in order.batch(1)}) == 1


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet", "rec"])
def test_one_file_is_cut_into_stretches(tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"faces.{kind}" if kind != "rec" else tmp_path / "rec"
    pack(drawn(5, 8), target, Packing(kind))
    shards, _ = places_of(open_faces(target), window=12)
    assert np.bincount(shards).tolist() == [12, 12, 12, 4]


def test_several_sources_have_shards_of_their_own(tmp_path: Path) -> None:
    one = drawn(3, 4)
    two = ArraySource(np.zeros((6, 112, 112, 3), np.uint8), ["x", "y", "z"] * 2, name="other")
    both = FaceSet((*one.sources, two), combine([one.manifest, two.scan()]))
    shards, _ = places_of(both, window=5)
    sources = [set(both.manifest.source_codes[shards == shard].tolist()) for shard in range(5)]
    assert sources == [{0}, {0}, {0}, {1}, {1}]


def test_ranks_and_restarts_see_the_same(tmp_path: Path) -> None:
    pack(drawn(6, 8), tmp_path / "faces", Packing("tar", ShardLimits(faces=10), shuffle=0))
    faces = open_faces(tmp_path / "faces")
    training = TrainingSet(faces.sources, faces.manifest, faces.manifest)
    order = training.order(Sampler(shards=ShardSampler(window=16, parts=2, turns=2)), 8, seed=3)
    assert isinstance(order, ShardOrder)
    assert order.streams == Streams(2, 2)

    def seen(**options: int) -> list[list[int]]:
        loader = Loader(faces.sources, faces.manifest, order, stop_step=12, **options)  # type: ignore[arg-type]
        batches = list(loader)
        for batch in batches:  # the pixels are those of the rows
            wanted = [faces.image(int(row))[0, [0, -1], 0].max() for row in batch.rows]
            assert batch.images[:, 0, 0, [0, -1]].max(dim=1).values.tolist() == wanted
        return [batch.rows.tolist() for batch in batches]

    whole = seen()
    halves = zip(seen(rank=0, world_size=2), seen(rank=1, world_size=2), strict=True)
    assert [left + right for left, right in halves] == whole
    assert seen(start_step=5) == whole[5:]
    assert seen(workers=2) == whole
