"""The table of purification stages, by the name that the command line uses."""

from __future__ import annotations

from ...transforms import Stage
from .bit_depth import BitDepth
from .defense_gan import DefenseGAN
from .denoiser import Denoiser
from .diffusion import Diffusion
from .hgd import HGD
from .jpeg import JPEGCompression
from .median import Median
from .non_local_means import NonLocalMeans
from .quilting import Quilting
from .total_variation import TotalVariation
from .wavelet import Wavelet

table: dict[str, type[Stage]] = {
    "bit-depth": BitDepth,
    "jpeg": JPEGCompression,
    "median": Median,
    "total-variation": TotalVariation,
    "non-local-means": NonLocalMeans,
    "wavelet": Wavelet,
    "quilting": Quilting,
    "denoiser": Denoiser,
    "hgd": HGD,
    "defense-gan": DefenseGAN,
    "diffusion": Diffusion,
}
