"""Real servers on 127.0.0.1: ours, one that drops connections, and one that says what a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx
import pytest
import torch
import uvicorn
from torch import nn

import sparring as sp
from sparring.cli.commands.serve import listen
from sparring.serve import ServedModel, make_application

SHAPE, CLASSES = (1, 6, 6), 4


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, CLASSES)).eval()


class Running(NamedTuple):
    """A server of ours, and the very target that it serves."""

    url: str
    target: sp.Classifier
    images: torch.Tensor
    goal: sp.Misclassify

    def stats(self) -> dict[str, Any]:
        with httpx.Client(trust_env=False) as client:
            return client.get(f"{self.url}/stats").json()


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The root address of an ASGI application that a thread serves."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def served() -> Iterator[Running]:
    target = sp.Classifier(net(), classes=CLASSES, name="small")
    images = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        goal = sp.Misclassify(target(images).argmax(1))
    with running(make_application(ServedModel(target, "small", SHAPE, CLASSES))) as root:
        yield Running(f"{root}/v2/models/small", target, images, goal)


Behave = Callable[[BaseHTTPRequestHandler, bytes, int], None]


class Stub:
    """A server whose answers to POST are what `behave(handler, body, number)` writes."""

    def __init__(self) -> None:
        self.behave: Behave = lambda handler, body, number: reply(handler, {})
        self.card: Any = {
            "name": "m",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, *SHAPE]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, CLASSES]}],
        }
        self.posts: list[bytes] = []
        self.over = threading.Event()
        self.url = ""


def reply(handler: BaseHTTPRequestHandler, said: Any, status: int = 200, **headers: str) -> None:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def stub() -> Iterator[Stub]:
    state = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path.startswith("/v2/models/m"):
                reply(self, state.card)
            else:
                reply(self, {"error": "not found"}, 404)

        def do_POST(self) -> None:
            state.posts.append(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                state.behave(self, state.posts[-1], len(state.posts))
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v2/models/m"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def drip(state: Stub) -> Behave:
    """A byte now and then, and never an end."""

    def behave(handler: BaseHTTPRequestHandler, body: bytes, number: int) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not state.over.is_set():
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.02)

    return behave


@pytest.fixture
def answering() -> Any:
    return reply


@pytest.fixture
def dripping() -> Any:
    return drip
