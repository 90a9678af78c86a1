"""A model of ours behind the Open Inference Protocol v2: for tests, for rehearsals, for another machine."""

from .app import ServedModel, make_application

__all__ = ["ServedModel", "make_application"]
