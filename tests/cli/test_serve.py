"""`sparring serve`, and the commands that attack what it serves."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

import sparring as sp
from sparring.cli.commands.serve import describe_served, listen
from sparring.inputs import Images
from sparring.serve import Limits, make_application
from sparring.zoo import load_model

PLACE = "/v2/models/net"
Client = Callable[..., httpx.Client]


@contextmanager
def running(app: Any, **options: Any) -> Iterator[httpx.Client]:
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        root = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=root, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(user: tuple[str, str]) -> Iterator[httpx.Client]:
    with running(make_application(describe_served(load_model(user[0]), None), limits=Limits(body=20_000))) as opened:
        yield opened


def question(images: np.ndarray, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "images", "shape": list(images.shape), "datatype": "FP32", "data": images.reshape(-1).tolist()}
    return {"id": "one", "inputs": [tensor | changes]}


IMAGES = np.random.default_rng(0).random((2, 1, 6, 6), dtype=np.float32)


def test_health_metadata_and_scores(client, user):
    assert client.get("/v2/health/ready").json() == {"ready": True}
    card = client.get(PLACE).json()
    assert card["name"] == "net"
    assert card["inputs"][0]["datatype"] == "FP32"
    answer = client.post(f"{PLACE}/infer", json=question(IMAGES)).json()
    import torch

    with torch.no_grad():
        expected = load_model(user[0]).target(torch.from_numpy(IMAGES))
    assert answer["id"] == "one"
    assert answer["outputs"][0]["shape"] == [2, 4]
    assert np.array_equal(np.float32(answer["outputs"][0]["data"]), expected.numpy().reshape(-1))


def test_images_are_counted_each_and_a_repeated_request_once(client):
    twice = np.concatenate([IMAGES, IMAGES[:1]])
    first = client.post(f"{PLACE}/infer", json=question(twice))
    again = client.post(f"{PLACE}/infer", json=question(twice))
    stats = client.get(f"{PLACE}/stats").json()
    assert first.content == again.content
    assert (stats["requests"], stats["repeated_requests"], stats["queries"]) == (1, 1, 3)
    assert sorted(stats["images"].values()) == [1, 2]
    other = question(twice) | {"id": "two"}
    client.post(f"{PLACE}/infer", json=other)
    client.post(f"{PLACE}/infer", json={"inputs": other["inputs"]})
    client.post(f"{PLACE}/infer", json={"inputs": other["inputs"]})  # without an id there is no telling
    assert client.get(f"{PLACE}/stats").json()["queries"] == 12
    client.post(f"{PLACE}/infer", json=question(IMAGES[:1]))  # the same id, another question
    assert client.get(f"{PLACE}/stats").json()["queries"] == 13


def test_requests_at_the_same_time_are_one_query(client):
    """A client that lost patience asks again while the first try is still at work."""
    with httpx.Client(base_url=client.base_url, trust_env=False) as other:
        answers: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: answers.append(other.post(f"{PLACE}/infer", json=question(IMAGES)).content))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(answers)) == 1
    assert client.get(f"{PLACE}/stats").json()["queries"] == 2


BAD = {
    "no JSON": (b"hello", {}, 400, "the body is no question"),
    "no input": (b'{"inputs": []}', {}, 400, "the body is no question"),
    "a number": (b"1", {}, 400, "the body is no question"),
    "nested": (b"[" * 15_000, {}, 400, "the body is no question"),
    "bytes": (question(IMAGES, datatype="BYTES"), {}, 400, "the body is no question"),
    "three axes": (question(IMAGES, shape=[2, 6, 6]), {}, 400, "the input has shape"),
    "negative": (question(IMAGES, shape=[-2, -1, 6, 6]), {}, 400, "the input has shape"),
    "too many": (question(IMAGES, shape=[2000000000, 1, 6, 6]), {}, 400, "numbers came for a shape"),
    "text": (question(IMAGES, data=["a"] * 72), {}, 400, "are no numbers"),
    "ragged": (question(IMAGES, data=[[1], [1, 2]]), {}, 400, "are no numbers"),
    "NaN": (
        json.dumps(question(np.where(np.arange(72).reshape(2, 1, 6, 6) == 71, np.nan, IMAGES))).encode(),
        {},
        400,
        "the input holds nan at [1, 0, 5, 5] (image, channel, row, column); values lie in [0.0, 1.0]",
    ),
    "infinite": (question(np.full((1, 1, 6, 6), 1e300)), {}, 400, "the input holds inf at [0, 0, 0, 0]"),
    "of 8 bits": (question(np.round(IMAGES * 255)), {}, 400, f"the input holds {np.round(IMAGES * 255)[0, 0, 0, 0]:g}"),
    "below zero": (question(IMAGES - 2), {}, 400, "values lie in [0.0, 1.0]"),
    "numbers as text": (question(IMAGES, data=["0.5"] * 72), {}, 400, "are no numbers"),
    "null": (question(IMAGES, data=[None] * 72), {}, 400, "are no numbers"),
    "truth": (question(IMAGES, data=[True] * 72), {}, 400, "are no numbers"),
    "a head of many digits": (b"{}", {"Inference-Header-Content-Length": "9" * 5000}, 400, "is no length within"),
    "head": (b"{}", {"Inference-Header-Content-Length": "99"}, 400, "is no length within the body"),
    "short bytes": (
        json.dumps(question(IMAGES)).encode() + b"xx",
        {"Inference-Header-Content-Length": str(len(json.dumps(question(IMAGES))))},
        400,
        "2 bytes came for 72 numbers",
    ),
    "other size": (question(np.zeros((1, 3, 5, 5), np.float32)), {}, 400, "cannot take images of shape (3, 5, 5)"),
    "too long": (b"x" * 20_001, {}, 413, "longer than 20000 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_with_a_reason_and_not_counted(client, name):
    content, headers, status, said = BAD[name]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = client.post(f"{PLACE}/infer", content=body, headers=headers)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert client.get(f"{PLACE}/stats").json()["queries"] == 0
    assert client.post(f"{PLACE}/infer", json=question(IMAGES)).status_code == 200


def test_a_body_without_a_length_is_limited_too(client):
    answer = client.post(f"{PLACE}/infer", content=(b"x" * 1000 for _ in range(30)))
    assert answer.status_code == 413


@contextmanager
def bounded(user, limits: Limits, head_seconds: float = 0.3, most: int = 128) -> Iterator[httpx.Client]:
    """A server with deadlines that a test can wait for."""
    from sparring.serve.connections import BoundedConnection

    kind = type("Hasty", (BoundedConnection,), {"head_seconds": head_seconds, "most": most})
    app = make_application(describe_served(load_model(user[0]), None), limits=limits)
    with running(app, http=kind, limit_concurrency=most) as client:
        yield client


def connect(client: httpx.Client, sent: bytes = b"") -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10)
    opened.sendall(sent)
    return opened


BEGUN = f"POST {PLACE}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf".encode()


def read_all(opened: socket.socket) -> bytes:
    """What arrives until the server closes; a reset is a close."""
    received = b""
    with opened:
        try:
            while part := opened.recv(4096):
                received += part
        except ConnectionResetError:
            pass
    return received


def test_a_body_that_never_ends_is_left_at_its_deadline(user):
    with bounded(user, Limits(body_seconds=0.3)) as client:
        assert read_all(connect(client, BEGUN)).startswith(b"HTTP/1.1 408 ")
        assert client.post(f"{PLACE}/infer", json=question(IMAGES)).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /v2 HTT", b"GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /v"])
def test_a_head_that_never_ends_is_left_at_its_deadline(user, sent):
    with bounded(user, Limits()) as client:
        answer = read_all(connect(client, sent))
        assert answer.count(b"HTTP/1.1 200") == sent.count(b"\r\n\r\n")


@pytest.mark.parametrize("sent", [b"", BEGUN])
def test_clients_that_send_nothing_more_lock_nobody_out(user, sent):
    with bounded(user, Limits(), head_seconds=60.0, most=8) as client:
        held = [connect(client, sent) for _ in range(20)]
        for _ in range(3):
            with httpx.Client(base_url=client.base_url, trust_env=False) as other:
                assert other.post(f"{PLACE}/infer", json=question(IMAGES)).status_code == 200
        for opened in held:
            opened.close()


def test_all_bodies_together_have_a_limit_and_are_let_go(user):
    with bounded(user, Limits(body=20_000, held=1500)) as client:
        held = connect(client, BEGUN.replace(b"half", b"x" * 900))
        answer = client.post(f"{PLACE}/infer", json=question(IMAGES))
        while answer.status_code == 200:  # the other body is still on its way
            answer = client.post(f"{PLACE}/infer", json=question(IMAGES))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        held.close()
        while answer.status_code == 503:
            answer = client.post(f"{PLACE}/infer", json=question(IMAGES[:1]))
        assert answer.status_code == 200


def test_others_are_answered_while_a_long_question_is_read(user):
    """Python's parser of JSON lets no other thread run before its end."""
    numbers = b",".join([b"0.12345678"] * 1_000_000)
    body = b'{"inputs": [{"name": "images", "shape": [1, 1, 6, 6], "datatype": "FP32", "data": [' + numbers + b"]}]}"
    with bounded(user, Limits()) as client, httpx.Client(base_url=client.base_url, trust_env=False) as other:
        took: list[float] = []
        thread = threading.Thread(target=lambda: took.append(timed(other, body)))
        thread.start()
        longest = 0.0
        while not took:
            begun = time.monotonic()
            assert client.get("/v2/health/live").status_code == 200
            longest = max(longest, time.monotonic() - begun)
        thread.join()
    assert longest < took[0] / 2


