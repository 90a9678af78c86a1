"""Certified defences against patches: no content of a patch, wherever it is put, changes the class."""

from .certificates import PatchCertificates
from .cleanser import PatchCleanser
from .derandomized import DerandomizedSmoothing
from .masks import covering_masks

__all__ = ["DerandomizedSmoothing", "PatchCertificates", "PatchCleanser", "covering_masks"]
