"""Remote models, on real sockets: the model's own results, no query lost or counted twice, no answer trusted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import torch

import sparring as sp
from sparring.attacks import PGD, HopSkipJump, Square
from sparring.errors import AccessError, AssetError, ConfigError, InputError, RunError, TargetError
from sparring.rows import take
from sparring.serve.tensors import InferRequest, encode_answer
from sparring.targets import Fields, OpenInference, Remote, RemoteLabels
from sparring.targets.remote.answers import numbers, parsed

HASTY = {"pause": 0.001, "timeout": 5.0}
ATTACKS = {"square": Square(sp.Linf(0.15), n_queries=60), "hopskipjump": HopSkipJump(steps=2, init_num_evals=10)}


def scores_for(x):
    """Scores (B, 4) that a stub can compute too."""
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    return np.stack([flat[:, :9].sum(1), flat[:, 9:18].sum(1), flat[:, 18:27].sum(1), flat[:, 27:].sum(1)], 1)


def answer_of(body, scores=None):
    """The protocol's answer to a request in JSON."""
    asked = json.loads(body)
    shape = asked["inputs"][0]["shape"]
    found = scores_for(np.array(asked["inputs"][0]["data"]).reshape(shape)) if scores is None else np.asarray(scores)
    output = {"name": "y", "datatype": "FP32", "shape": list(found.shape), "data": found.reshape(-1).tolist()}
    return {"id": asked["id"], "outputs": [output]}


def test_the_answers_are_the_models_to_the_bit(served):
    target = Remote(served.url)
    with torch.no_grad():
        assert torch.equal(target(served.images), served.target(served.images))
        double = target(served.images.double())
    assert double.dtype == torch.float64
    assert target.classes == 4
    assert target.card.binary
    target.close()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_finds_what_it_finds_on_the_model_and_the_server_counts_what_was_spent(served, name):
    target = Remote(served.url, **HASTY)
    outcome = sp.run(ATTACKS[name], target, served.goal, served.images)
    local = sp.run(ATTACKS[name], served.target, served.goal, served.images)
    assert torch.equal(outcome.examples, local.examples)
    assert bool(outcome.success.any())
    spent = outcome.passes.forwards + outcome.passes.checks
    assert served.stats()["queries"] == int(spent.sum())
    for row in range(4):  # row by row: a row alone asks what it asks in the batch
        before = served.stats()["queries"]
        rows = torch.tensor([row])
        alone = sp.run(ATTACKS[name], target, take(served.goal, rows), served.images[rows], indices=rows)
        assert (
            served.stats()["queries"] - before
            == int(spent[row])
            == int((alone.passes.forwards + alone.passes.checks)[0])
        )


def test_a_budget_of_queries_is_what_the_server_sees(served):
    outcome = sp.run(
        ATTACKS["hopskipjump"], Remote(served.url), served.goal, served.images, budget=sp.Budget(forwards=33)
    )
    assert served.stats()["queries"] == int((outcome.passes.forwards + outcome.passes.checks).sum())
    assert int(outcome.passes.forwards.max()) == 33
    assert bool((outcome.queries_to_success[outcome.success] <= 33).all())


@pytest.mark.parametrize("name", ATTACKS)
def test_connections_that_drop_lose_no_query_and_count_none_twice(served, stub, answering, name):
    """Every 7th request is cut, by turns before it was computed and after."""
    cut = {"before": 0, "after": 0}
    client = httpx.Client(trust_env=False)

    def flaky(handler, body, number):
        turn = number % 14
        if turn == 7:
            cut["before"] += 1
            raise ConnectionResetError
        head = {"Inference-Header-Content-Length": handler.headers["Inference-Header-Content-Length"]}
        done = client.post(served.url + "/infer", content=body, headers=head)
        if turn == 0:
            cut["after"] += 1
            raise ConnectionResetError
        answering(handler, done.content, done.status_code)

    stub.behave, stub.card = flaky, client.get(served.url).json()
    target = Remote(stub.url, **HASTY)
    target.endpoint.__dict__["card"] = Remote(served.url).card  # bytes, as our server takes them
    outcome = sp.run(ATTACKS[name], target, served.goal, served.images)
    local = sp.run(ATTACKS[name], served.target, served.goal, served.images)
    client.close()
    assert min(cut.values()) > 2
    assert torch.equal(outcome.examples, local.examples)
    stats = served.stats()
    assert stats["queries"] == int((outcome.passes.forwards + outcome.passes.checks).sum())
    assert stats["repeated_requests"] == cut["after"]


