"""The command line `sparring`, which alone turns strings into objects; commands import packages when run."""

from .app import app, main

__all__ = ["app", "main"]
