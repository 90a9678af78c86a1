"""A server for any target over the Open Inference Protocol v2."""

from .app import Limits, ServedModel, make_application

__all__ = ["Limits", "ServedModel", "make_application"]
