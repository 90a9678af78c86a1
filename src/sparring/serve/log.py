"""The request log of a server: how often each image was asked, and recent answers for repeated requests."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

MOST_IMAGES, MOST_ANSWERS, MOST_BYTES = 1_000_000, 4096, 1 << 26


class QueryLog:
    """A count of images, in which a repeated request does not count again; its memory is bounded."""

    def __init__(self) -> None:
        self.images: Counter[str] = Counter()
        self.requests = self.repeated = self.queries = self.unlisted = 0

    def count(self, digests: Sequence[str]) -> None:
        """Count the images of one request, by their hashes."""
        self.requests += 1
        self.queries += len(digests)
        for digest in digests:
            if digest in self.images or len(self.images) < MOST_IMAGES:
                self.images[digest] += 1
            else:
                self.unlisted += 1

    def stats(self) -> dict[str, Any]:
        """Return totals, and the count of each image by its hash."""
        totals = {"requests": self.requests, "repeated_requests": self.repeated, "queries": self.queries}
        return totals | {"images": dict(self.images), "unlisted": self.unlisted}


class AnswerCache:
    """The latest answers by (id, body): a client that lost one gets it again, to the byte."""

    def __init__(self) -> None:
        self.kept: OrderedDict[bytes, bytes] = OrderedDict()
        self.size = 0

    @staticmethod
    def key(body: bytes | bytearray) -> bytes:
        """Return the key of a request: the hash of its body, which holds its id."""
        return hashlib.sha256(body).digest()

    def find(self, key: bytes) -> bytes | None:
        """Return the answer of that key; None where there is none."""
        return self.kept.get(key)

    def keep(self, key: bytes, answer: bytes) -> None:
        """Keep an answer, and drop the oldest ones beyond the limits."""
        self.kept[key] = answer
        self.size += len(answer)
        while len(self.kept) > MOST_ANSWERS or (self.size > MOST_BYTES and len(self.kept) > 1):
            _, oldest = self.kept.popitem(last=False)
            self.size -= len(oldest)
