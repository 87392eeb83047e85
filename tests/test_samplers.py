"""P x K sampling and Adaptive Data Sampling: what a batch holds, what an epoch covers, what the weights learn."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc.data.adaptive_order import AdaptiveOrder, resample
from hyperarc.data.loader import Loader
from hyperarc.data.noise import flip_labels
from hyperarc.data.order import BatchOrder, Order
from hyperarc.data.people_order import PeopleOrder
from hyperarc.data.sources import ArraySource
from hyperarc.data.training_set import TrainingSet
from hyperarc.errors import DataError, RecipeError
from hyperarc.geometry import unit
from hyperarc.heads.head import create_head
from hyperarc.recipe import AdaptiveSampler
from hyperarc.recipe.file import load_recipe

NOW = {"warmup_epochs": 0}


def epoch_of(order: Order, epoch: int) -> npt.NDArray[np.int64]:
    """[batches, batch_size] rows."""
    first = epoch * order.batches_per_epoch
    return np.stack([order.batch(first + i) for i in range(order.batches_per_epoch)])


# ---- people


@st.composite
def crowds(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], int, int]:
    """Labels in any order, without some of the numbers, and P and K."""
    sizes = draw(st.lists(st.integers(0, 30), min_size=2, max_size=25).filter(lambda s: np.count_nonzero(s) >= 2))
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return labels, draw(st.integers(2, np.count_nonzero(sizes))), draw(st.integers(1, 6))


@settings(max_examples=200, deadline=None)
@given(crowds(), st.integers(0, 5))
def test_laws_of_people(crowd: tuple[npt.NDArray[np.int64], int, int], epoch: int) -> None:
    labels, per_batch, shown = crowd
    order = PeopleOrder(labels, per_batch * shown, shown, seed=epoch)
    rows = epoch_of(order, epoch)
    batches = len(rows)

    # P different people with K faces each, person by person
    persons = labels[rows].reshape(batches, per_batch, shown)
    assert (persons == persons[:, :, :1]).all()
    assert all(len(set(batch)) == per_batch for batch in persons[:, :, 0].tolist())

    # everybody, ceil(n / K) times but for the groups that fill no batch, and at most once a batch
    people, faces = np.unique(labels, return_counts=True)
    visits = Counter(persons[:, :, 0].ravel().tolist())
    assert set(visits) == set(people.tolist())
    groups = np.minimum(-(-faces // shown), batches)
    assert sum(abs(visits[p] - g) for p, g in zip(people.tolist(), groups.tolist(), strict=True)) < per_batch

    # no longer epoch is possible: tried one by one
    wanted = -(-faces // shown)
    most = max(b for b in range(1, wanted.sum() + 1) if np.minimum(wanted, b).sum() >= b * per_batch)
    assert batches == (most if most * per_batch >= len(people) else most + 1)

    # a person's faces take turns
    times = np.bincount(rows.ravel(), minlength=len(labels))
    for person in people.tolist():
        own = times[labels == person]
        assert own.max() - own.min() <= 1
        assert own.sum() == visits[person] * shown


def test_people_order_is_a_function_of_seed_and_step() -> None:
    labels = np.random.default_rng(0).integers(0, 12, 200)
    order = PeopleOrder(labels, 12, 3, seed=1)
    late = order.batch(100).tolist()
    order.batch(3)
    again = PeopleOrder(labels, 12, 3, seed=1)
    assert again.batch(100).tolist() == order.batch(100).tolist() == late
    assert (again.flips(100) == order.flips(100)).all()
    assert pickle.loads(pickle.dumps(order)).batch(100).tolist() == late
    assert PeopleOrder(labels, 12, 3, seed=2).batch(100).tolist() != late
    assert order.batch(100 + order.batches_per_epoch).tolist() != late
    assert order.state_dict() == {}


def test_groups_that_have_no_place_come_in_other_epochs() -> None:
    labels = np.repeat([0, 1, 2], [40, 4, 4])  # person 0 has 20 groups of 2, and no more than 2 + 2 batches can be had
    order = PeopleOrder(labels, 4, 2)
    assert order.batches_per_epoch == 4
    assert len({row for epoch in range(60) for row in epoch_of(order, epoch).ravel().tolist()}) == len(labels)


def test_any_two_people_meet_about_as_often() -> None:
    labels = np.repeat(np.arange(30), np.tile([2, 4, 8], 10))
    order = PeopleOrder(labels, 8, 2)
    met = np.zeros((30, 30))
    epochs = 300
    for epoch in range(epochs):
        for batch in labels[epoch_of(order, epoch)][:, ::2]:
            met[np.ix_(batch, batch)] += 1
    for visits in (1, 2, 4):  # people of the same size, who have equal chances
        alike = np.flatnonzero(np.bincount(labels) == 2 * visits)
        pairs = met[np.ix_(alike, alike)][np.triu_indices(10, 1)]
        mean = pairs.mean()
        assert mean > 3 * visits
        assert np.abs(pairs - mean).max() < 5 * np.sqrt(mean)


def test_repeated_faces_are_mirrored_apart() -> None:
    order = PeopleOrder(np.arange(8), 8, 4)  # one face each, shown four times
    steps = range(40)
    flips = np.concatenate([order.flips(step).reshape(2, 4) for step in steps])
    assert all((order.batch(step).reshape(2, 4) == order.batch(step)[::4, None]).all() for step in steps)
    assert 0.4 < flips.mean() < 0.6
    assert 0.75 < (flips.min(axis=1) != flips.max(axis=1)).mean() < 1  # 14 of 16


def test_ranks_get_whole_people() -> None:
    pixels = np.zeros((24, 4, 4, 3), np.uint8)
    source = ArraySource(pixels, [f"p{i % 6}" for i in range(24)])
    manifest = source.scan()
    order = PeopleOrder(manifest.labels, 12, 3)
    whole = next(iter(Loader(source, manifest, order, size=4)))
    parts = [next(iter(Loader(source, manifest, order, size=4, rank=r, world_size=2))) for r in range(2)]
    assert np.concatenate([p.rows for p in parts]).tolist() == whole.rows.tolist()
    assert all(len(set(p.labels.tolist())) == 2 for p in parts)


def test_impossible_people_are_refused() -> None:
    labels = np.repeat(np.arange(5), 4)
    with pytest.raises(DataError, match="expected K to divide the batch size, got K = 3 of 8 faces"):
        PeopleOrder(labels, 8, 3)
    with pytest.raises(DataError, match=r"2 to 5 people, as many as there are, got 24 / 4 = 6; change training\."):
        PeopleOrder(labels, 24, 4)
    with pytest.raises(DataError, match="8 / 8 = 1"):
        PeopleOrder(labels, 8, 8)
    with pytest.raises(ValueError, match="keeps nothing, got weights"):
        PeopleOrder(labels, 8, 4).load_state_dict({"weights": torch.ones(20)})


# ---- adaptive


def test_weights_move_as_computed_by_hand() -> None:
    rule = AdaptiveSampler(decrease=0.5, increase=2, floor=0.3, ceiling=4, noise_cosine=0.1, noise_factor=0.1, **NOW)
    order = AdaptiveOrder(8, 4, rule=rule)
    rows = np.array([0, 1, 2, 3])
    target, nearest = np.float32([0.8, 0.4, 0.05, 0.0]), np.float32([0.2, 0.4, 0.3, -0.2])
    told = [  # correct, misclassified (a tie is none of its own), suspected, suspected though correct
        [0.5, 2.0, 0.1, 0.1],
        [0.3, 4.0, 0.03, 0.03],  # floor, ceiling not passed, floor of suspects
        [0.3, 4.0, 0.03, 0.03],  # ceiling
    ]
    for expected in told:
        order.observe(0, rows, target, nearest)
        np.testing.assert_allclose(order.weights, [*expected, 1, 1, 1, 1], rtol=1e-6)
    order.observe(1, np.array([2, 0, 0, 4]), np.float32([0.5, 0.1, 0.1, 0.9]), np.float32([0.1, 0.7, 0.7, 0.2]))
    # no longer suspected: back to the floor; twice in a batch: moved twice
    np.testing.assert_allclose(order.weights, [1.2, 4.0, 0.3, 0.03, 0.5, 1, 1, 1], rtol=1e-6)


def test_weights_rest_during_the_warmup() -> None:
    order = AdaptiveOrder(4, 2, rule=AdaptiveSampler(warmup_epochs=1))
    for step in range(4):
        assert (order.weights == 1).all() == (step < 3)
        order.observe(step, order.batch(step), np.full(2, 0.9), np.zeros(2))
    assert (order.weights < 1).all()


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_equal_weights_are_the_plain_order(weight: float) -> None:
    plain, order = BatchOrder(1003, 10, seed=4), AdaptiveOrder(1003, 10, seed=4)
    equal = torch.full((1003,), weight)
    for epoch in range(5):
        order.load_state_dict({"weights": equal, "began": equal, "epoch": torch.tensor(epoch)})
        for step in (epoch * 100, epoch * 100 + 57, epoch * 100 + 99):
            assert order.batch(step).tolist() == plain.batch(step).tolist()
            assert order.flips(step).tolist() == plain.flips(step).tolist()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.01, 8), min_size=1, max_size=60), st.floats(0, 1, exclude_max=True))
def test_draws_are_the_share_rounded(weights: list[float], offset: float) -> None:
    w = np.array(weights)
    times = resample(w, offset)
    share = len(w) * w / w.sum()
    assert times.sum() == len(w)
    assert (np.abs(times - share) < 1 + 1e-9).all()


def test_draws_are_right_on_average() -> None:
    w = np.random.default_rng(0).uniform(0.03, 4, 50)
    mean = np.mean([resample(w, (i + 0.5) / 1000) for i in range(1000)], axis=0)
    np.testing.assert_allclose(mean, 50 * w / w.sum(), atol=2e-3)


def test_hard_faces_come_more_often_from_the_next_epoch_on() -> None:
    order = AdaptiveOrder(100, 10, seed=1, rule=AdaptiveSampler(decrease=0.5, increase=2, noise_cosine=-1, **NOW))
    hard = np.arange(100) < 10
    first = epoch_of(order, 0)
    for step, rows in enumerate(first):
        assert order.batch(step).tolist() == rows.tolist()  # what was observed does not tell yet
        order.observe(step, rows, np.full(10, 0.5), np.where(hard[rows], 0.6, 0.2))
    assert sorted(first.ravel().tolist()) == list(range(100))
    times = np.bincount(epoch_of(order, 1).ravel(), minlength=100)
    assert times.sum() == 100
    assert set(times[hard].tolist()) <= {3, 4}  # 100 * 2 / (10 * 2 + 90 * 0.5) = 3.08
    assert set(times[~hard].tolist()) == {0, 1}


def test_only_the_epoch_trained_on_is_known() -> None:
    order = AdaptiveOrder(20, 5)
    assert order.known_until == 4
    with pytest.raises(DataError, match="expected a step of epoch 0, which is being trained on, got one of epoch 1"):
        order.batch(4)
    with pytest.raises(DataError, match="epoch 2"):
        order.observe(8, np.arange(5), np.zeros(5), np.zeros(5))
    order.observe(3, order.batch(3), np.zeros(5), np.zeros(5))
    assert order.known_until == 8
    with pytest.raises(DataError, match="got one of epoch 0"):
        order.batch(3)
    with pytest.raises(DataError, match="at least one batch of 5 faces"):
        AdaptiveOrder(4, 5)


def judged(step: int, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines as a head might say them, by row and step."""
    rng = np.random.default_rng(step)
    return np.float32(rows % 7 / 7 + rng.normal(0, 0.1, len(rows))), np.float32(rng.uniform(-0.1, 0.8, len(rows)))


