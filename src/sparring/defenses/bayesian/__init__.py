"""Bayesian defences: networks with random weights (Adv-BNN), and classification by generators (ABS)."""

from .abs import ABS
from .class_vae import ClassLinear, ClassVAE, fit_class_vae
from .latent_descent import LatentDescent
from .variational import BayesianLayer, kl_divergence, make_bayesian

__all__ = [
    "ABS",
    "BayesianLayer",
    "ClassLinear",
    "ClassVAE",
    "LatentDescent",
    "fit_class_vae",
    "kl_divergence",
    "make_bayesian",
]
