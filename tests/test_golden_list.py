"""Which test holds which numbers of the original implementations; none of a loss is left out in silence."""

from __future__ import annotations

import ast
import json
from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# pattern of cases -> file and function of the test that holds them
LOSSES = {
    "mxnet_old_intra*": ("test_auxiliary.py", "test_intra_is_the_authors"),
    "mxnet_old_inter": ("test_auxiliary.py", "test_inter_as_released"),
    "mxnet_triplet": ("test_auxiliary.py", "test_triplets_are_the_authors"),
    "mxnet_atriplet": ("test_auxiliary.py", "test_triplets_are_the_authors"),
    "pml_triplet_*": ("test_auxiliary.py", "test_mining_and_its_mean"),
    "pml_batchhard": ("test_auxiliary.py", "test_batch_hard"),
    "center_caffe": ("test_auxiliary.py", "test_center_moves_as_in_caffe"),
    "center_kaiyangzhou": ("test_auxiliary.py", "test_center_is_half_of_the_popular_port"),
    "curricularface_*": ("test_golden_papers.py", "test_curricularface_over_three_steps"),
    "adaface_*": ("test_golden_papers.py", "test_adaface_over_three_steps"),
    "magface_*": ("test_golden_papers.py", "test_magface"),
    "elasticface_*": ("test_golden_papers.py", "test_elasticface"),
    "svx_mv_*": ("test_golden_papers.py", "test_mv_softmax"),
    "npt_*": ("test_golden_papers.py", "test_npt"),
    "adam_softmax_*": ("test_golden_papers.py", "test_adaptiveface"),
    "asoftmax_clcarwin_*": ("test_golden_papers.py", "test_a_softmax"),
    "asoftmax_caffe_m4": ("test_golden_papers.py", "test_a_softmax_has_the_caffe_layers_loss"),
    "sphereface_opensphere_*": ("test_golden_papers.py", "test_sphereface_psi"),
    "adacosrepo_sphereface": ("test_golden_papers.py", "test_sphereface_raw"),
    "mxnet_sphereface135": ("test_golden_papers.py", "test_sphereface_raw"),
    "adacos_dynamic_*": ("test_golden_papers.py", "test_adacos_over_steps"),
    "pml_sphereface": ("test_golden_papers.py", "test_a_softmax_without_annealing_is_pytorch_metric_learnings"),
    "adafacerepo_cosface": ("test_golden_papers.py", "test_cosface_between_adafaces_clamps"),
    "if_arcface_neg_labels": ("test_golden_margins.py", "test_foreign_labels_get_no_margin"),
    "if_*": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "if202*": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "arcface_threshold_curricularrepo": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "arcmargin_*": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "adafacerepo_arcface": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "adacosrepo_*": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "mxnet_*": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "svx_*": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "pml_*": ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals"),
    "groupface_label": ("test_groupface.py", "test_labels_are_the_ports"),
    "partialfc_w*": ("test_golden_partial_fc.py", "test_loss_and_gradients_of_all_ranks"),
    "partialfc_sgd_*": ("test_golden_partial_fc.py", "test_centers_move_as_in_the_original"),
}

# cases that concern no loss: judging, backbones, alignment, schedules, cleaning, inversion
OTHERS = {"lfw10fold_*", "ijb11_*", "ijb1n", "alignment", "inversion_priors", "backbone_*", "megaface_clean"}
OTHERS |= {"lrpoly_*", "subcenter_drop"}


def cases(shared: Path) -> list[str]:
    index = json.loads((shared / "golden" / "index.json").read_text())
    return [entry["id"] for entry in index["cases"]]


def holder(case: str) -> tuple[str, str] | None:
    return next((test for pattern, test in LOSSES.items() if fnmatch(case, pattern)), None)


def test_every_case_of_a_loss_is_held(shared: Path) -> None:
    left = [case for case in cases(shared) if holder(case) is None]
    left = [case for case in left if not any(fnmatch(case, pattern) for pattern in OTHERS)]
    assert left == []


def test_every_pattern_stands_for_a_case(shared: Path) -> None:
    known = cases(shared)
    idle = [pattern for pattern in (*LOSSES, *OTHERS) if not any(fnmatch(case, pattern) for case in known)]
    assert idle == []


@pytest.mark.parametrize(("file", "name"), sorted(set(LOSSES.values())))
def test_the_tests_exist(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_cases_of_the_margins_are_named_one_by_one(shared: Path) -> None:
    """The largest test takes its cases from a table; every case that is said to be held there stands in it."""
    from test_golden_margins import CASES

    test = ("test_golden_margins.py", "test_logits_loss_and_gradients_are_the_originals")
    held = {case for case in cases(shared) if holder(case) == test}
    assert held <= set(CASES)
