"""`sparring serve`."""

from __future__ import annotations

import re
import shlex
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import ConfigError
from ..display.console import say
from ..display.errors import with_exit_code
from ..specs.models import InputOverrides, load_with_overrides
from ..specs.services import ServiceOptions
from . import options as given

if TYPE_CHECKING:
    from ...serve import ServedModel
    from ...zoo import LoadedModel

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@with_exit_code
def serve_command(
    model: given.Model,
    host: Annotated[str, typer.Option(help="The address to listen on; only this machine by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 8000,
    name: Annotated[str | None, typer.Option(help="The name in /v2/models/NAME; the model's own by default.")] = None,
    body_limit: Annotated[int, typer.Option(min=1, help="MiB of the largest request.")] = 64,
    access: given.Access = None,
    top_k: given.TopK = None,
    decimals: given.Decimals = None,
    encode: given.Encode = None,
    rate: given.Rate = None,
    lock_out: given.LockOut = None,
    device: given.Device = "cpu",
    mean: given.Mean = None,
    std: given.Std = None,
    size: given.Size = None,
    channels: given.Channels = None,
    classes: given.Classes = None,
) -> None:
    """Serve MODEL over HTTP (Open Inference Protocol v2), counting what it is asked."""
    from ...targets.optional_imports import import_optional

    import_optional("starlette", "sparring serve", "serve")
    uvicorn = import_optional("uvicorn", "sparring serve", "serve")
    from ...serve import Limits, make_application
    from ...serve.connections import MOST_CONNECTIONS, BoundedConnection

    loaded = load_with_overrides(model, InputOverrides(mean, std, size, channels, classes), device)
    service = ServiceOptions(access, top_k, decimals, tuple(encode or ()), rate, lock_out)
    served = describe_served(service.around(loaded)[0], name, count_served_classes(loaded))
    limits = Limits(body=body_limit << 20, held=max(Limits.held, body_limit << 20))
    app = make_application(served, limits=limits, loopback=host in LOOPBACK)
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
    )
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/v2/models/{served.name}"
        say(f"{model} at {url}; stop with Ctrl-C")
        say(f"counted: requests, and queries (one for each image of a request), at {url}/stats")
        say(f"attack it: {attack_line(served, url)}")
        if host not in LOOPBACK:
            say(f"anybody who reaches {host} can query the model: there is no password", "yellow")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    log = app.state.log
    say(f"asked: {log.queries:,} images in {log.requests:,} requests; {log.repeated:,} requests came twice")


def attack_line(served: ServedModel, url: str) -> str:
    """Return a command that attacks the model at `url`, by what it answers."""
    if served.scores:
        return f"sparring attack square {shlex.quote(url)} DATA --threat linf:8/255 --queries 1000"
    address = url if served.classes > 1 else f"{url}#classes=HOW_MANY"
    return f"sparring attack hopskipjump {shlex.quote(address)} DATA --queries 1000"


def count_served_classes(loaded: LoadedModel) -> int | None:
    """Return how many classes the model has; where it does not say, it is asked about a gray picture."""
    import torch

    known_classes: int | None = getattr(loaded.target, "classes", None)
    if known_classes is not None or loaded.input is None:
        return known_classes
    size = (1, loaded.input.channels, loaded.input.height, loaded.input.width)
    with loaded.target.frozen(), torch.no_grad():
        return int(loaded.target(torch.full(size, 0.5, device=loaded.target.device)).shape[1])


def describe_served(loaded: LoadedModel, name: str | None, classes: int | None = None) -> ServedModel:
    """Return the model under a name that fits an address."""
    from ...serve import ServedModel

    _, _, own = loaded.name.rstrip("/").rpartition(":")
    called = name or re.sub(r"[^A-Za-z0-9._-]+", "-", own).strip("-.") or "model"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", called):
        raise ConfigError(f"--name {name!r} does not fit into an address; use letters, digits, '.', '_' and '-'")
    known = loaded.input
    shape = (-1, -1, -1) if known is None else (known.channels, known.height, known.width)
    return ServedModel(loaded.target, called, shape, classes or getattr(loaded.target, "classes", None) or -1)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; ConfigError where the address cannot be had."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio looks at it to turn Nagle off
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, TypeError, UnicodeError) as error:  # the latter for a name that no host has
        listener.close()
        raise ConfigError(f"cannot listen on {host} port {port}: {error}; choose another --host or --port") from error
    return listener
