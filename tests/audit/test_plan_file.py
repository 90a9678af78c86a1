"""Plans as files, what an audit would cost, and the verdict for a CI server."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import sparring as sp
from sparring.audit.audit import make_request
from sparring.audit.estimate import count_passes, estimate
from sparring.audit.plan import make_audit_plan
from sparring.audit.plan_file import AuditConfig, make_audit_config, parse_threats, read_audit_config
from sparring.audit.report.junit import junit_report
from sparring.audit.report.model import Finding
from sparring.audit.suites.suite_entry import make_entry
from sparring.errors import ConfigError, ThreatError
from sparring.geometry.region import Region

ROOT = Path(__file__).parent.parent.parent
PLAN = """
model = "zoo:mnist-plain"
data = "zoo:mnist-heldout"
threats = ["linf:0.1,0.2", "l2"]
suite = ["fgsm", "fmn"]
seed = 3
accept = ["rounding"]

[effort]
queries = 50
"""


def test_a_plan_is_read_as_it_is_written(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    written = read_audit_config(tmp_path / "plan.toml")
    assert (written.suite, written.seed, written.effort.queries) == (("fgsm", "fmn"), 3, 50)
    threat, free = written.balls()
    assert [radius.eps for radius in threat.radii] == [0.1, 0.2]
    assert free == sp.L2()


def test_paths_in_a_plan_are_relative_to_it(tmp_path):
    (tmp_path / "plan.toml").write_text(
        'model = "my.py:build"\ndata = "folder:pictures"\nthreats = ["linf:4/255"]\nsuite = "pgd:steps=3,own.py:Own"\n'
        'defend = ["jpeg:75", "stage.py:make"]\nmask = "mask.png"\nsurrogate = "zoo:mnist-plain"\n'
        '[read]\nlabels = "labels.csv"\nclass_names = "/names.txt"\n'
    )
    plan = read_audit_config(tmp_path / "plan.toml")
    assert plan.model == f"{tmp_path}/my.py:build"
    assert plan.data == f"folder:{tmp_path}/pictures"
    assert plan.suite == f"pgd:steps=3,{tmp_path}/own.py:Own"
    assert plan.defend == ("jpeg:75", f"{tmp_path}/stage.py:make")
    assert (plan.mask, plan.surrogate) == (f"{tmp_path}/mask.png", "zoo:mnist-plain")
    assert (plan.read.labels, plan.read.class_names) == (f"{tmp_path}/labels.csv", "/names.txt")
    assert plan.threats == ("linf:4/255",)


def test_the_published_schema_is_that_of_the_file():
    published = json.loads((ROOT / "docs" / "audit-plan.schema.json").read_text())
    assert published == json.loads(json.dumps(AuditConfig.model_json_schema()))


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"suit": "quick"}, ConfigError, r"plan has no 'suit' .*Did you mean 'suite'"),
        ({"effort": {"step": 3}}, ConfigError, r"effort has no 'step' .*Did you mean 'steps'"),
        ({"effort": 3}, ConfigError, "effort=3"),
        ({"model": None}, ConfigError, "the plan has no model; it needs one"),
        ({"threats": []}, ConfigError, r"threats=\[\]"),
        ({"threats": "linf:0.1"}, ConfigError, r"threats='linf:0.1': write a list, as \[...\]"),
        ({"defend": "jpeg:75"}, ConfigError, r"defend='jpeg:75': write a list, as \[...\]"),
        ({"defend": [75]}, ConfigError, "defend.0=75: Input should be a valid string"),
        ({"defendd": []}, ConfigError, "Did you mean 'defend'"),
        ({"votes": 0}, ConfigError, "votes=0"),
        ({"draws": 1.5}, ConfigError, "draws=1.5"),
        ({"threats": ["linff:3"]}, ThreatError, "Did you mean 'linf'"),
        ({"suite": "fgsm,pgdd"}, ConfigError, "Did you mean 'pgd'"),
        ({"accept": ["zero"]}, ConfigError, "no finding has this code"),
        ({"access": "score"}, ConfigError, "Did you mean 'scores'"),
        ({"fail_under": 40}, ConfigError, "fail_under=40"),
        ({"limit": "ten"}, ConfigError, "limit='ten'"),
        ({"model": "x" * 5000, "limit": 0}, ConfigError, "limit=0"),
    ],
)
def test_what_is_wrong_in_a_plan_is_named(change, kind, said):
    table = {"model": "m", "data": "d", "threats": ["linf:0.1"]} | change
    with pytest.raises(kind, match=said) as told:
        make_audit_config({name: value for name, value in table.items() if value is not None})
    assert len(str(told.value)) < 1200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"model =", "is no TOML"),
        (b"\xff\xfe", "is no TOML"),
        (b"a = 1", "a.toml: plan has no 'a'"),
    ],
)
def test_files_that_are_no_plan(content, said, tmp_path):
    if content is not None:
        (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_audit_config(tmp_path / "a.toml")


def test_a_norm_alone_is_a_threat_without_a_radius():
    assert parse_threats(["L2", "linf:0.1", "l2"])[1:] == [sp.L2()]
    with pytest.raises(ThreatError, match="has no epsilon"):
        parse_threats(["linf:"])


ATTACKS = [
    sp.attacks.FGSM(sp.Linf(0.1)),
    sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.1), steps=7), 2),
    sp.attacks.Sweep(sp.Linf(0.1), blocks=2, gradient_steps=5, n_queries=20),
    sp.attacks.Square(sp.Linf(0.1), n_queries=40),
    sp.attacks.Rivals(sp.attacks.APGD(sp.Linf(0.1), steps=10, loss=None), 3),
    sp.attacks.FMN(sp.L2(), steps=20),
    sp.attacks.HopSkipJump(sp.L2()),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_no_attack_spends_more_than_was_said(attack, scale, single, images, labels):
    """On a model that falls at once, and on one that hardly moves."""
    single.model[3].weight.data *= scale
    plan = make_audit_plan(model="m", data="d", batch_size=8, smallest=("L2",), queries=60)
    entry = make_entry(attack, plan)
    forwards, backwards = count_passes(entry, Region.around(images[:1], attack.ball))
    spent = sp.run(attack, single, sp.Misclassify(labels), images, budget=entry.budget).passes
    assert int(spent.forwards.max()) <= forwards
    assert int(spent.backwards.max()) <= backwards


def test_an_estimate_asks_little_and_writes_nothing(single, batches, tmp_path):
    threats = [sp.Linf(0.1), sp.L2()]
    job = make_request(single, batches, threats=threats, out=tmp_path / "run", suite="fgsm,fmn", limit=20)
    found = estimate(job)
    assert [(one.threat, one.attack) for one in found.lines] == [
        ("Linf 0.1", "FGSM"), ("Linf 0.1", "FMN"), ("L2, smallest", "FMN"),
    ]  # fmt: skip
    assert found.lines[0].backwards == 1
    assert found.seconds == pytest.approx(
        20 * (found.forwards * found.forward_seconds + found.backwards * found.backward_seconds)
    )
    assert not (tmp_path / "run").exists()


def test_a_defence_costs_its_draws(target, batches, tmp_path):
    from sparring.targets import Defended
    from sparring.transforms import Stage

    class Noise(Stage):
        @property
        def stochastic(self):
            return True

        def __call__(self, images, key):
            return images + 0.3 * key.normal("n", images.shape[1:], dtype=images.dtype)

    job = make_request(Defended(target, Noise()), batches, threats=[sp.Linf(0.1)], out=tmp_path / "run", suite="pgd")
    naive, adaptive = estimate(job).lines
    assert (naive.view, adaptive.view) == ("naive", "adaptive")
    assert adaptive.backwards > naive.backwards == 40


def test_an_estimate_knows_the_draws_the_votes_and_who_knows_of_a_detector(target, batches, tmp_path):
    from sparring.defenses.randomization import InputNoise
    from sparring.targets import Defended
    from sparring.transforms import Detector

    class Loud(Detector):
        def alarm(self, images, key):
            return images.flatten(1).mean(1) - 0.5

    def estimated(*parts, suite="pgd", **options):
        defended = Defended(target, *parts, votes=options.pop("votes", 1))
        job = make_request(defended, batches, threats=[sp.Linf(0.1)], out=tmp_path / "run", suite=suite, **options)
        return estimate(job)

    noise = InputNoise(0.1)
    few, more = (estimated(noise, draws=draws).lines[1] for draws in (2, 6))
    assert more.backwards == 3 * few.backwards == 6 * 40
    voted = estimated(noise, draws=2, votes=20)
    assert voted.backward_seconds > 0
    assert voted.lines[1].backwards == few.backwards
    found = estimated(Loud(), suite="standard", restarts=1, steps=10).lines
    past = [line.backwards for line in found if line.view == "adaptive" and "Auto" not in line.attack]
    assert past[-5:] == [100, 100, 100, 200, 200]
    assert len(found) == 4 + 10


def test_junit_fails_where_the_audit_does(quick):
    report = quick(threats=[sp.Linf(0.0001), sp.Linf(0.3)], suite="pgd", limit=16)
    bad = Finding(code="zero-gradients", severity="severe", message="masked \x00 <b>", advice="look")
    fine = bad.model_copy(update={"accepted": True, "code": "random-model"})
    tree = ElementTree.fromstring(junit_report(report.model_copy(update={"warnings": [bad, fine]}), 0.5))
    failures = ((case.get("name"), case.find("failure")) for case in tree)
    failed = {name: failure.get("message") for name, failure in failures if failure is not None}
    assert set(failed) == {"Linf 0.3", "zero-gradients"}
    assert failed["zero-gradients"] == "masked \N{REPLACEMENT CHARACTER} <b>"
    assert (tree.get("tests"), tree.get("failures")) == ("4", "2")
    passed = ElementTree.fromstring(junit_report(report.model_copy(update={"warnings": [fine]}), None))
    assert passed.get("failures") == "0"
