"""A server for any target over the Open Inference Protocol v2."""

from .app import ServedModel, make_application

__all__ = ["ServedModel", "make_application"]
