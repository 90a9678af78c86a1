"""The shapes of the tensors that public functions take and return, by the names of jaxtyping.

B inputs (`batch`) share a shape (`*shape`: channels, rows and columns of images; anything else), and B may be 0. Float
is any floating-point dtype: float32 and float64 for inputs, 16 bits too where a model answers in them. Within one
signature a name has one size: `(delta: FloatBatch) -> FloatPerRow` returns one number for each row of `delta`. `#`
marks an axis that may have length 1 instead, and broadcasts.

For a type checker each of them is a Tensor. The tests have them checked at run time (tests/plugins/shape_checks.py);
the library itself never does.
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int, Integer, Shaped
from torch import Tensor

FloatBatch = Float[Tensor, "batch *shape"]  # inputs, perturbations, gradients: a value for each component
BoolBatch = Bool[Tensor, "batch *shape"]  # masks: of each component
AnyBatch = Shaped[Tensor, "batch *shape"]  # of any dtype
FloatRows = Float[Tensor, "rows *shape"]  # what is asked of a batch: some rows, each any number of times
FloatStack = Float[Tensor, "batch many *shape"]  # several inputs, or several gradients, for each row
BroadcastFloat = Float[Tensor, "#batch *#shape"]  # bounds: like a batch, with axes of length 1 that broadcast

FloatPerRow = Float[Tensor, "batch"]  # norms, radii, losses, margins
BoolPerRow = Bool[Tensor, "batch"]
PerRow = Shaped[Tensor, "batch"]  # of any dtype
IntPerRow = Integer[Tensor, "batch"]  # classes, indices in the data set, places
IntRows = Integer[Tensor, "rows"]  # indices of rows, with repetition where one has several images
RowSelection = IntRows | BoolPerRow | slice  # rows to keep: their indices, a mask, a slice

FloatSites = Float[Tensor, "batch sites"]  # a value for each site: component, pixel or point
BoolSites = Bool[Tensor, "batch sites"]
IntSites = Integer[Tensor, "batch sites"]
FloatPerPart = Float[Tensor, "batch parts"]
Sites = Shaped[Tensor, "batch sites"]
Channels = Shaped[Tensor, "batch sites channels"]  # the components of each site

Logits = Float[Tensor, "batch classes"]
FloatPerWay = Float[Tensor, "batch many"]  # several values for each row: a margin or a norm for each way to win
IntPerWay = Int[Tensor, "batch many"]
