"""The connections of a server: a deadline for each request, and room for a new one when all places are taken.

uvicorn closes a connection that is idle after an answer. One that never sends a whole head it would hold for ever, and
128 of those would lock everyone out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from a connection, or the first byte after an answer, to the whole head of a request
MOST_CONNECTIONS = 128


class BoundedConnection(H11Protocol):
    """A connection that is closed where a head takes too long, or where it sends while others wait for a place."""

    head_seconds, most = HEAD_SECONDS, MOST_CONNECTIONS
    since = 0.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Make room where all places are taken: the oldest connection that has not sent a whole request goes."""
        if len(self.connections) >= self.most - 1:
            sending = [one for one in self.connections if isinstance(one, BoundedConnection) and one.is_sending]
            if sending:
                oldest = min(sending, key=lambda one: one.since)
                self.connections.discard(oldest)
                oldest.transport.abort()
        super().connection_made(transport)
        self.since = self.loop.time()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what arrived, and start or stop the clock."""
        if not self.is_sending:
            self.since = self.loop.time()
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        super().connection_lost(exc)

    @property
    def awaits_head(self) -> bool:
        """Tell whether no request has begun whose answer is still to come."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_sending(self) -> bool:
        """Tell whether the client has not sent a whole request yet."""
        return self.awaits_head or self.cycle.more_body

    def _watch(self) -> None:
        if not self.awaits_head:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
