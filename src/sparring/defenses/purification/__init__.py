"""Stages that clean images before a model sees them, some of them learned."""

from ..fitting import FitConfig
from .autoencoder import DenoisingAutoencoder, fit_denoiser
from .bit_depth import BitDepth
from .defense_gan import DefenseGAN
from .denoiser import Denoiser
from .diffusion import Diffusion, linear_betas
from .feature_denoising import FeatureDenoising
from .generator import VAEGenerator, fit_generator
from .hgd import HGD, UNet, fit_hgd
from .jpeg import JPEGCompression
from .median import Median
from .non_local_means import NonLocalMeans
from .quilting import Quilting, clean_patches
from .table import table
from .total_variation import TotalVariation
from .wavelet import Wavelet
from .weights import load_weights, save_weights

__all__ = [
    "HGD", "BitDepth", "DefenseGAN", "Denoiser", "DenoisingAutoencoder", "Diffusion", "FeatureDenoising",
    "FitConfig", "JPEGCompression", "Median", "NonLocalMeans", "Quilting", "TotalVariation", "UNet", "VAEGenerator",
    "Wavelet",
    "clean_patches", "fit_denoiser", "fit_generator", "fit_hgd", "linear_betas", "load_weights", "save_weights",
    "table",
]  # fmt: skip
