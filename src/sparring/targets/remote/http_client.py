"""An HTTP client for servers that may be slow, down or hostile: deadlines, retries, limits."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from numbers import Real
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ...errors import ConfigError, LockedOut, TargetError
from ..optional_imports import import_optional
from .address import EXAMPLE, Address, bare_url, plain

PASSING = frozenset({429, 502, 503, 504})  # what a server answers when it may do better in a moment
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LARGEST = 1 << 25  # bytes of one answer
LONGEST = 60.0  # seconds between two tries, also where the server asks for more
LONGEST_TIMEOUT, MOST_RETRIES = 86_400.0, 1000
BROKEN_OFF = ("disconnected", "closed")  # h11's words for a connection that ended; what else it says is of no HTTP


class Reply(NamedTuple):
    """A complete answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Asks one host; TargetError where it does not answer, with the address, what happened and the cure.

    The answer 403 is `LockedOut`: a run ends there with what it has found. Where nobody has answered yet, a connection
    that is refused is told at once.

    Args:
        timeout: seconds that one try may take from its first byte to the last of the answer.
        retries: further tries after a lost connection, a time-out or the answers 429, 502, 503 and 504.
        pause: seconds before the first of them, doubled each time; a Retry-After of the server is kept instead.
        headers: sent with every request, as {"Authorization": ...}; never recorded.
    """

    def __init__(
        self, address: Address, timeout: float, retries: int, pause: float, headers: Mapping[str, str]
    ) -> None:
        check_number("timeout", timeout, 0 < as_number(timeout) <= LONGEST_TIMEOUT, "seconds above 0, at most a day")
        check_number("retries", retries, type(retries) is int and 0 <= retries <= MOST_RETRIES, "a count from 0 on")
        check_number("pause", pause, 0 <= as_number(pause) <= LONGEST, f"seconds from 0 to {LONGEST:g}")
        check_headers(headers)
        self.address = address
        self.timeout, self.retries, self.pause, self.headers = timeout, retries, pause, dict(headers)
        self._outside = urlsplit(address.url).hostname not in LOOPBACK  # no proxy is asked about one's own machine
        self._answered = False
        self._open: tuple[Any, ThreadPoolExecutor] | None = None
        self._closing: weakref.finalize[Any, Any] | None = None

    def ask(self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of the answer 200; a request that is sent again is the same to the byte."""
        for attempt in range(self.retries + 1):
            wait = min(self.pause * 2.0 ** min(attempt, 60), LONGEST)
            try:
                reply = self._try(url, body, {**self.headers, **(headers or {})})
            except ConnectionRefusedError as error:
                message = str(error)
                if not self._answered:
                    raise TargetError(f"{bare_url(url)}: {message}; see that the server is up there") from error
            except ConnectionError as error:
                message = str(error)
            else:
                self._answered = True
                if reply.status == 200:
                    return reply.body
                message = f"it answered {reply.status} ({_body_excerpt(reply.body)})"
                if reply.status == 403:
                    cure = f"{self._cure(reply)}, or come back when it answers again"
                    raise LockedOut(f"{bare_url(url)}: {message}; {cure}")
                if reply.status not in PASSING:
                    raise TargetError(f"{bare_url(url)}: {message}; {self._cure(reply)}")
                wait = self._asked_to_wait(bare_url(url), reply.headers.get("retry-after"), wait)
            if attempt < self.retries:
                time.sleep(wait)
        fewer = self.address.option("per_request=", "per_request=1")
        patience = self.address.option("timeout= and retries=", "timeout=120&retries=20")
        raise TargetError(
            f"{bare_url(url)}: {message}, at the last of {self.retries + 1} tries; see that the server is up, "
            f"ask for fewer images at once ({fewer}), or raise {patience}"
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
        future: Future[Reply] = threads.submit(_exchange, client, url, body, headers, self.address)
        try:
            return future.result(self.timeout)
        except TimeoutError as error:
            self.close()
            raise ConnectionError(f"no whole answer came within {self.timeout:g} s") from error
        except BaseException as error:
            self.close()
            what = plain(error) or type(error).__name__
            if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
                raise ConfigError(f"{bare_url(url)} is no address of a model ({what}); {EXAMPLE}") from error
            if isinstance(error, httpx.RemoteProtocolError) and not any(word in what for word in BROKEN_OFF):
                raise TargetError(f"{bare_url(url)}: what it answered is no HTTP ({what}); {EXAMPLE}") from error
            if isinstance(error, httpx.ConnectError):
                raise ConnectionRefusedError(f"the connection failed ({what})") from error
            if isinstance(error, httpx.HTTPError):
                raise ConnectionError(f"the connection failed ({what})") from error
            raise

    def _cure(self, reply: Reply) -> str:
        if 300 <= reply.status < 400:
            target = plain(reply.headers.get("location", "?"))
            return f"redirects are not followed (to {target}); give the final address"
        key = "pass " + self.address.option("headers={'Authorization': ...}", "authorization=VARIABLE")
        fewer = self.address.option("per_request=", "per_request=1")
        cures = {
            401: key,
            403: key,
            404: "see that the name of the model is right",
            413: f"ask for fewer images at once ({fewer})",
        }
        return cures.get(reply.status, "the server's log says why")

    def _asked_to_wait(self, url: str, asked: str | None, wait: float) -> float:
        """Seconds of a Retry-After, a number or a date; what is neither, or lies in the past, changes nothing."""
        if asked is None:
            return wait
        try:
            seconds = float(asked)
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError, OverflowError):
                return wait
        if seconds > LONGEST:
            kept = self.address.option("journal=FILE", "journal=FILE")
            raise TargetError(
                f"{url}: the server asks to wait for {seconds:g} s; start again later (with {kept} no answer is asked "
                "for twice)"
            )
        return max(seconds, wait) if seconds == seconds else wait


