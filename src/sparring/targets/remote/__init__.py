"""Models behind an HTTP server."""

from .address import Address
from .protocols import Fields, OpenInference, Protocol
from .remote import Remote, RemoteLabels

__all__ = ["Address", "Fields", "OpenInference", "Protocol", "Remote", "RemoteLabels"]
