"""The table of objectives, by the name that a plan uses."""

from __future__ import annotations

from .adversarial_elbo import AdversarialELBO
from .consistency import Consistency
from .crown_ibp import CROWNIBP
from .distillation import Distillation
from .ensemble import EnsembleTraining
from .free import Free
from .gaussian import GaussianAugmentation
from .goodfellow import Goodfellow
from .grad_align import GradAlign
from .ibp import IBP
from .madry import Madry, Plain
from .mart import MART
from .mtl_ibp import MTLIBP
from .multi_threat import Average, Maximum
from .objective import Objective
from .occluded import AblatedTraining, MaskedTraining
from .sabr import SABR
from .smooth_adv import SmoothAdv
from .trades import TRADES

table: dict[str, type[Objective]] = {
    "plain": Plain,
    "goodfellow": Goodfellow,
    "madry": Madry,
    "free": Free,
    "grad-align": GradAlign,
    "trades": TRADES,
    "mart": MART,
    "avg": Average,
    "max": Maximum,
    "ensemble": EnsembleTraining,
    "distillation": Distillation,
    "gaussian": GaussianAugmentation,
    "smoothadv": SmoothAdv,
    "consistency": Consistency,
    "ablated": AblatedTraining,
    "masked": MaskedTraining,
    "adv-bnn": AdversarialELBO,
    "ibp": IBP,
    "crown-ibp": CROWNIBP,
    "sabr": SABR,
    "mtl-ibp": MTLIBP,
}
