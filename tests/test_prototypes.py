"""Hard prototype mining: neighbors, queues, and the classes that a step sweeps over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hyperarc.errors import HyperArcError, UnknownNameError
from hyperarc.geometry import unit
from hyperarc.heads.head import create_head
from hyperarc.heads.prototypes import HardPrototypes, neighbors
from hyperarc.heads.shard import Shard


def centers(classes: int, sub_centers: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(classes, sub_centers, dim, generator=torch.Generator().manual_seed(seed))


def similarity(weight: Tensor) -> Tensor:
    """[C, C] largest cosine between sub-centers, by plain loops."""
    rows = unit(weight)
    return torch.tensor([[float((one @ other.T).max()) for other in rows] for one in rows])


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("memory_mb", [64.0, 1e-6])
def test_neighbors_are_the_most_similar_classes(sub_centers: int, memory_mb: float) -> None:
    weight = centers(20, sub_centers, 6)
    expected = similarity(weight).fill_diagonal_(-2).topk(5, dim=1).indices
    assert torch.equal(neighbors(Shard.whole(weight), 5, memory_mb), expected)


def queue_by_loop(mining: HardPrototypes, batch: tuple[Tensor, ...], weight: Tensor) -> list[list[int]]:
    """What the queues ought to be after a step: mistakes first, best before good, then what was there."""
    labels, target, nearest, nearest_class = batch
    queues = [[int(c) for c in row if c >= 0] for row in mining.queues]
    for owner in sorted(set(labels.tolist())):
        found = []
        for row in range(len(labels)):
            if labels[row] != owner:
                continue
            for value, entry in zip(nearest[row].tolist(), nearest_class[row].tolist(), strict=True):
                if value > float(target[row]):
                    found.append((-value, entry))
        wanted = [entry for _, entry in sorted(found)] + queues[owner]
        unique = list(dict.fromkeys(wanted))[: mining.queue]
        queues[owner] = [e for e in unique if float(similarity(weight[[owner, e]])[0, 1]) > mining.threshold]
    return queues


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), queue=st.integers(1, 6), threshold=st.sampled_from([-1.0, 0.0, 0.3]))
def test_queues_follow_the_mistakes(seed: int, queue: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = centers(9, 2, 3, seed)
    mining = HardPrototypes(9, queue=queue, threshold=threshold)
    for _ in range(3):
        labels = torch.randint(9, (7,), generator=generator)
        mining.select(labels, Shard.whole(weight))
        cosine = torch.rand(7, 9, generator=generator) * 2 - 1
        target = cosine.gather(1, labels[:, None])[:, 0]
        nearest, nearest_class = cosine.scatter(1, labels[:, None], -2.0).topk(queue, dim=1)
        expected = queue_by_loop(mining, (labels, target, nearest, nearest_class), weight)
        mining.observe(labels, target, nearest, nearest_class, Shard.whole(weight))
        got = [[int(c) for c in row if c >= 0] for row in mining.queues]
        assert got == expected


def test_queues_are_made_once_or_again_or_never() -> None:
    labels, weight = torch.tensor([0, 1]), centers(12, 1, 4)
    for refresh_every, searched in ((0, [0]), (2, [0, 2, 4]), (None, [])):
        mining = HardPrototypes(12, queue=3, refresh_every=refresh_every)
        for step in range(5):
            mining.queues.fill_(-1)
            mining.select(labels, Shard.whole(weight))
            assert bool((mining.queues >= 0).all()) == (step in searched)
            mining.observe(labels, torch.ones(2), torch.zeros(2, 3), torch.full((2, 3), 5), Shard.whole(weight))


def test_a_rising_threshold_empties_the_queues() -> None:
    weight = centers(40, 1, 4)
    mining = HardPrototypes(40, queue=10, threshold=0.0, threshold_end=0.9, threshold_steps=10)
    labels = torch.arange(40)
    swept, thresholds = [], []
    for _ in range(12):
        thresholds.append(mining.threshold)
        mining.select(labels, Shard.whole(weight))
        mining.observe(labels, torch.ones(40), torch.zeros(40, 1), torch.zeros(40, 1).long(), Shard.whole(weight))
        swept.append(int((mining.queues >= 0).sum()))
    assert thresholds[:2] == pytest.approx([0.0, 0.09])
    assert thresholds[-1] == pytest.approx(0.9)
    assert swept == sorted(swept, reverse=True)
    assert swept[-1] < swept[0] / 4


@pytest.mark.parametrize("sub_centers", [1, 2])
def test_a_step_sweeps_over_the_batch_and_its_queues(sub_centers: int) -> None:
    head = create_head(
        "cosface", num_classes=40, embedding_dim=8, prototypes={"queue": 3}, sub_centers=sub_centers, scale=8.0
    )
    embeddings, labels = torch.randn(6, 8), torch.tensor([3, 3, 9, 39, 0, 1])
    weight = head.centers.weight.detach()
    expected = sorted({*labels.tolist(), *neighbors(Shard.whole(weight), 3)[labels].flatten().tolist()})
    logits = head.logits(embeddings, labels)[:, expected]
    loss = nn.functional.cross_entropy(logits, torch.searchsorted(torch.tensor(expected), labels))
    out = head(embeddings, labels)
    torch.testing.assert_close(out.loss, loss)
    out.loss.backward()
    gradient = head.centers.weight.grad
    assert gradient is not None
    assert set(gradient.abs().sum(dim=(1, 2)).nonzero()[:, 0].tolist()) <= set(expected)
    assert head.centers.swept == len(expected)
    wrong = out.nearest_negative_cosine > out.target_cosine
    for row in wrong[2:].nonzero()[:, 0].add(2).tolist():  # the nearest wrong class stands in the queue of its label
        cosine = torch.einsum("d,ckd->ck", unit(embeddings[row]), unit(weight)).amax(dim=1)
        allowed = [c for c in expected if c != int(labels[row])]
        assert allowed[int(cosine[allowed].argmax())] in head.centers.prototypes.queues[labels[row]].tolist()
    head.eval()
    torch.testing.assert_close(
        head(embeddings, labels).loss, nn.functional.cross_entropy(head.logits(embeddings, labels), labels)
    )


def test_npt_and_prototypes_share_the_nearest() -> None:
    """NPT-Loss asks for one nearest negative, the queues for four: each gets its own number."""
    head = create_head("npt", num_classes=30, embedding_dim=8, prototypes={"queue": 4}, top_k=1)
    embeddings, labels = torch.randn(5, 8), torch.tensor([1, 2, 3, 4, 5])
    out = head(embeddings, labels)
    expected = 2 * torch.relu(out.nearest_negative_cosine - out.target_cosine + 0.5).mean()
    torch.testing.assert_close(out.loss.detach(), expected)


def test_mining_learns_what_the_whole_sweep_learns() -> None:
    def accuracy(**arguments: Any) -> float:
        generator = torch.Generator().manual_seed(0)
        points = nn.functional.normalize(torch.randn(60, 16, generator=generator), dim=1)
        head = create_head("arcface", num_classes=60, embedding_dim=16, scale=16.0, seed=1, **arguments)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.5, momentum=0.9)
        for _ in range(150):
            labels = torch.randint(60, (32,), generator=generator)
            noise = torch.randn(32, 16, generator=generator) * 0.1
            optimizer.zero_grad()
            head(points[labels] + noise, labels).loss.backward()
            optimizer.step()
        return float(head.eval()(points, torch.arange(60)).accuracy)

    assert accuracy(prototypes={"queue": 6}) >= accuracy() - 0.05


def test_resumed_mining_goes_on_where_it_was() -> None:
    def run(steps: range, head: Any) -> list[float]:
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
        losses = []
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            embeddings, labels = torch.randn(6, 8, generator=generator), torch.randint(40, (6,), generator=generator)
            optimizer.zero_grad()
            loss = head(embeddings, labels).loss
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    def fresh() -> Any:
        return create_head("arcface", num_classes=40, embedding_dim=8, prototypes={"queue": 3, "threshold": 0.1})

    whole = fresh()
    losses = run(range(6), whole)
    first = fresh()
    assert run(range(3), first) == losses[:3]
    second = fresh()
    second.load_state_dict(first.state_dict())
    assert run(range(3, 6), second) == losses[3:]
    assert torch.equal(second.centers.prototypes.queues, whole.centers.prototypes.queues)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prototypes": {"queue": 0}}, "queue must be at least 1, got 0"),
        ({"prototypes": {"threshold": 1.0}}, r"threshold is a cosine in \[-1, 1\), got 1.0"),
        ({"prototypes": {"threshold_end": 0.5}}, "give threshold_end and threshold_steps together"),
        ({"prototypes": {"refresh_every": -1}}, "refresh_every must not be negative"),
        ({"prototypes": {}, "sample_rate": 0.5}, "leave sample_rate at 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(HyperArcError, match=said):
        create_head("arcface", num_classes=6, embedding_dim=4, **arguments)


def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'treshold'; did you mean 'threshold'"):
        create_head("arcface", num_classes=6, embedding_dim=4, prototypes={"treshold": 0.1})


# ---- votes of the sub-centers


def test_votes_name_the_dominant_sub_center() -> None:
    head = create_head("arcface", num_classes=3, embedding_dim=2, sub_centers=2)
    with torch.no_grad():
        head.centers.weight.copy_(torch.tensor([[[1.0, 0], [0, 1]], [[-1, 0], [0, -1]], [[1, 1], [1, -1]]]))
    faces = torch.tensor([[0.1, 1.0], [0.2, 1.0], [1.0, 0.1], [-1.0, -0.2]])
    out = head(faces, torch.tensor([0, 0, 0, 1]))
    votes = head.centers.votes
    assert votes is not None
    assert votes.tolist() == [[1, 2], [1, 0], [0, 0]]
    assert head.centers.dominant().tolist() == [1, 0, 0]
    assert float(out.dominant_share) == pytest.approx(0.75)
    assert head.centers.dominant_weight().tolist() == [[0, 1], [-1, 0], [1, 1]]
    head(faces[2:3], torch.tensor([0]))
    torch.testing.assert_close(head.centers.votes[0], torch.tensor([1 * 0.95 + 1, 2 * 0.95]))
    before = head.centers.votes.clone()
    head.eval()(faces, torch.tensor([0, 0, 0, 1]))
    assert torch.equal(head.centers.votes, before)


def test_old_votes_are_forgotten() -> None:
    head = create_head("arcface", num_classes=2, embedding_dim=2, sub_centers=2)
    with torch.no_grad():
        head.centers.weight[0] = torch.eye(2)
    for face in [[1.0, 0.0]] * 200 + [[0.0, 1.0]] * 20:
        head(torch.tensor([face]), torch.tensor([0]))
    assert head.centers.dominant().tolist()[0] == 1


def test_a_single_center_has_no_votes() -> None:
    head = create_head("arcface", num_classes=3, embedding_dim=2)
    assert head.centers.votes is None
    assert head.centers.dominant().tolist() == [0, 0, 0]
    assert head(torch.randn(2, 2), torch.tensor([0, 1])).dominant_share is None
