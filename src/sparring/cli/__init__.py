"""`sparring ...`: the only place where strings become objects. Rooms are imported inside the commands."""

from .app import app, main

__all__ = ["app", "main"]
