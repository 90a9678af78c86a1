"""Certified defences under an audit: the robust accuracy that it measures is never below the certified one."""

import pytest
import torch

import sparring as sp
from sparring.defenses.certification import DerandomizedSmoothing, PatchCleanser
from sparring.testing.cases import small_net

WITHIN = slice(3, 5)  # rows and columns of a patch in the middle


def patched(name, target):
    return PatchCleanser(target, 2, masks_per_axis=3) if name == "double masking" else DerandomizedSmoothing(target, 2)


@pytest.mark.parametrize("name", ["double masking", "bands"])
def test_patches_under_an_audit_leave_what_is_certified(name, tmp_path):
    case = small_net(6)
    defence = patched(name, case.target)
    labels = defence(case.images).argmax(1)
    found = defence.certify(case.images) if name == "double masking" else defence.certify(case.images, 2)
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, WITHIN, WITHIN] = True
    images = case.images.float()
    report = sp.audit(defence, [(images, labels)], threats=["linf:1.0"], suite="quick", mask=mask, out=tmp_path / "run")
    robust = report.threats[0].epsilons[0].robust_accuracy.count
    assert robust >= int((found.certified & (found.predicted == labels)).sum()) > 0