def timed(client: httpx.Client, body: bytes) -> float:
    begun = time.monotonic()
    assert client.post(f"{PLACE}/infer", content=body, timeout=60).status_code == 400
    return time.monotonic() - begun


def test_a_page_whose_name_points_here_is_refused(client):
    assert client.get(PLACE, headers={"Host": "evil.example"}).status_code == 400
    assert client.get(PLACE, headers={"Host": "localhost:8000"}).status_code == 200


def test_unknown_places(client):
    assert client.get("/v2/models/other").status_code == 404
    assert client.get(f"{PLACE}/infer").status_code == 405


def test_a_score_that_is_not_finite_is_null(tmp_path):
    (tmp_path / "nan.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Nan(nn.Module):\n"
        "    def forward(self, x):\n        return x.flatten(1)[:, :3] / torch.tensor([0.0, 1.0, 2.0])\n"
    )
    with running(make_application(describe_served(load_model(f"{tmp_path}/nan.py:Nan"), "odd"))) as client:
        answer = client.post("/v2/models/odd/infer", json=question(IMAGES))
    assert answer.status_code == 200
    assert json.loads(answer.content)["outputs"][0]["data"][0] is None


def test_the_command_serves_on_this_machine_alone_says_how_to_attack_it_and_stops_with_ctrl_c(user, typed):
    command = [sys.executable, "-c", "from sparring.cli import main; main()", "serve", user[0], "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = line.split(" at ")[1].split(";")[0]
            assert url.startswith("http://127.0.0.1:")
            with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=5)) as opened:
                assert opened.get(url, timeout=30).json()["name"] == "net"
                opened.post(f"{url}/infer", json=question(IMAGES))
            assert process.stdout.readline() == (
                f"counted: requests, and queries (one for each image of a request), at {url}/stats\n"
            )
            told = process.stdout.readline()
            assert told == f"attack it: sparring attack square {url} DATA --threat linf:8/255 --queries 1000\n"
            words = [user[1] if word == "DATA" else word for word in shlex.split(told)[3:]]
            assert typed(*words, "--limit", 2).exit_code == 0
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert re.fullmatch(
            r"asked: [0-9,]+ images in [0-9,]+ requests; 0 requests came twice\n", process.stdout.read()
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1"),
        (("--name", "a/b"), "--name 'a/b' does not fit into an address"),
    ],
)
def test_senseless_options(words, said, typed, user):
    result = typed("serve", user[0], *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_port_in_use_is_named(typed, user):
    with socket.create_server(("127.0.0.1", 0)) as held:
        result = typed("serve", user[0], "--port", held.getsockname()[1])
    assert result.exit_code == 2
    assert "choose another --host or --port" in result.stderr


@pytest.mark.parametrize("name", ["square", "hopskipjump"])
def test_attack_on_an_address(client, typed, user, tmp_path, name):
    words = ("--threat", "linf:0.5", "--steps", 3, "--limit", 6, "--batch-size", 8)
    url = str(client.base_url).rstrip("/") + PLACE
    result = typed("attack", name, f"{url}#journal={tmp_path / 'j.sqlite'}", user[1], *words)
    assert result.exit_code == 0, result.stderr
    local = typed("attack", name, user[0], user[1], *words)
    shown, expected = (text.stdout.splitlines()[2].split()[:-1] for text in (result, local))
    assert shown == expected  # all columns but the seconds
    asked = client.get(f"{PLACE}/stats").json()["queries"]
    assert typed("attack", name, f"{url}#journal={tmp_path / 'j.sqlite'}", user[1], *words).exit_code == 0
    assert client.get(f"{PLACE}/stats").json()["queries"] == asked


def test_mean_and_std_describe_an_address_too(typed, user):
    """What the server gets is normalised, and may lie outside [0, 1] where its model takes that."""
    loaded = load_model(user[0])
    wide = sp.Classifier(loaded.target.model, classes=4, inputs=Images(-3, 3))
    words = (
        user[1],
        "--threat",
        "linf:0.1",
        "--steps",
        5,
        "--limit",
        20,
        "--batch-size",
        8,
        "--mean",
        0.3,
        "--std",
        0.5,
    )
    with running(make_application(describe_served(replace(loaded, target=wide), None))) as client:
        result = typed("attack", "square", str(client.base_url).rstrip("/") + PLACE, *words)
    local = typed("attack", "square", user[0], *words)
    assert result.exit_code == 0, result.stderr
    assert [text.stdout.splitlines()[2].split()[:-1] for text in (result, local)] == 2 * [
        local.stdout.splitlines()[2].split()[:-1]
    ]


@pytest.mark.parametrize(("options", "attack"), [("", "Square"), ("#scores=labels&classes=4", "HopSkipJump")])
def test_audit_of_an_address_leaves_out_what_needs_gradients_and_says_so(
    client, audited, tmp_path, options, attack, request
):
    if options:
        request.getfixturevalue("labelling")
    url = str(client.base_url).rstrip("/") + PLACE + options
    result = audited("--limit", 8, model=url)
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    ran = [part["attack"] for threat in report["threats"] for eps in threat["epsilons"] for part in eps["attacks"]]
    assert ran == [attack]
    assert report["model"]["access"] == ("Decisions" if options else "Scores")


@pytest.fixture
def labelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers with the class alone."""
    from sparring.serve.app import ServedModel

    answer = ServedModel.answer

    def labels(self, images):
        return answer(self, images).argmax(1, keepdim=True).float()

    monkeypatch.setattr(ServedModel, "answer", labels)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("#score=labels", "Did you mean 'scores'?"),
        ("#scores=label", "Did you mean 'labels'?"),
        ("#classes=ten", "classes='ten' is no number"),
        ("#images=x", "needs both images=FIELD and answer=FIELD"),
        ("#scores=labels", "no label; use http://127.0.0.1:PORT/v2/models/net#scores=logits for scores"),
        ("#scores=probabilities", "is no probability; pass http://127.0.0.1:PORT/v2/models/net#scores=logits"),
        ("#per_request=3&scores=labels&classes=4", "/v2/models/net#per_request=3&classes=4&scores=logits for scores"),
        ("#images=x&answer=y&scores=logits", "405"),
        (
            "/wrong#retries=0",
            "or say where a plain JSON endpoint has images and scores: http://127.0.0.1:PORT/v2/models/"
            "net/wrong#retries=0&images=FIELD&answer=FIELD",
        ),
        ("#authorization=NOT_SET_HERE", "the environment variable 'NOT_SET_HERE' is not set"),
        ("#timeout=-1", "timeout=-1.0"),
    ],
)
def test_options_behind_the_address(client, audited, options, said):
    result = audited("--limit", 8, model=str(client.base_url).rstrip("/") + PLACE + options)
    assert result.exit_code == 2
    assert said.replace("PORT", str(client.base_url.port)) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_key_from_the_environment_is_sent_and_not_shown(typed, user, monkeypatch):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *_):
            return

    monkeypatch.setenv("SERVICE_KEY", "Bearer hidden")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/v2/models/m"
        with_key = typed("attack", "square", f"{url}#authorization=SERVICE_KEY", user[1], "--threat", "linf:0.1")
        without = typed("attack", "square", url, user[1], "--threat", "linf:0.1")
        server.shutdown()
        thread.join()
    assert seen == ["Bearer hidden", None]
    assert "hidden" not in with_key.output
    assert f"pass {url}#authorization=VARIABLE" in without.stderr


def test_a_server_that_is_not_there_is_one_line(audited):
    result = audited(model="http://127.0.0.1:1/v2/models/m")
    assert result.exit_code == 2
    assert "the connection failed" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_service_of_labels_that_locks_out_ends_the_attack_with_what_it_found(user):
    import torch

    import sparring as sp
    from sparring.cli.specs.services import ServiceOptions

    loaded = load_model(user[0])
    images = torch.from_numpy(np.random.default_rng(1).random((4, 1, 6, 6), dtype=np.float32))
    with torch.no_grad():
        labels = loaded.target(images).argmax(1)
    service = ServiceOptions(access="decisions", lock_out=200)
    with running(make_application(describe_served(service.around(loaded)[0], None, 4))) as client:
        card = client.get(PLACE).json()
        assert card["parameters"]["scores"] == "labels"
        remote = load_model(f"{client.base_url}{PLACE}").target
        assert remote.access is sp.Decisions
        outcome = sp.run(sp.attacks.SurFree(steps=500), remote, sp.Misclassify(labels), images)
        stats = client.get(f"{PLACE}/stats").json()
    assert stats["queries"] == int((outcome.passes.forwards + outcome.passes.checks).sum()) <= 200
    assert any("locked the attacker out" in note for note in outcome.notes)
    assert set(outcome.reasons) == {sp.Reason.UNCONFIRMED}  # found, and nobody answered again
    with torch.no_grad():
        assert (loaded.target(outcome.examples).argmax(1) != labels).all()
