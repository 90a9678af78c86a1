"""A row that an attack drives to NaN is neither won nor robust, in an audit as in `run`."""

import torch
from torch import nn

import sparring as sp


class Fragile(nn.Module):
    """Two classes, and NaN once the mean of an image exceeds its bar."""

    def forward(self, x):
        score = x.flatten(1).mean(1) - 0.9
        score = torch.where(score > -0.35, torch.nan, score)
        return torch.stack((-score, score), dim=1)


def test_what_answers_nan_is_not_robust(tmp_path):
    images = torch.full((6, 1, 4, 4), 0.2)
    images[:3] = 0.5  # driven over the bar by 0.1
    labels = torch.zeros(6, dtype=torch.long)
    ball, target = sp.Linf(0.1), sp.Classifier(Fragile())
    outcome = sp.run(sp.attacks.PGD(ball, steps=5), target, sp.Misclassify(labels), images)
    assert outcome.robust_accuracy == 0.5
    assert not outcome.success.any()
    report = sp.audit(target, [(images, labels)], threats=[ball], suite="pgd", out=tmp_path / "run")
    part = report.threats[0].epsilons[0]
    assert part.robust_accuracy.share == 0.5
    assert part.attacks[0].reasons["NON_FINITE"] == 3
    assert "non-finite" in {finding.code for finding in report.warnings}
