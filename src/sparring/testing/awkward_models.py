"""Models as people bring them, and what becomes of each: it is attacked as it is, or refused in one line.

`awkward_models()` is the table; `check_awkward_models(attack)` runs an attack over it. Each row is a classifier of four
classes of 3x8x8 images; those that work are attacked like the plain network that they are made of.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..access import Attack, Gradients
from ..engine import run
from ..errors import AccessError, OutOfMemoryError, SparringError, TargetError, UserCodeError
from ..goals import Misclassify
from ..targets import Classifier
from .attack_laws import require
from .cases import small_net

COUNT = 6


@dataclass(frozen=True)
class AwkwardModel:
    """A row of the table.

    Args:
        name: what is awkward about it.
        make: makes the module or function anew.
        refused: the error that refuses it before the first step of an attack; None: it works.
        words: what the error's message holds.
        gradients: has it gradients? Where not, attacks that need some are refused by an `AccessError`.
        images: (N, 3, 8, 8), some of them in another memory format.
        labels: (N,) int64, the classes that the model gives the images.
    """

    name: str
    make: Callable[[], Callable[..., Any]]
    refused: type[SparringError] | None
    words: str
    gradients: bool
    images: Tensor
    labels: Tensor

    @property
    def target(self) -> Classifier:
        """The model as a target, made anew; what making it prints or sets is its own."""
        return Classifier(self.make(), name=self.name)

    @property
    def goal(self) -> Misclassify:
        """The goal that no image meets at first."""
        return Misclassify(self.labels)


def network() -> nn.Module:
    """Return the network that all rows are made of, in float32."""
    return small_net(COUNT).module.float().eval()


class Around(nn.Module):
    """The network with something done before it and after it."""

    def __init__(
        self, before: Callable[[Tensor], Any] | None = None, after: Callable[[Tensor], Any] | None = None
    ) -> None:
        super().__init__()
        self.net, self.before, self.after = network(), before, after

    def forward(self, x: Tensor) -> Any:
        if self.before is not None:
            changed = self.before(x)
            x = x if changed is None else changed
        logits = self.net(x)
        return logits if self.after is None else self.after(logits)


class Checkpointed(nn.Module):
    """Layers with reentrant checkpoints, which refuse gradients with respect to inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net.children():
            x = checkpoint(layer, x, use_reentrant=True)
        return x


class TrainReturnsNothing(Around):
    """`train` of its own, which returns nothing, and so does `eval()`."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


class CountsCalls(Around):
    """A buffer that each call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return super().forward(x)


