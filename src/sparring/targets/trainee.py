"""`Trainee`: a classifier under training, as the attacks of its own training see it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..errors import TargetError
from .classifier import Classifier


class Trainee(Classifier):
    """The same model as `classifier`, attacked in eval mode, or in the mode in which it is trained.

    With `as_trained` a batch norm normalises by the batch of adversarial examples and dropout is on, but for the
    modules in `still`, which are in eval mode in training too. The running statistics are put back bit by bit after
    each attack, so training moves them once per update and no attack does.
    """

    def __init__(self, classifier: Classifier, *, as_trained: bool, still: Sequence[nn.Module] = ()) -> None:
        if not isinstance(classifier.model, nn.Module):
            raise TargetError(f"{classifier.name} is a function, and only a torch.nn.Module can be trained")
        vars(self).update(vars(classifier))
        self.as_trained, self.still = as_trained, still

    def _settle(self, model: nn.Module) -> None:
        model.train(self.as_trained)
        for module in self.still:
            module.training = False
