"""Certified defences against patches: no content of a patch, wherever it is put, changes the class."""

from .ablation import Ablation
from .certificates import PatchCertificates, check_patch
from .cleanser import PatchCleanser
from .derandomized import DerandomizedSmoothing
from .masks import covering_masks

__all__ = ["Ablation", "DerandomizedSmoothing", "PatchCertificates", "PatchCleanser", "check_patch", "covering_masks"]