class Views(nn.Module):
    """A view that only images in the usual memory format have."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Any:
        return self.net(x.view(len(x), -1).view(x.shape))


@dataclass
class Output:
    """Outputs as Hugging Face returns them."""

    logits: Tensor
    loss: Tensor | None = None


class Stop(BaseException):
    """An error that `except Exception` lets pass."""


def _raise(error: BaseException) -> Callable[[Tensor], Any]:
    def before(x: Tensor) -> None:
        raise error

    return before


def _exported(dynamic: bool) -> Callable[..., Any]:
    shapes = ({0: torch.export.Dim("batch", min=1, max=512)},) if dynamic else None
    return torch.export.export(network(), (torch.zeros(4, 3, 8, 8),), dynamic_shapes=shapes).module()


def _under_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return copy.deepcopy(network())


def _with_unused_classes(logits: Tensor) -> Tensor:
    """Two more classes that it never answers, masked as subsets of ImageNet are."""
    return torch.cat((logits, torch.full_like(logits[:, :2], -torch.inf)), dim=1)


def _change_data(x: Tensor) -> None:
    """A change that the version counter of torch does not see."""
    x.data.mul_(0.5)
    x.data.mul_(2)


def _without_gradient(x: Tensor) -> None:
    torch.set_grad_enabled(False)


def _no_grad_inside() -> nn.Module:
    net = Around()
    net.forward = torch.no_grad()(net.forward)  # type: ignore[method-assign]
    return net


def _lazy() -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))


def _scripted(frozen: bool) -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        script = torch.jit.script(network())
        return torch.jit.freeze(script) if frozen else script


def _default_dtype(logits: Tensor) -> Tensor:
    """A default dtype that a forward pass leaves behind."""
    torch.set_default_dtype(torch.float64)
    return logits


def _bright_is_nan(logits: Tensor) -> Tensor:
    """No number where the first logit is high, which no clean image is."""
    return torch.where(logits[:, :1] > logits[:, 1:].amax(1, keepdim=True), torch.nan, logits)


WORKS: dict[str, Callable[[], Callable[..., Any]]] = {
    "float64 weights": lambda: network().double(),
    "bfloat16 weights": lambda: network().bfloat16(),
    "half weights": lambda: network().half(),
    "float64 logits": lambda: Around(after=Tensor.double),
    "bfloat16 logits": lambda: Around(after=Tensor.bfloat16),
    "exported": lambda: _exported(dynamic=True),
    "scripted": lambda: _scripted(frozen=False),
    "frozen TorchScript": lambda: _scripted(frozen=True),
    "compiled": lambda: torch.compile(network(), backend="aot_eager", dynamic=True),
    "reentrant checkpoints": Checkpointed,
    "weights of inference mode": _under_inference_mode,
    "train() returns nothing": TrainReturnsNothing,
    "in training mode": lambda: nn.Sequential(network(), nn.Dropout(0.5)).train(),
    "changes its input": lambda: Around(before=lambda x: x.mul_(1)),
    "changes its input's data": lambda: Around(before=_change_data),
    "counts its calls": CountsCalls,
    "views of contiguous memory": Views,
    "dict": lambda: Around(after=lambda logits: {"logits": logits, "loss": None}),
    "dataclass": lambda: Around(after=Output),
    "logits of shape (N, K, 1, 1)": lambda: Around(after=lambda logits: logits[:, :, None, None]),
    "classes of minus infinity": lambda: Around(after=_with_unused_classes),
    "NaN beyond a boundary": lambda: Around(after=_bright_is_nan),
    "sets the default dtype": lambda: Around(after=_default_dtype),
    "a function": lambda: Around().forward,
}
NO_GRADIENT: dict[str, Callable[[], Callable[..., Any]]] = {
    "no_grad inside": _no_grad_inside,
    "switches gradients off": lambda: Around(before=_without_gradient),
    "logits of numpy": lambda: Around(after=lambda logits: torch.from_numpy(logits.detach().numpy())),
}
REFUSED: dict[str, tuple[Callable[[], Callable[..., Any]], type[SparringError], str]] = {
    "tuple": (lambda: Around(after=lambda logits: (logits, None)), TargetError, "returned a tuple"),
    "dict without logits": (lambda: Around(after=lambda logits: {"scores": logits}), TargetError, "returned a dict"),
    "nothing": (lambda: Around(after=lambda logits: None), TargetError, "returned a NoneType"),
    "integers": (lambda: Around(after=Tensor.long), TargetError, "returned torch.int64; logits are real"),
    "bool": (lambda: Around(after=lambda logits: logits > 0), TargetError, "returned torch.bool"),
    "complex": (lambda: Around(after=lambda logits: logits + 1j), TargetError, "returned torch.complex64"),
    "probabilities": (lambda: Around(after=lambda logits: logits.softmax(1)), TargetError, "returns probabilities"),
    "probabilities in bfloat16": (
        lambda: Around(after=lambda logits: logits.softmax(1).bfloat16()), TargetError, "returns probabilities"
    ),
    "one logit": (lambda: Around(after=lambda logits: logits[:, :1]), TargetError, "pass binary=True"),
    "one number": (lambda: Around(after=lambda logits: logits[:, 0]), TargetError, "pass binary=True"),
    "no classes": (lambda: Around(after=lambda logits: logits[:, :0]), TargetError, "0 classes"),
    "maps of logits": (
        lambda: Around(after=lambda logits: logits[:, :, None, None].expand(-1, -1, 2, 2)), TargetError, "logits are"
    ),
    "fewer rows": (lambda: Around(after=lambda logits: logits[:1]), TargetError, "logits are (images, classes)"),
    "NaN everywhere": (lambda: Around(after=lambda logits: logits * torch.nan), TargetError, "no finite logit"),
    "lazy layers": (_lazy, TargetError, "a lazy layer that has seen no input"),
    "meta device": (lambda: network().to("meta"), TargetError, "on the meta device"),
    "other channels": (lambda: Around(before=lambda x: x[:, :1]), TargetError, "cannot take images of shape (3, 8, 8)"),
    "fixed batch size": (lambda: _exported(dynamic=False), UserCodeError, "(given 6 of them, in torch.float32)"),
    "raises": (lambda: Around(before=_raise(KeyError("mine"))), UserCodeError, "raised KeyError: 'mine'"),
    "calls sys.exit": (lambda: Around(before=_raise(SystemExit(0))), UserCodeError, "called sys.exit(0)"),
    "stops": (lambda: Around(before=_raise(Stop("now"))), UserCodeError, "raised Stop: now"),
    "out of memory": (
        lambda: Around(before=_raise(torch.OutOfMemoryError("CUDA out of memory"))), OutOfMemoryError, "memory ran out"
    ),
    "out of memory on a CPU": (
        lambda: Around(before=_raise(RuntimeError("DefaultCPUAllocator: can't allocate memory"))),
        OutOfMemoryError,
        "memory ran out",
    ),
}  # fmt: skip


def awkward_models() -> tuple[AwkwardModel, ...]:
    """Return the table: each row a model of four classes with images, and what becomes of it."""
    case = small_net(COUNT)
    images, labels = case.images.float(), case.labels
    strided = images.to(memory_format=torch.channels_last)
    works = [AwkwardModel(name, make, None, "", True, images, labels) for name, make in WORKS.items()]
    blind = [AwkwardModel(name, make, None, "", False, images, labels) for name, make in NO_GRADIENT.items()]
    refused = [
        AwkwardModel(name, make, error, words, True, images, labels) for name, (make, error, words) in REFUSED.items()
    ]
    rows = (*works, *blind, *refused)
    return tuple(
        AwkwardModel(**vars(row) | {"images": strided}) if row.name == "views of contiguous memory" else row
        for row in rows
    )


def check_awkward_models(attack: Attack[Any, Any]) -> None:
    """Run the attack over the table; AssertionError names the row that is not as the table says.

    A model that works gives an outcome whose successes the plain network confirms, and is left as it was. One without
    gradients works too, or is refused by an `AccessError` where the attack needs gradients.
    """
    for row in awkward_models():
        check_awkward_model(attack, row)


def check_awkward_model(attack: Attack[Any, Any], row: AwkwardModel) -> None:
    """Run the attack on one row of the table; AssertionError where it is not as the table says."""
    blind = not row.gradients and issubclass(attack.access, Gradients)
    expected = AccessError if blind else row.refused
    target = row.target
    try:
        outcome = run(attack, target, row.goal, row.images)
    except SparringError as error:
        require(expected is not None, f"{row.name}: {attack.name} was refused: {type(error).__name__}: {error}")
        assert expected is not None
        told = isinstance(error, expected) and row.words in str(error) and "\n" not in str(error)
        require(told, f"{row.name}: {attack.name} ended with {type(error).__name__}: {error}")
        return
    except BaseException as error:
        raise AssertionError(f"{row.name}: {attack.name} ended with a raw {type(error).__name__}: {error}") from error
    require(expected is None, f"{row.name}: {attack.name} was not refused")
    require(outcome.examples.dtype == row.images.dtype, f"{row.name}: {attack.name} changed the dtype of the images")
    measured = _answers(row, target, outcome.examples)
    require(
        torch.equal(measured[outcome.success], torch.ones_like(measured[outcome.success])),
        f"{row.name}: a success of {attack.name} is none",
    )


def _answers(row: AwkwardModel, target: Classifier, images: Tensor) -> Tensor:
    """(N,) bool: is the class another than the label?"""
    with torch.no_grad(), target.frozen():
        return target(images).nan_to_num(nan=-torch.inf).argmax(1) != row.labels