def run(order: AdaptiveOrder, start: int, stop: int) -> list[list[int]]:
    seen = []
    for step in range(start, stop):
        rows = order.batch(step)
        seen.append(rows.tolist())
        order.observe(step, rows, *judged(step, rows))
    return seen


def test_state_goes_on_where_it_was_saved() -> None:
    rule = AdaptiveSampler(**NOW)
    unbroken = run(AdaptiveOrder(53, 5, 3, rule), 0, 45)
    for stop in (1, 9, 10, 11, 37):  # 10 steps an epoch: within, before, at and after its end
        order = AdaptiveOrder(53, 5, 3, rule)
        run(order, 0, stop)
        saved = {key: value.clone() for key, value in order.state_dict().items()}
        run(order, stop, 45)  # what happens later must not change what was saved
        again = AdaptiveOrder(53, 5, 3, rule)
        again.load_state_dict(saved)
        assert run(again, stop, 45) == unbroken[stop:]
    with pytest.raises(ValueError):
        AdaptiveOrder(54, 5, 3, rule).load_state_dict(saved)
    with pytest.raises(KeyError):
        AdaptiveOrder(53, 5, 3, rule).load_state_dict({})


@pytest.mark.parametrize("options", [{}, {"workers": 1, "prefetch": 1}, {"workers": 2, "prefetch": 8}])
def test_workers_read_no_further_than_the_weights_are_known(options: dict[str, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (23, 4, 4, 3), np.uint8)
    source = ArraySource(pixels, [f"p{i % 5}" for i in range(23)])
    manifest = source.scan()
    rule = AdaptiveSampler(**NOW)
    order = AdaptiveOrder(23, 4, 3, rule)
    seen = []
    torch.manual_seed(5)
    for batch in Loader(source, manifest, order, size=4, start_step=0, stop_step=18, flip=False, **options):
        order.observe(batch.step, batch.rows, *judged(batch.step, batch.rows))
        seen.append(batch.rows.tolist())
        assert batch.images[:, :, 0, 0].tolist() == source.images[batch.rows, 0, 0].tolist()
    assert seen == run(AdaptiveOrder(23, 4, 3, rule), 0, 18)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))  # reading leaves the training's random numbers alone
    fresh = AdaptiveOrder(23, 4, 3, rule)
    with pytest.raises(DataError, match="must observe every step"):
        list(Loader(source, manifest, fresh, size=4, stop_step=18, **options))


