"""An HTTP client for servers that may be slow, down or hostile: deadlines, retries, limits."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from ...errors import ConfigError, LockedOut, TargetError
from ..optional_imports import import_optional

PASSING = frozenset({429, 502, 503, 504})  # what a server answers when it may do better in a moment
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LARGEST = 1 << 25  # bytes of one answer
LONGEST = 60.0  # seconds between two tries, also where the server asks for more


def bare_url(url: str) -> str:
    """The address as it is shown and recorded: without its query, which may hold a key."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


class Reply(NamedTuple):
    """A complete answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Asks one host; TargetError where it does not answer, with the address, what happened and the cure.

    The answer 403 is `LockedOut`: a run ends there with what it has found.

    Args:
        timeout: seconds that one try may take from its first byte to the last of the answer.
        retries: further tries after a lost connection, a time-out or the answers 429, 502, 503 and 504.
        pause: seconds before the first of them, doubled each time; a Retry-After of the server is kept instead.
        headers: sent with every request, as {"Authorization": ...}; never recorded.
    """

    def __init__(self, url: str, timeout: float, retries: int, pause: float, headers: Mapping[str, str]) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ConfigError(f"{url!r} is no address of a model; write http://HOST:PORT/v2/models/NAME")
        if parts.username or parts.password:
            raise ConfigError(f"the address of {parts.hostname} holds a password, which is recorded; use headers=")
        if not timeout > 0 or retries < 0 or pause < 0:
            raise ConfigError(f"timeout={timeout}, retries={retries}, pause={pause}: pass seconds above 0 and counts")
        self.timeout, self.retries, self.pause, self.headers = timeout, retries, pause, dict(headers)
        self._outside = parts.hostname not in LOOPBACK  # no proxy is asked about one's own machine
        self._open: tuple[Any, ThreadPoolExecutor] | None = None
        self._closing: weakref.finalize[Any, Any] | None = None

    def ask(self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of the answer 200; a request that is sent again is the same to the byte."""
        for attempt in range(self.retries + 1):
            wait = min(self.pause * 2**attempt, LONGEST)
            try:
                reply = self._try(url, body, {**self.headers, **(headers or {})})
            except ConnectionError as error:
                message = str(error)
            else:
                if reply.status == 200:
                    return reply.body
                message = f"it answered {reply.status} ({_excerpt(reply.body)})"
                if reply.status == 403:
                    raise LockedOut(f"{bare_url(url)}: {message}; {_cure(reply)}, or come back when it answers again")
                if reply.status not in PASSING:
                    raise TargetError(f"{bare_url(url)}: {message}; {_cure(reply)}")
                wait = _asked_to_wait(bare_url(url), reply.headers.get("retry-after"), wait)
            if attempt < self.retries:
                time.sleep(wait)
        raise TargetError(
            f"{bare_url(url)}: {message}, at the last of {self.retries + 1} tries; see that the server is up, "
            "ask for fewer images at once (per_request=), or raise timeout= and retries="
        )

    def close(self) -> None:
        """Close the connection; the next query opens it again."""
        if self._closing is not None:
            self._closing()
        self._open = self._closing = None

    def _try(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """One try within the deadline, which a server that drips byte after byte cannot stretch."""
        httpx = import_optional("httpx", "a remote target", "remote")
        if self._open is None:
            client = httpx.Client(timeout=self.timeout, follow_redirects=False, trust_env=self._outside)
            threads = ThreadPoolExecutor(1, thread_name_prefix="sparring-link")
            self._open, self._closing = (client, threads), weakref.finalize(self, _hang_up, client, threads)
        client, threads = self._open
        future: Future[Reply] = threads.submit(_exchange, client, url, body, headers)
        try:
            return future.result(self.timeout)
        except TimeoutError as error:
            self.close()
            raise ConnectionError(f"no whole answer came within {self.timeout:g} s") from error
        except BaseException as error:
            self.close()
            if isinstance(error, httpx.HTTPError):
                what = str(error) or type(error).__name__
                raise ConnectionError(f"the connection failed ({what})") from error
            raise


def _hang_up(client: Any, threads: ThreadPoolExecutor) -> None:
    client.close()
    threads.shutdown(wait=False, cancel_futures=True)


def _exchange(client: Any, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
    """Send, and read no more than the limit; what is packed is not unpacked."""
    sent = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
    with client.stream("GET" if body is None else "POST", url, content=body, headers=sent) as response:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise TargetError(f"{bare_url(url)}: the answer is packed, which was not asked for; turn compression off")
        received = bytearray()
        for part in response.iter_raw():
            received += part
            if len(received) > LARGEST:
                raise TargetError(f"{bare_url(url)}: the answer is longer than {LARGEST >> 20} MiB; lower per_request=")
        return Reply(response.status_code, response.headers, bytes(received))


def _asked_to_wait(url: str, asked: str | None, wait: float) -> float:
    """Seconds of a Retry-After, which is a number or a date."""
    if asked is None:
        return wait
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return wait
    if not seconds <= LONGEST:
        raise TargetError(f"{url}: the server asks to wait for {seconds:g} s; start again later, the journal is kept")
    return max(seconds, wait)


def _cure(reply: Reply) -> str:
    if 300 <= reply.status < 400:
        return f"redirects are not followed (to {_plain(reply.headers.get('location', '?'))}); give the final address"
    cures = {
        401: "pass headers={'Authorization': ...}",
        403: "pass headers={'Authorization': ...}",
        404: "see that the name of the model is right",
        413: "ask for fewer images at once (per_request=)",
    }
    return cures.get(reply.status, "the server's log says why")


def _excerpt(body: bytes) -> str:
    return _plain(body[:200].decode("utf-8", "replace").strip()) or "an empty body"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
