"""The routes of `sparring serve`.

    GET  /v2/health/live, /v2/health/ready      GET  /v2                       POST /v2/models/NAME/infer
    GET  /v2/models/NAME[/versions/1][/ready]   GET  /v2/models/NAME/stats

One question is answered at a time. A request with an id that is sent again, to the byte, is answered from memory and
not counted again: its answer was lost on the way, or its client was killed before it could write it down.
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
from ..targets import Target
from ..targets.optional_imports import import_optional
from .log import AnswerCache, QueryLog
from .tensors import InferRequest, encode_answer, read_request

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
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


class InferenceService:
    """The state of one server."""

    def __init__(self, served: ServedModel, body_limit: int) -> None:
        from starlette.responses import JSONResponse, Response

        self.served, self.body_limit, self.log, self.answers = served, body_limit, QueryLog(), AnswerCache()
        self.lock = asyncio.Lock()
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
        return self.json({"name": self.served.name, **self.log.stats()})

    async def infer(self, request: Request) -> Response:
        """Answer an inference request; one that is sent again is answered from memory."""
        body = await self._body(request)
        if body is None:
            return self.json({"error": f"the body is longer than {self.body_limit} bytes; send fewer images"}, 413)
        async with self.lock:  # one after the other, so that a request that comes twice finds the first one's answer
            key = self.answers.key(body)
            answer = self.answers.find(key)
            if answer is not None:
                self.log.repeated += 1
                return self.response(answer, media_type="application/json")
            try:
                head = request.headers.get("inference-header-content-length")
                infer_request = read_request(body, head, (-1, *self.served.shape))
                answer = await asyncio.to_thread(self._answer, infer_request)
            except LockedOut as error:
                return self.json({"error": str(error)}, 403)
            except UserCodeError as error:
                return self.failed(error.__cause__ or error)
            except SparringError as error:
                return self.json({"error": str(error)}, 400)
            except Exception as error:
                return self.failed(error)
            self.log.count(infer_request.images)
            if infer_request.id:
                self.answers.keep(key, answer)
        return self.response(answer, media_type="application/json")

    def failed(self, error: BaseException) -> Response:
        """Answer 500 where the model raised an error, and log the traceback."""
        logger.error("the model failed", exc_info=error)
        return self.json({"error": f"the model failed: {type(error).__name__}"}, 500)

    def _answer(self, infer_request: InferRequest) -> bytes:
        return encode_answer(self.served.name, infer_request, OUTPUT, self.served.answer(infer_request.images))

    async def _body(self, request: Request) -> bytes | None:
        """The body; None where it is longer than the limit, whatever its header says."""
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.body_limit:
            return None
        received = bytearray()
        async for part in request.stream():
            received += part
            if len(received) > self.body_limit:
                return None
        return bytes(received)


def make_application(served: ServedModel, *, body_limit: int = 1 << 26, loopback: bool = True) -> Starlette:
    """Return the server's routes as an ASGI application.

    `body_limit` is in bytes; with `loopback` a request that names another host (a web page that had its name
    point here) is refused.
    """
    import_optional("starlette", "serving a model", "serve")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    service, place = InferenceService(served, body_limit), f"/v2/models/{served.name}"
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
    return Starlette(routes=routes, lifespan=held, middleware=guard)