def flipped_share(rule: AdaptiveSampler) -> list[float]:
    """Share of wrongly labeled faces among those drawn, by epoch, where a head learns centers of fixed embeddings."""
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(40), 20)
    embeddings = unit(torch.from_numpy(rng.normal(size=(40, 64))[true] + rng.normal(size=(800, 64)) * 0.8).float())
    labels, wrong = flip_labels(true, 0.1, rng)
    head = create_head("cosface", num_classes=40, embedding_dim=64, margin=0.2, scale=16)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    order = AdaptiveOrder(800, 40, rule=rule)
    shares = []
    for epoch in range(8):
        rows = epoch_of(order, epoch)
        shares.append(float(wrong[rows].mean()))
        for step, batch in enumerate(rows, epoch * order.batches_per_epoch):
            out = head(embeddings[batch], torch.from_numpy(labels[batch]))
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
            order.observe(step, batch, out.target_cosine.numpy(), out.nearest_negative_cosine.numpy())
    return shares


def test_the_guard_keeps_wrong_labels_out() -> None:
    guarded, open_to_all = flipped_share(AdaptiveSampler()), flipped_share(AdaptiveSampler(noise_cosine=-1))
    assert guarded[0] == pytest.approx(0.1)
    assert guarded[-1] < 0.06
    assert open_to_all[-1] > 0.3


