"""What images pass through before a model sees them, and what learns to take an attack out of them."""

from .autoencoder import DenoisingAutoencoder, fit_denoiser
from .bit_depth import BitDepth
from .defense_gan import DefenseGAN
from .denoiser import Denoiser
from .diffusion import Diffusion, linear_betas
from .feature_denoising import FeatureDenoising
from .generator import Generator, fit_generator
from .hgd import HGD, UNet, fit_hgd
from .jpeg import JPEG
from .learning import Schedule
from .median import Median
from .non_local_means import NonLocalMeans
from .quilting import Quilting, clean_patches
from .table import table
from .total_variation import TotalVariation
from .wavelet import Wavelet
from .weights import load_weights, save_weights

__all__ = [
    "HGD", "JPEG", "BitDepth", "DefenseGAN", "Denoiser", "DenoisingAutoencoder", "Diffusion", "FeatureDenoising",
    "Generator", "Median", "NonLocalMeans", "Quilting", "Schedule", "TotalVariation", "UNet", "Wavelet",
    "clean_patches", "fit_denoiser", "fit_generator", "fit_hgd", "linear_betas", "load_weights", "save_weights",
    "table",
]  # fmt: skip