KILLED = """
import os, signal, sys, torch
import sparring as sp
from sparring.attacks import HopSkipJump
from sparring.targets import Remote
from sparring.targets.remote.http_client import HttpClient

torch.set_num_threads(1)
url, folder = sys.argv[1:]
images, labels = torch.load(folder + "/data.pt")
ask = HttpClient.ask

def process(fatal):
    asked = []

    def last(self, address, body=None, headers=None):
        answer = ask(self, address, body, headers)
        asked.extend([] if body is None else [address])
        if len(asked) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)  # computed by the server, and not yet written down here
        return answer

    HttpClient.ask = last
    engine = sp.Engine(checkpoint=folder + "/run", checkpoint_seconds=0.0)
    target = Remote(url, journal=folder + "/journal.sqlite")
    outcome = sp.run(HopSkipJump(steps=3, init_num_evals=10), target, sp.Misclassify(labels), images, engine=engine)
    torch.save((outcome.examples, outcome.passes.forwards, outcome.passes.checks), folder + "/outcome.pt")

for fatal in (30, 40, -1):
    child = os.fork()
    if child == 0:
        process(fatal)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_run_that_is_killed_and_resumed_asks_nothing_twice(served, tmp_path):
    torch.save((served.images, served.goal.classes), tmp_path / "data.pt")
    command = [sys.executable, "-c", KILLED, served.url, str(tmp_path)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert ended == ["-9", "-9", "0"]
    resumed = served.stats()
    whole = sp.run(HopSkipJump(steps=3, init_num_evals=10), Remote(served.url), served.goal, served.images)
    now = served.stats()
    alone = {image: count - resumed["images"].get(image, 0) for image, count in now["images"].items()}
    examples, forwards, checks = torch.load(tmp_path / "outcome.pt")
    assert torch.equal(examples, whole.examples)
    assert torch.equal(forwards, whole.passes.forwards)
    assert torch.equal(checks, whole.passes.checks)
    assert resumed["repeated_requests"] == 2  # one answer was lost at each kill, and was given again uncounted
    assert set(resumed["images"]) == set(alone)
    assert all(count <= alone[image] for image, count in resumed["images"].items())
    assert sum(alone.values()) - resumed["queries"] <= len(served.images)  # a last look that the journal answered


def test_a_journal_changes_no_count_of_a_run_that_is_not_killed(served, tmp_path):
    target = Remote(served.url, journal=tmp_path / "j.sqlite")
    outcome = sp.run(ATTACKS["square"], target, served.goal, served.images)
    target.close()
    before = served.stats()
    assert before["queries"] == int((outcome.passes.forwards + outcome.passes.checks).sum())
    again = Remote(served.url, journal=tmp_path / "j.sqlite")
    repeated = sp.run(ATTACKS["square"], again, served.goal, served.images)
    again.close()
    assert torch.equal(repeated.examples, outcome.examples)
    assert served.stats()["queries"] == before["queries"]  # all of it came from the journal


def test_a_journal_belongs_to_one_endpoint(served, stub, answering, tmp_path):
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body))
    first = Remote(served.url, journal=tmp_path / "j.sqlite")
    first(served.images)
    first.close()
    with pytest.raises(RunError, match=f"belongs to {served.url} .*, not to {stub.url} "):
        Remote(stub.url, journal=tmp_path / "j.sqlite")(served.images)
    assert stub.posts == []


def test_gradients_are_refused_before_anything_is_asked(served):
    target = Remote(served.url)
    with pytest.raises(AccessError, match=r"PGD needs Gradients, and .* grants Scores only"):
        sp.run(PGD(sp.Linf(0.1)), target, served.goal, served.images)  # type: ignore[arg-type]
    with pytest.raises(AccessError, match="grants Decisions only"):
        sp.run(Square(sp.Linf(0.1)), RemoteLabels(served.url), served.goal, served.images)  # type: ignore[arg-type]
    assert served.stats()["queries"] == 0


TYPED = """
import torch
import sparring as sp
from sparring.attacks import HopSkipJump, PGD, Square
from sparring.geometry import Linf
from sparring.targets import Onnx, Remote, RemoteLabels
goal, x = sp.Misclassify(torch.zeros(1, dtype=torch.long)), torch.zeros(1, 3, 8, 8)
sp.run(Square(Linf(0.1)), Remote("http://h/v2/models/m"), goal, x)
sp.run(HopSkipJump(), RemoteLabels("http://h/v2/models/m"), goal, x)
sp.run(Square(Linf(0.1)), Onnx("a.onnx"), goal, x)
sp.run(PGD(Linf(0.1)), Remote("http://h/v2/models/m"), goal, x)
sp.run(Square(Linf(0.1)), RemoteLabels("http://h/v2/models/m"), goal, x)
sp.run(PGD(Linf(0.1)), Onnx("a.onnx"), goal, x)
"""


def test_mypy_knows_what_a_remote_model_grants(tmp_path):
    (tmp_path / "snippet.py").write_text(TYPED)
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nfollow_imports = silent\n[mypy-torch.*,numpy.*]\nfollow_imports = skip\n")
    options = ["--strict", "--config-file", str(settings), "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *options, "snippet.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[1] for line in lines] == ["11", "12", "13"], done.stdout
    assert all("[misc]" in line for line in lines)


def test_json_and_bytes_say_the_same(stub, answering):
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body))
    target, x = Remote(stub.url), torch.rand(5, 1, 6, 6)
    assert not target.card.binary
    torch.testing.assert_close(target(x), torch.from_numpy(scores_for(x)).float())
    assert json.loads(stub.posts[0])["inputs"][0]["shape"] == [5, 1, 6, 6]


def test_many_images_go_in_parts_and_a_fixed_first_axis_is_kept(stub, answering):
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body))
    x = torch.rand(7, 1, 6, 6)
    parts = Remote(stub.url, per_request=3)(x)
    assert [json.loads(body)["inputs"][0]["shape"][0] for body in stub.posts] == [3, 3, 1]
    stub.card["inputs"][0]["shape"][0] = 1
    single = Remote(stub.url)(x)
    assert len(stub.posts) == 3 + 7
    assert torch.equal(parts, single)


def test_mean_std_and_layout_are_applied_before_sending(stub, answering):
    stub.card["inputs"][0]["shape"] = [-1, 6, 6, 1]
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body))
    x = torch.rand(2, 1, 6, 6)
    got = Remote(stub.url, mean=0.5, std=0.25, layout="NHWC")(x)
    torch.testing.assert_close(got, torch.from_numpy(scores_for((x - 0.5) / 0.25)).float())
    with pytest.raises(InputError, match=r"takes images of shape \[6, 6, 1\], and these are \[1, 6, 6\]"):
        Remote(stub.url)(x)


def test_probabilities_become_their_logarithm(stub, answering):
    soft = [[0.7, 0.2, 0.1, 0.0]]
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body, soft))
    target = Remote(stub.url, scores="probabilities")
    outputs = target(torch.rand(1, 1, 6, 6))
    target.check(outputs)
    torch.testing.assert_close(outputs[0, :3], torch.tensor(soft[0][:3]).log())
    assert bool(outputs.isfinite().all())
    with pytest.raises(TargetError, match="pass scores='probabilities'"):
        Remote(stub.url).check(Remote(stub.url)(torch.rand(1, 1, 6, 6)))


def test_logits_under_the_name_of_probabilities_are_noticed(stub, answering):
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body, [[0.1, -3.0, 0.2, 0.4]]))
    with pytest.raises(TargetError, match="-3 is no probability; pass scores='logits'"):
        Remote(stub.url, scores="probabilities")(torch.rand(1, 1, 6, 6))


@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_percent_is_told_to_be_percent(stub, answering, scores):
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body, [[97.2, 2.0, 0.8, 0.0]]))
    target = Remote(stub.url, scores=scores)
    with pytest.raises(TargetError, match=r"returns percent .*sums to 100.*have the server divide by 100"):
        target.check(target(torch.rand(1, 1, 6, 6)))


def test_what_a_server_of_ours_says_of_its_scores_is_believed(served):
    target = Remote(served.url, scores="probabilities")
    with pytest.raises(TargetError, match=r"(is no probability|says that it gives logits)"):
        target.check(target(served.images))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
def test_a_score_that_is_not_finite_is_nan_and_costs_its_row_alone(stub, answering, word):
    def behave(handler, body, number):
        said = answer_of(body)
        if number == 1:
            said["outputs"][0]["data"][0] = "HERE"
        answering(handler, json.dumps(said).replace('"HERE"', word).encode())

    stub.behave = behave
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    goal = sp.Misclassify(torch.from_numpy(scores_for(x)).argmax(1))
    outcome = sp.run(Square(sp.Linf(0.3), n_queries=5), Remote(stub.url), goal, x)
    assert outcome.reasons[0] is sp.Reason.NON_FINITE
    assert sp.Reason.NON_FINITE not in outcome.reasons[1:]


def said(**changes):
    """An answer that is wrong in one place."""

    def behave(answering, handler, body):
        whole = answer_of(body)
        whole["outputs"][0] |= changes
        answering(handler, whole)

    return behave


def raw(content, status=200, **headers):
    return lambda answering, handler, body: answering(handler, content, status, **headers)


HOSTILE = {
    "wrong shape": (said(shape=[1, 4]), r"shape \[1, 4\] for 2 images"),
    "too few numbers": (said(data=[1.0, 2.0, 3.0]), r"3 scores came back under the shape \[2, 4\]"),
    "ragged": (said(data=[[1.0, 2.0], [3.0]]), "rows differ in length"),
    "text among scores": (said(data=["1", 2, 3, 4, 5, 6, 7, 8]), "holds str where scores"),
    "truth among scores": (said(data=[True, 2, 3, 4, 5, 6, 7, 8]), "holds bool where scores"),
    "a huge integer": (said(data=[10**400, 2, 3, 4, 5, 6, 7, 8]), "a number that no float can hold"),
    "another output": (said(name="z"), "0 outputs named 'y'"),
    "text": (raw(b"<html>hello</html>"), r"the answer is no JSON \('<html>hello</html>'\.\.\.\)"),
    "nested without end": (raw(b"[" * 200_000), "the answer is no JSON"),
    "not an object": (raw(b"[1, 2]"), r"the answer has no 'outputs'; it is \[1, 2\]"),
    "to another question": (raw({"id": "x", "outputs": []}), "to the question 'x', which was not asked"),
    "redirect": (raw(b"", 307, Location="http://169.254.169.254/"), "redirects are not followed .*169.254.169.254"),
    "an error under the status of success": (raw({"error": "no such model"}), "no 'outputs'; it is {'error': 'no such"),
    "nothing": (raw(b""), r"the answer is no JSON \(''"),
    "garbage": (raw(bytes(range(256))), "the answer is no JSON"),
    "no content": (raw(b"", 204), r"it answered 204 \(an empty body\)"),
    "outputs of nothing": (raw({"outputs": None}), "outputs are no list; it is {'outputs': None}"),
    "outputs that are a number": (raw({"outputs": 3}), "outputs are no list; it is {'outputs': 3}"),
    "fewer rows": (said(shape=[1, 4], data=[1.0, 2.0, 3.0, 4.0]), r"shape \[1, 4\] for 2 images"),
    "nested otherwise than its shape": (said(data=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), r"6 scores .* shape \[2, 4\]"),
    "many lists": (raw(b"[" + b"[]," * 1_100_000 + b"[]]"), "holds more than 1,048,576 lists"),
    "wait for ever": (raw({}, 429, Retry_After="1e999"), "asks to wait for inf s"),
    "wait until a date": (raw({}, 429, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"), "asks to wait for"),
    "too large for it": (raw({"error": "big"}, 413), r"answered 413 .*per_request="),
    "not authorised": (raw({}, 401), "pass headers={'Authorization': ...}"),
    "packed": (raw(b"x", Content_Encoding="gzip"), "the answer is packed"),
    "wait for an hour": (raw({}, 429, Retry_After="3600"), "asks to wait for 3600 s"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(stub, answering, name):
    behave, message = HOSTILE[name]
    stub.behave = lambda handler, body, number: behave(answering, handler, body)
    with pytest.raises(TargetError, match=message) as caught:
        Remote(stub.url, **HASTY)(torch.rand(2, 1, 6, 6))
    assert stub.url in str(caught.value)
    assert len(stub.posts) == 1  # none of these is worth a second try


CARD = {
    "name": "m",
    "versions": ["1"],
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 6, 6]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
    "parameters": {"scores": "logits", "classes": 4},
    "extensions": ["binary_tensor_data"],
}
ANSWER = {
    "id": "?",
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 4], "data": [[0, 1.5, 2, 3], [4, 5, 6.5, 7]]}],
}
ODD = (None, True, 0, -5, 2**40, 1e300, "x", "", [], [[]], {}, {"error": "x"}, [None, [1]], "\u001b[31m" * 500, 10**400)


def variants(tree):
    """The tree with each of its parts in turn replaced by something odd, or left out."""
    yield from ODD
    if isinstance(tree, dict):
        for key in tree:
            yield {name: value for name, value in tree.items() if name != key}
            yield from ({**tree, key: other} for other in variants(tree[key]))
    if isinstance(tree, list):
        for place in range(len(tree)):
            yield tree[:place] + tree[place + 1 :]
            yield from ([*tree[:place], other, *tree[place + 1 :]] for other in variants(tree[place]))


@pytest.mark.parametrize("kind", [Remote, RemoteLabels])
@pytest.mark.parametrize("part", ["card", "answer"])
def test_whatever_part_of_an_answer_is_odd_scores_come_back_or_one_clear_line(monkeypatch, part, kind):
    def ask(self, address, body=None, headers=None):
        if body is None:
            return json.dumps(card).encode()
        return json.dumps(answer, default=str).replace('"?"', f'"{headers["X-Request-Id"]}"').encode()

    monkeypatch.setattr("sparring.targets.remote.http_client.HttpClient.ask", ask)
    whole, refused = (CARD if part == "card" else ANSWER), list[str]()
    for odd in variants(whole):
        card, answer = (odd, ANSWER) if part == "card" else (CARD, odd)
        target = kind("http://h/v2/models/m")
        try:
            outputs = target(torch.rand(2, 1, 6, 6))
            target.check(outputs)
            assert outputs.shape == (2, 4)
        except sp.errors.SparringError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert [line for line in refused if "http://h/v2" not in line or not line.isprintable() or len(line) > 800] == []


def test_more_classes_than_any_model_has_are_refused_before_memory_is_asked_for(stub, answering):
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body, [[1.0]]))
    stub.card = stub.card | {"parameters": {"scores": "labels", "classes": 2**40}}
    with pytest.raises(TargetError, match="promise 1099511627776 classes"):
        RemoteLabels(stub.url)(torch.rand(1, 1, 6, 6))
    assert stub.posts == []


def test_fewer_scores_from_the_sixth_answer_on_end_the_run_and_are_not_written_down(stub, answering, tmp_path):
    def shrinking(handler, body, number):
        whole = scores_for(np.array(json.loads(body)["inputs"][0]["data"]).reshape(-1, 1, 6, 6))
        answering(handler, answer_of(body, whole if number < 6 else whole[:, :3]))

    stub.behave, path = shrinking, tmp_path / "j.sqlite"
    x = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    goal = sp.Misclassify(torch.from_numpy(scores_for(x)).argmax(1))
    attack = Square(sp.Linf(0.01), n_queries=20)
    with pytest.raises(TargetError, match="3 scores per image came back, and 4 before"):
        sp.run(attack, Remote(stub.url, journal=path), goal, x)
    assert len(stub.posts) == 6
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body))
    asked = list(stub.posts)
    stub.posts.clear()
    sp.run(attack, Remote(stub.url, journal=path), goal, x)
    assert not set(asked[:5]) & set(stub.posts)  # five answers were paid for, and none is asked for again


LONG_AGO, NEVER = "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo 99999999999 0:0:0"


@pytest.mark.parametrize("after", ["-5", "nan", "soon", LONG_AGO, NEVER])
def test_a_retry_after_that_says_nothing_changes_no_pause(stub, answering, monkeypatch, after):
    slept = []
    monkeypatch.setattr("sparring.targets.remote.http_client.time", SimpleNamespace(sleep=slept.append))
    stub.behave = lambda handler, body, number: answering(handler, {}, 429, Retry_After=after)
    with pytest.raises(TargetError, match="it answered 429"):
        Remote(stub.url, retries=2, pause=0.5)(torch.rand(1, 1, 6, 6))
    assert slept == [0.5, 1.0]


def test_an_answer_that_is_no_http_is_told_at_once(stub):
    stub.behave = lambda handler, body, number: handler.wfile.write(b"\x00\x01SSH-2.0-nothing\r\n\r\n")
    with pytest.raises(TargetError, match=f"{stub.url}/infer: what it answered is no HTTP"):
        Remote(stub.url)(torch.rand(1, 1, 6, 6))
    assert len(stub.posts) == 1


def test_a_body_without_end_is_cut_off(stub):
    def endless(handler, body, number):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            handler.wfile.write(b"100000\r\n" + b"1" * 0x100000 + b"\r\n")

    stub.behave = endless
    with pytest.raises(TargetError, match="the answer is longer than 32 MiB"):
        Remote(stub.url)(torch.rand(1, 1, 6, 6))


def test_a_server_that_drips_is_left(stub, dripping):
    stub.behave = dripping(stub)
    clock = time.monotonic()
    with pytest.raises(TargetError, match=r"no whole answer came within 0.2 s, at the last of 2 tries"):
        Remote(stub.url, timeout=0.2, retries=1, pause=0.001)(torch.rand(1, 1, 6, 6))
    assert time.monotonic() - clock < 5


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again_with_the_same_request(stub, answering, status):
    def behave(handler, body, number):
        if number < 3:
            answering(handler, {}, status, Retry_After="0")
        else:
            answering(handler, answer_of(body))

    stub.behave = behave
    Remote(stub.url, **HASTY)(torch.rand(1, 1, 6, 6))
    assert len(stub.posts) == 3
    assert len(set(stub.posts)) == 1
    with pytest.raises(TargetError, match=f"answered {status} .* at the last of 2 tries"):
        stub.posts.clear()
        Remote(stub.url, retries=1, pause=0.001)(torch.rand(1, 1, 6, 6))


def test_pauses_double_and_retry_after_is_kept(stub, answering, monkeypatch):
    slept = []
    monkeypatch.setattr("sparring.targets.remote.http_client.time", SimpleNamespace(sleep=slept.append))
    after = {3: {"Retry_After": "7"}}
    stub.behave = lambda handler, body, number: answering(handler, {}, 503, **after.get(number, {}))
    with pytest.raises(TargetError, match="at the last of 5 tries"):
        Remote(stub.url, retries=4, pause=0.5)(torch.rand(1, 1, 6, 6))
    assert slept == [0.5, 1.0, 7.0, 4.0]


def test_a_server_that_is_down_is_told_without_a_second_try(monkeypatch):
    slept = []
    monkeypatch.setattr("sparring.targets.remote.http_client.time", SimpleNamespace(sleep=slept.append))
    with pytest.raises(TargetError, match=r"127.0.0.1:1/v2/models/m: the connection failed .* see that the server is"):
        Remote("http://127.0.0.1:1/v2/models/m")(torch.rand(1, 1, 6, 6))
    assert slept == []


def test_a_server_that_goes_down_after_an_answer_is_waited_for(stub, answering, monkeypatch):
    import httpx

    slept, tries = [], []
    monkeypatch.setattr("sparring.targets.remote.http_client.time", SimpleNamespace(sleep=slept.append))
    stub.behave = lambda handler, body, number: answering(handler, answer_of(body))
    target, x = Remote(stub.url, pause=0.5), torch.rand(1, 1, 6, 6)
    before = target(x)
    stream = httpx.Client.stream

    def down_twice(self, *words, **options):
        tries.append(words)
        if len(tries) < 3:
            raise httpx.ConnectError("Connection refused")
        return stream(self, *words, **options)

    monkeypatch.setattr(httpx.Client, "stream", down_twice)
    assert torch.equal(target(x), before)
    assert slept == [0.5, 1.0]


def test_plain_json(stub, answering):
    def behave(handler, body, number):
        asked = json.loads(body)
        assert asked["model"] == "m"
        found = scores_for(np.array(asked["request"]["images"]))
        answering(handler, {"results": [{"scores": row.tolist()} for row in found]})

    stub.behave = behave
    fields = Fields("request.images", "results.*.scores", extra={"model": "m"})
    x = torch.rand(3, 1, 6, 6)
    torch.testing.assert_close(Remote(stub.url, protocol=fields)(x), torch.from_numpy(scores_for(x)).float())
    with pytest.raises(TargetError, match=r"has no 'logits'; it is \{'scores': \["):
        Remote(stub.url, protocol=Fields("request.images", "results.*.logits", extra={"model": "m"}))(x)


@pytest.mark.parametrize("named", [False, True])
def test_labels_alone_one_image_at_a_time(stub, answering, named):
    names = ("ant", "bee", "cat", "dog")

    def behave(handler, body, number):
        place = int(scores_for(np.array(json.loads(body)["image"])[None]).argmax())
        answering(handler, {"label": names[place] if named else place})

    stub.behave = behave
    fields = Fields("image", "label", single=True)
    target = RemoteLabels(stub.url, protocol=fields, class_names=names if named else None, classes=4)
    x = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    expected = torch.from_numpy(scores_for(x)).argmax(1)
    assert torch.equal(target(x).argmax(1), expected)
    assert len(stub.posts) == 6
    outcome = sp.run(ATTACKS["hopskipjump"], target, sp.Misclassify(expected), x)
    assert bool(outcome.success.all())
    if named:
        with pytest.raises(TargetError, match=r"the label '.*' is unknown; pass class_names="):
            RemoteLabels(stub.url, protocol=fields, class_names=("eel", "fox"))(x)
    else:
        with pytest.raises(TargetError, match="and it has 2; pass classes="):
            RemoteLabels(stub.url, protocol=fields, classes=2)(x)
        with pytest.raises(TargetError, match="does not say how many classes"):
            RemoteLabels(stub.url, protocol=fields)(x)


def test_metadata_is_not_trusted(stub):
    for card, message in (
        ([1], "no metadata of a model"),
        ({"inputs": []}, "inputs have no usable shape"),
        (stub.card | {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1]}]}, "images are floats of 4 axes"),
        (stub.card | {"outputs": stub.card["outputs"] + [{"name": "z", "datatype": "FP32", "shape": [-1]}]}, "output="),
    ):
        stub.card = card
        with pytest.raises(TargetError, match=message):
            Remote(stub.url)(torch.rand(1, 1, 6, 6))
    assert Remote(stub.url, protocol=OpenInference(output="y")).card.output == "y"


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("ftp://h/v2/models/m", {}, "is no address of a model"),
        ("http://:80/v2/models/m", {}, "is no address of a model"),
        ("http://me:secret@h/v2/models/m", {}, "the address of h holds a password"),
        ("http://h/v2/models/m", {"scores": "labels"}, "use RemoteLabels"),
        ("http://h/v2/models/m", {"timeout": 0.0}, "timeout=0.0"),
        ("http://h/v2/models/m", {"timeout": "soon"}, "timeout='soon': pass seconds"),
        ("http://h/v2/models/m", {"timeout": float("inf")}, "timeout=inf"),
        ("http://h/v2/models/m", {"retries": 2.5}, "retries=2.5: pass a count"),
        ("http://h/v2/models/m", {"pause": float("nan")}, "pause=nan"),
        ("http://h/v2/models/m", {"per_request": 0}, "per_request=0"),
        ("http://h/v2/models/m", {"per_request": "many"}, "per_request='many'"),
        ("http://h/v2/models/m", {"classes": 2**40}, "classes=1099511627776: pass a count from 2 to 131,072"),
        ("http://h/v2/models/m", {"classes": "ten"}, "classes='ten'"),
        ("http://h/v2/models/m", {"headers": {"Key": "secret\n"}}, "headers: 'Key' cannot be sent"),
        ("http://h/v2/models/m", {"headers": "secret"}, "headers=str: pass a dict"),
        ("http://h/v2/models/m", {"protocol": "v2"}, "protocol='v2': pass OpenInference"),
        ("http://h/v2/models/m", {"journal": 3}, "journal=3: pass the name of a file"),
        ("http://h/v2/models/m", {"timout": 3}, r"no option timout= .*Did you mean 'timeout'\?"),
        ("http://h /v2/models/m", {}, "is no address of a model"),
        (None, {}, "None is no address of a model"),
        (b"http://h/v2/models/m", {}, "is no address of a model"),
    ],
)
@pytest.mark.wrong_types
def test_senseless_arguments(url, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Remote(url, **options)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RemoteLabels("http://h/v2/models/m", class_names="cat,dog"), r"pass a list of names, in order"),
        (lambda: RemoteLabels("http://h/v2/models/m", class_names=[1, 2]), r"class_names=\[1, 2\]: pass a list"),
        (lambda: Fields(5, "scores"), "images=5 is no field of a request"),  # type: ignore[arg-type]
        (lambda: Fields("images", None), "answer=None is no field of an answer"),  # type: ignore[arg-type]
        (lambda: OpenInference(3), "output=3 is no name of an output"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.wrong_types
def test_wrong_arguments_are_one_clear_line(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_address_of_another_kind_is_told_how_to_map_it(stub):
    with pytest.raises(ConfigError, match=r"protocol=Fields\(images=\.\.\., answer=\.\.\.\)"):
        Remote(stub.url.replace("/v2/models/m", "/predict"))(torch.rand(1, 1, 6, 6))


def test_a_key_in_the_query_is_sent_and_never_shown(stub, answering):
    paths = []

    def behave(handler, body, number):
        paths.append(handler.path)
        answering(handler, {}, 400)

    stub.behave = behave
    target = Remote(stub.url + "?key=SECRET", protocol=Fields("images", "scores"))
    with pytest.raises(TargetError) as caught:
        target(torch.rand(1, 1, 6, 6))
    assert paths[0].endswith("?key=SECRET")
    assert "SECRET" not in str(caught.value) + target.name + str(target.identity())


def test_a_missing_package_is_named_with_its_extra(stub, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(AssetError, match=r"needs httpx.*pip install 'sparring\[remote\]'"):
        Remote(stub.url)(torch.rand(1, 1, 6, 6))


def test_a_checkpoint_belongs_to_one_address(served):
    assert Remote(served.url).identity() != Remote(served.url + "/versions/1").identity()


def test_a_class_that_is_never_answered_comes_back_from_our_server_as_it_is():
    scores = torch.tensor([[0.5, -torch.inf, 2.0], [torch.nan, 1.0, -torch.inf]])
    answer = encode_answer("net", InferRequest("one", torch.zeros(2, 1, 1, 1)), "scores", scores)
    back = numbers("here", parsed("here", answer)["outputs"][0]["data"], 2)
    assert np.array_equal(back, scores.double().numpy(), equal_nan=True)
