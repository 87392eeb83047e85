"""Small-loss trimming: what is left out, how the share rises, that it learns past wrong labels and resumes."""

from __future__ import annotations

import pytest
import torch

from hyperarc.errors import HyperArcError
from hyperarc.heads.head import create_head
from hyperarc.heads.trimming import Trimming


@pytest.mark.parametrize(("share", "ramp", "steps"), [(0.25, 0, 1), (0.5, 4, 9), (0.9, 2, 3)])
def test_the_share_kept_is_the_papers(share: float, ramp: int, steps: int) -> None:
    trimming = Trimming(share=share, ramp_steps=ramp)
    loss = torch.rand(40, generator=torch.Generator().manual_seed(0))
    for step in range(steps):
        kept = round((1 - min(step / ramp, 1.0) * share) * 40) if ramp else round((1 - share) * 40)
        assert trimming(loss).item() == pytest.approx(loss.sort().values[:kept].mean().item())
    assert int(trimming.step) == steps
    assert trimming.eval()(loss).item() == pytest.approx(loss.mean().item())
    assert int(trimming.step) == steps
    assert Trimming(share=0.99, ramp_steps=0)(torch.tensor([3.0])).item() == 3.0


def test_a_head_leaves_the_largest_losses_out_and_their_gradients() -> None:
    settings = {"num_classes": 6, "embedding_dim": 8, "seed": 1}
    plain = create_head("arcface", **settings)
    trimmed = create_head("arcface", trimming={"share": 0.5, "ramp_steps": 0}, **settings)
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 8, requires_grad=True), torch.arange(8) % 6
    each = torch.stack([plain(embeddings[[row]], labels[[row]]).loss for row in range(8)])
    out = trimmed(embeddings, labels)
    torch.testing.assert_close(out.loss, each.sort().values[:4].mean())
    out.loss.backward()
    assert embeddings.grad is not None
    left_out = each.argsort()[4:]
    assert not embeddings.grad[left_out].any()
    assert embeddings.grad.any(dim=1).sum() == 4
    again = create_head("arcface", trimming={"share": 0.5, "ramp_steps": 0}, **settings)
    again.load_state_dict(trimmed.state_dict())
    assert again.trimming is not None
    assert int(again.trimming.step) == 1
    assert "trimming.step" not in plain.state_dict()


def test_wrong_shares_are_told() -> None:
    for wrong in (0.0, 1.0, -0.1):
        with pytest.raises(HyperArcError, match=r"trimming\.share must lie between 0 and 1"):
            Trimming(share=wrong)
    with pytest.raises(HyperArcError, match=r"trimming\.ramp_steps must be at least 0"):
        Trimming(ramp_steps=-1)
