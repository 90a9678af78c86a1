"""The routes of `sparring serve`.

    GET  /v2/health/live, /v2/health/ready      GET  /v2                       POST /v2/models/NAME/infer
    GET  /v2/models/NAME[/versions/1][/ready]   GET  /v2/models/NAME/stats

One question is answered at a time, in a thread beside the one that receives them. A request with an id that is sent
again, to the byte, is answered from memory and not counted again: its answer was lost on the way, or its client was
killed before it could write it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..access import Scores
from ..batching import map_batches
from ..errors import LockedOut, SparringError, UserCodeError
from ..hashing import image_sha256
from ..targets import Target
from ..targets.optional_imports import import_optional
from .log import AnswerCache, QueryLog
from .tensors import check_range, encode_answer, read_request

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
DIGITS = 18  # of a Content-Length
INPUT, OUTPUT, VERSION, PASS = "images", "scores", "1", 64  # the tensors' names; images per pass of the model
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """A target under a name, with its metadata.

    Args:
        target: what answers; images (B, C, H, W) in [0, 1] become scores (B, classes), or where it grants no
            scores labels (B, 1).
        name: as in /v2/models/NAME.
        shape: (C, H, W) of an image, -1 where any size goes.
        classes: -1 where the target does not say.
    """

    target: Target[Any]
    name: str
    shape: tuple[int, int, int] = (-1, -1, -1)
    classes: int = -1

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": "sparring",
            "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *self.shape]}],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, self.classes if self.scores else 1]}],
            "parameters": {"scores": "logits"} if self.scores else {"scores": "labels", "classes": self.classes},
        }

    @property
    def scores(self) -> bool:
        """Tell whether it gives scores, and not the label alone."""
        return issubclass(self.target.access, Scores)

    def answer(self, images: Tensor) -> Tensor:
        """Return scores (B, classes) or labels (B, 1), float32; TargetError where the target cannot take the images."""
        outputs = map_batches(lambda part: self.target(part.to(self.target.device)), images, batch_size=PASS)
        outputs = outputs.float().cpu()
        return outputs if self.scores else outputs.argmax(1, keepdim=True).float()


@dataclass(frozen=True)
class Limits:
    """What a client may send.

    Args:
        body: bytes of one request.
        held: bytes of all requests that are being received, waiting or answered.
        body_seconds: from the head of a request to the last byte of its body.
    """

    body: int = 1 << 26
    held: int = 1 << 28
    body_seconds: float = 60.0


class InferenceService:
    """The state of one server."""

    def __init__(self, served: ServedModel, limits: Limits) -> None:
        from starlette.responses import JSONResponse, Response

        self.served, self.limits, self.log, self.answers = served, limits, QueryLog(), AnswerCache()
        self.lock = asyncio.Lock()
        self.held = 0  # bytes of all bodies that are being received, waiting or answered
        self.json, self.response = JSONResponse, Response

    async def ready(self, request: Request) -> Response:
        """Answer that the server is ready."""
        return self.json({"ready": True})

    async def server(self, request: Request) -> Response:
        """Answer with the server's metadata."""
        return self.json({"name": "sparring", "version": "1", "extensions": ["binary_tensor_data"]})

    async def model(self, request: Request) -> Response:
        """Answer with the model's metadata."""
        return self.json(self.served.metadata)

    async def stats(self, request: Request) -> Response:
        """Answer with how often each image was asked about."""
        stats = {"name": self.served.name, **self.log.stats()}
        return await asyncio.to_thread(self.json, stats)

    async def infer(self, request: Request) -> Response:
        """Answer an inference request; one that is sent again is answered from memory."""
        from starlette.requests import ClientDisconnect

        body = bytearray()
        try:
            refusal = await self._receive(request, body)
            return await self._answer(request, body) if refusal is None else refusal
        except ClientDisconnect:
            return self.response(status_code=400)  # which nobody reads
        finally:
            self.held -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> Response | None:
        """Receive the body, or return why it is refused: longer than the limit, too slow, or no memory for it."""
        limits, length = self.limits, request.headers.get("content-length", "0")
        too_long = self.json({"error": f"the body is longer than {limits.body} bytes; send fewer images"}, 413)
        if not length.isdecimal() or len(length) > DIGITS or int(length) > limits.body:
            return too_long
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for part in request.stream():
                    body += part
                    self.held += len(part)
                    if len(body) > limits.body:
                        return too_long
                    if self.held > limits.held:
                        busy = f"the requests that wait hold {limits.held} bytes, the most there may be; ask again"
                        return self.json({"error": busy}, 503, {"Retry-After": "1", "Connection": "close"})
        except TimeoutError:
            late = f"the body did not arrive within {limits.body_seconds:g} s; send fewer images"
            return self.json({"error": late}, 408, {"Connection": "close"})
        return None

    async def _answer(self, request: Request, body: bytearray) -> Response:
        head = request.headers.get("inference-header-content-length")
        async with self.lock:  # one after the other, so that a request that comes twice finds the first one's answer
            try:
                answer, images = await asyncio.to_thread(self._work, body, head)
            except LockedOut as error:
                return self.json({"error": str(error)}, 403)
            except UserCodeError as error:
                return self.failed(error.__cause__ or error)
            except SparringError as error:
                return self.json({"error": str(error)}, 400)
            except Exception as error:
                return self.failed(error)
            if images is None:
                self.log.repeated += 1
            else:
                self.log.count(images)
        return self.response(answer, media_type="application/json")

    def failed(self, error: BaseException) -> Response:
        """Answer 500 where the model raised an error, and log the traceback."""
        logger.error("the model failed", exc_info=error)
        return self.json({"error": f"the model failed: {type(error).__name__}"}, 500)

    def _work(self, body: bytearray, head: str | None) -> tuple[bytes, list[str] | None]:
        """The answer, and the hash of each image; None for the hashes where the answer was in memory.

        It runs in a thread of its own, so that the server answers others meanwhile.
        """
        key = self.answers.key(body)
        answer = self.answers.find(key)
        if answer is not None:
            return answer, None
        infer_request = read_request(body, head, (-1, *self.served.shape))
        check_range(infer_request.images, self.served.target.inputs)
        answer = encode_answer(self.served.name, infer_request, OUTPUT, self.served.answer(infer_request.images))
        if infer_request.id:
            self.answers.keep(key, answer)
        return answer, [image_sha256(image) for image in infer_request.images]


def make_application(served: ServedModel, *, limits: Limits | None = None, loopback: bool = True) -> Starlette:
    """Return the server's routes as an ASGI application, whose `state.log` is the `QueryLog`.

    With `loopback` a request that names another host (a web page that had its name point here) is refused.
    """
    import_optional("starlette", "serving a model", "serve")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    service, place = InferenceService(served, limits or Limits()), f"/v2/models/{served.name}"
    gets: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/v2/health/live": service.ready,
        "/v2/health/ready": service.ready,
        "/v2": service.server,
        f"{place}/stats": service.stats,
    }
    places = (place, f"{place}/versions/{VERSION}")
    gets |= dict.fromkeys(places, service.model) | {f"{where}/ready": service.ready for where in places}

    @contextlib.asynccontextmanager
    async def held(_: Starlette) -> AsyncIterator[None]:
        with served.target.frozen():
            yield

    routes = [Route(path, endpoint) for path, endpoint in gets.items()]
    routes += [Route(f"{where}/infer", service.infer, methods=["POST"]) for where in places]
    guard = [Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False)] if loopback else []
    application = Starlette(routes=routes, lifespan=held, middleware=guard)
    application.state.log = service.log
    return application