def as_number(value: object) -> float:
    """Return a real number as it is, and NaN for anything else."""
    return float(value) if isinstance(value, Real) else float("nan")


def check_number(name: str, value: object, fits: bool, wanted: str) -> None:
    """Raise ConfigError where the number does not fit."""
    if not fits:
        raise ConfigError(f"{name}={value!r:.80}: pass {wanted}")


def check_headers(headers: object) -> None:
    """Raise ConfigError for headers that cannot be sent, without showing their values."""
    if not isinstance(headers, Mapping):
        raise ConfigError(f"headers={type(headers).__name__}: pass a dict, as headers={{'Authorization': ...}}")
    for name, value in headers.items():
        sendable = all(isinstance(one, str) and one.isascii() and one.isprintable() for one in (name, value))
        if not sendable or not name or " " in name:
            raise ConfigError(f"headers: {name!r:.80} cannot be sent; names and values are ASCII text of one line")


def _hang_up(client: Any, threads: ThreadPoolExecutor) -> None:
    client.close()
    threads.shutdown(wait=False, cancel_futures=True)


def _exchange(client: Any, url: str, body: bytes | None, headers: Mapping[str, str], address: Address) -> Reply:
    """Send, and read no more than the limit; what is packed is not unpacked."""
    sent = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
    with client.stream("GET" if body is None else "POST", url, content=body, headers=sent) as response:
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            raise TargetError(f"{bare_url(url)}: the answer is packed, which was not asked for; turn compression off")
        received = bytearray()
        for part in response.iter_raw():
            received += part
            if len(received) > LARGEST:
                fewer = address.option("per_request=", "per_request=1")
                raise TargetError(f"{bare_url(url)}: the answer is longer than {LARGEST >> 20} MiB; lower {fewer}")
        return Reply(response.status_code, response.headers, bytes(received))


def _body_excerpt(body: bytes) -> str:
    return plain(body[:400].decode("utf-8", "replace").strip()) or "an empty body"
