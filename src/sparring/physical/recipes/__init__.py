"""Physical attacks of the literature, each as a plan over attacks, targets and chains that serve everything else too.

eot_image   a picture that is wrong through a camera (Athalye et al. 2018)
rp2         stickers on a sign (Eykholt et al. 2018)
advhat      a sticker on the forehead (Komkov & Petiushko 2019)
glasses     the frame of glasses (Sharif et al. 2016)
"""

from .advhat import advhat, advhat_chain, as_deployed
from .eot_image import eot_image
from .fit_artifact import FittedArtifact, fit_artifact
from .glasses import glasses, glasses_chain, glasses_mask
from .rp2 import find_hot_mask, rp2
from .signs import sign_scenes, stop_sign

__all__ = [
    "FittedArtifact", "advhat", "advhat_chain", "as_deployed", "eot_image", "find_hot_mask", "fit_artifact", "glasses",
    "glasses_chain", "glasses_mask", "rp2", "sign_scenes", "stop_sign",
]  # fmt: skip
