"""What two peers need in order to be imported without CUDA; no attack measured here uses any of it.

torchattacks and adv-lib import torchvision, whose wheel registers its operators from a library linked to
CUDA. Declaring the operators that its Python files refer to lets `import torchvision` finish. adv-lib also
imports visdom (a plotting server) for an optional logger.
"""

import sys
import types
from importlib.util import find_spec

import torch

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a library's declarations live as long as the object


def install() -> None:
    """Declare torchvision's operators (CPU builds of torch only); stand in for visdom where it is missing."""
    if torch.version.cuda is None and not _declared:
        library = torch.library.Library("torchvision", "DEF")
        for operator in _OPERATORS:
            library.define(operator + _SIGNATURE)
        _declared.append(library)
    if "visdom" not in sys.modules and find_spec("visdom") is None:
        sys.modules["visdom"] = types.ModuleType("visdom")
