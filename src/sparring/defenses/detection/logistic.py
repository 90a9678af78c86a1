"""Logistic regression by scikit-learn, returned as a weight per feature and a bias."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import InputError
from ...targets.optional_imports import import_optional


def fit_logistic(negatives: Tensor, adversarial: Tensor, C: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return weight (F,) and bias () of the log-odds of being adversarial, from features (N, F) and (M, F).

    The features are standardised for the regression, whose penalty is |w|^2 / (2 C) and whose two sides weigh
    the same; weight and bias are for the features as they are.

    Raises:
        AssetError: scikit-learn is not installed.
        InputError: features that are not finite.
    """
    linear_model = import_optional("sklearn.linear_model", "this detector", "detect")
    features = torch.cat((negatives, adversarial)).double().cpu()
    if not bool(features.isfinite().all()):
        column = int((~features.isfinite().all(0)).nonzero()[0])
        raise InputError(f"feature {column} of the detector is not finite on some images; clean the data or the model")
    center, scale = features.mean(0), features.std(0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    labels = torch.cat((torch.zeros(len(negatives)), torch.ones(len(adversarial))))
    model = linear_model.LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    model.fit(((features - center) / scale).numpy(), labels.numpy())
    weight = torch.from_numpy(model.coef_[0]) / scale
    bias = float(model.intercept_[0]) - (weight * center).sum()
    return weight.to(negatives), bias.to(negatives)
