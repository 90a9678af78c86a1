"""Models behind an HTTP server."""

from .protocols import Fields, OpenInference, Protocol
from .remote import Remote, RemoteLabels

__all__ = ["Fields", "OpenInference", "Protocol", "Remote", "RemoteLabels"]