# ---- recipes


def recipe(*changes: str) -> tuple[TrainingSet, Order]:
    chosen = load_recipe("demo", ["training.batch_size=8", *changes])
    source = ArraySource(np.zeros((20, 4, 4, 3), np.uint8), [f"p{i % 5}" for i in range(20)])
    faces = TrainingSet((source,), source.scan(), source.scan())
    return faces, faces.order(chosen.data.sampler, chosen.training.batch_size, chosen.seed)


def test_a_recipe_chooses_the_order() -> None:
    assert recipe("seed=3")[1] == BatchOrder(20, 8, 3)
    faces, order = recipe("data.sampler.people.faces_per_person=2")
    assert isinstance(order, PeopleOrder)
    assert all(len(set(faces.kept.labels[batch].tolist())) == 4 for batch in epoch_of(order, 0))
    _, order = recipe("data.sampler.adaptive={floor: 0.5}")
    assert isinstance(order, AdaptiveOrder)
    assert order.rule == AdaptiveSampler(floor=0.5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("data.sampler={people: {}, adaptive: {}}", "give only one of data.sampler.people, data.sampler.adaptive"),
        (
            "data.sampler.people.face_per_person=2",
            "unknown key 'data.sampler.people.face_per_person'; did you mean 'faces_per_person'?",
        ),
        ("data.sampler.adaptve={}", "unknown key 'data.sampler.adaptve'; did you mean 'adaptive'?"),
        ("data.sampler.people.faces_per_person=1", "greater than or equal to 2, got 1"),
        ("data.sampler.people.faces_per_person=3", "batch_size / accumulate = 8 is not a multiple of data.sampler.peo"),
        ("data.sampler.adaptive.floor=0", "data.sampler.adaptive.floor: Input should be greater than 0, got 0"),
    ],
)
def test_impossible_samplers_are_refused(change: str, text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(change)
    assert text in str(caught.value)


def test_parts_of_a_batch_hold_whole_people() -> None:
    with pytest.raises(RecipeError, match="batch_size / accumulate = 2 is not a multiple"):
        recipe("training.accumulate=4", "data.sampler.people.faces_per_person=4")
    recipe("training.accumulate=2", "data.sampler.people.faces_per_person=4")
