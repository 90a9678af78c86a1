"""Numbers as people pass them: those of numpy and tensors without axes are numbers too."""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np
from torch import Tensor


def plain_number(given: Any) -> Any:
    """Return a number of Python for one of numpy, or for a tensor or an array without axes; all else as it is."""
    single = isinstance(given, Tensor | np.ndarray) and given.ndim == 0
    return given.item() if single or (isinstance(given, np.generic) and isinstance(given, Number)) else given
