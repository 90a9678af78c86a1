"""`sparring serve`."""

from __future__ import annotations

import re
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

LOOPBACK, MOST = ("127.0.0.1", "::1", "localhost"), 128  # connections at once


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
    from ...serve import make_application

    loaded = load_with_overrides(model, InputOverrides(mean, std, size, channels, classes), device)
    service = ServiceOptions(access, top_k, decimals, tuple(encode or ()), rate, lock_out)
    served = describe_served(service.around(loaded), name, count_served_classes(loaded))
    app = make_application(served, body_limit=body_limit << 20, loopback=host in LOOPBACK)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="on", server_header=False, limit_concurrency=MOST
    )
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        say(f"{model} at http://{shown}:{listener.getsockname()[1]}/v2/models/{served.name}; stop with Ctrl-C")
        if host not in LOOPBACK:
            say(f"anybody who reaches {host} can query the model: there is no password", "yellow")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


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
