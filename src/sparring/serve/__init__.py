"""A model of ours behind the Open Inference Protocol v2: for tests, for rehearsals, for another machine."""

from .app import Served, application

__all__ = ["Served", "application"]
