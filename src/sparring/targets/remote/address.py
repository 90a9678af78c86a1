"""The address of a remote model, and how its options are written where the user named it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from ...errors import ConfigError

EXAMPLE = "write http://HOST:PORT/v2/models/NAME"


def bare_url(url: str) -> str:
    """The address as it is shown and recorded: without its query, which may hold a key."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


@dataclass(frozen=True)
class Address:
    """A model's URL; `options` is what was typed behind its `#`, None where the model is made in Python."""

    url: str
    options: str | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except (ValueError, TypeError, AttributeError):
            known = False
        if not known or re.search(r"[\x00-\x20\x7f]", self.url):
            raise ConfigError(f"{self.url!r:.200} is no address of a model; {EXAMPLE}")
        if parts.username or parts.password:
            cure = self.option("headers={'Authorization': ...}", "authorization=VARIABLE")
            raise ConfigError(f"the address of {parts.hostname} holds a password, which is recorded; use {cure}")

    def __str__(self) -> str:
        return bare_url(self.url)

    def option(self, argument: str, typed: str) -> str:
        """Return how to set an option: as an `argument` in Python, or `typed` behind the `#` of the address."""
        if self.options is None:
            return argument
        names = {pair.partition("=")[0] for pair in typed.split("&")}
        kept = [pair for pair in self.options.split("&") if pair and pair.partition("=")[0] not in names]
        parts = urlsplit(self.url)
        shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
        return f"{shown}#{'&'.join([*kept, typed])}"


def plain(text: object, most: int = 200) -> str:
    """Return what a server said on one line, no longer than `most` characters."""
    shown = "".join(c if c.isprintable() else " " for c in str(text)[: most + 1])
    return shown if len(shown) <= most else shown[:most] + "..."
