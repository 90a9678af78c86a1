"""`Replicated`: a model copied to several devices, which split every query."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..access import Jacobians
from ..errors import ConfigError, TargetError
from ..inputs import Inputs
from ..random import Key
from ..rows import join, take, to
from ..shapes import FloatBatch
from ..tasks import Task
from .model import Model
from .target import Target, answered


class Replicated(Target[Jacobians]):
    """`target` copied to each of `devices`; answers are gathered on the first.

    Args:
        target: a model of any task around a module. It stays where it is; the copies have its weights of this moment.
        devices: such as ["cuda:0", "cuda:1"]; the images of a question are split over them in equal parts.

    Raises:
        TargetError: a model around a function, which has no weights to copy.
    """

    def __init__(self, target: Model, devices: Sequence[torch.device | str]) -> None:
        if not devices:
            raise ConfigError("devices is empty; pass at least one, such as ['cuda:0', 'cuda:1']")
        if not isinstance(target.model, nn.Module):
            raise TargetError(f"{target.name} is a function, and only modules are copied; pass a torch.nn.Module")
        self.copies = []
        for device in devices:
            twin = copy.deepcopy(target)
            assert isinstance(twin.model, nn.Module)
            twin.model.to(device)
            self.copies.append(twin)
        self._first = torch.device(devices[0])

    @property
    def access(self) -> type[Jacobians]:
        return Jacobians

    @property
    def name(self) -> str:
        return self.copies[0].name

    @property
    def device(self) -> torch.device:
        return self._first

    @property
    def inputs(self) -> Inputs:
        return self.copies[0].inputs

    @property
    def task(self) -> Task | None:
        return self.copies[0].task

    @property
    def takes_context(self) -> bool:
        return self.copies[0].takes_context

    @property
    def stochastic(self) -> bool:
        return self.copies[0].stochastic

    def __call__(self, images: FloatBatch, key: Key | None = None, context: Any = None) -> Any:
        places = [place for place in torch.arange(len(images)).tensor_split(len(self.copies)) if len(place)]
        answers = []
        for twin, place in zip(self.copies, places, strict=False):
            rows = place.to(images.device)
            theirs = None if key is None else replace(key, indices=key.indices[rows].to(twin.device))
            beside = None if context is None else to(take(context, rows), twin.device)
            answers.append(answered(twin, images[rows].to(twin.device), theirs, beside))
        return join([to(answer, self._first) for answer in answers])

    def identity(self) -> tuple[object, ...]:
        return self.copies[0].identity()

    def check(self, outputs: Any) -> None:
        self.copies[0].check(outputs)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with ExitStack() as held:
            for twin in self.copies:
                held.enter_context(twin.frozen())
            yield
