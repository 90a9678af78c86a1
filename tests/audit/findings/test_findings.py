"""Each finding is raised by a model, or a run, in which it was planted; sound models raise none of the severe ones."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import sparring as sp
from sparring.audit import AuditObserver
from sparring.audit.findings import KINDS, page
from sparring.audit.findings.kinds import LISTED
from sparring.defenses.purification import BitDepth
from sparring.errors import AssetError, ConfigError, LockedOut
from sparring.targets import Defended, Restricted
from sparring.transforms import Detector
from sparring.zoo import InputSpec, load_data, load_model

ROOT = Path(__file__).parents[3]


def base():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4)).double()


class Around(nn.Module):
    """The small net, with something done to its images or to what it says."""

    def __init__(self, before=None, after=None):
        super().__init__()
        self.net, self.before, self.after = base(), before, after

    def forward(self, x):
        x = x.double()
        logits = self.net(x if self.before is None else self.before(x))
        return logits if self.after is None else self.after(logits)


class Turned(torch.autograd.Function):
    """Nothing forward, and the gradient turned by a function of the images."""

    @staticmethod
    def forward(ctx, x, turn):
        ctx.save_for_backward(x)
        ctx.turn = turn
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return ctx.turn(x, grad), None


def turned(turn):
    return Around(before=lambda x: Turned.apply(x, turn))


def hashed(x):
    """(B, ...) in [0, 1), another number for every image and pixel, however little the image changes."""
    places = torch.arange(x[0].numel(), dtype=x.dtype).view(x.shape[1:])
    level = x.flatten(1).sum(1).view(-1, 1, 1, 1) * 1e7
    return ((level + 12.9898 * places).sin() * 43758.5453).frac().abs()


def only_on_the_grid(x, grad):
    """True where the image has 8-bit levels, as clean ones have; elsewhere it points the other way."""
    on = ((x * 255 - (x * 255).round()).abs().flatten(1).amax(1) < 1e-6).view(-1, 1, 1, 1)
    return torch.where(on, grad, -grad)


def masked():
    return Around(before=lambda x: (x * 20).round() / 20)


class NormedByBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.net = nn.BatchNorm2d(1, track_running_stats=False).double(), base()

    def forward(self, x):
        return self.net(0.5 + 0.3 * self.norm(x.double()))


class Anxious(Detector):
    """Rejects images that are brighter on average than it bears."""

    def __init__(self, bears):
        self.bears = bears

    def alarm(self, images, key):
        return (images.flatten(1).mean(1) - self.bears) * 20


IMAGES = (torch.rand((50, 1, 6, 6), generator=torch.Generator().manual_seed(5)) * 255).round() / 255
ELSEWHERE = {
    "unfinished",
    "failure-to-acquire",
    "locked-out",
    "skipped",
    "data-changes",
    "certificate-contradicted",
    "search-beats-attacks",
}  # planted in tests of their own
NOTES = {"few-images", "quick-suite", "no-transfer", "nothing-left"}  # of the audit, not of the model

PLANTED = {
    "probabilities": (lambda: sp.Classifier(Around(after=lambda z: z.softmax(1)), probabilities=True), {}),
    "saturated-softmax": (lambda: sp.Classifier(Around(after=lambda z: z * 1e5)), {}),
    "zero-gradients": (lambda: sp.Classifier(masked()), {}),
    "non-finite": (lambda: sp.Classifier(Around(before=lambda x: x + torch.where(x > 0.5, (x - 0.5).sqrt(), 0))), {}),
    "random-model": (lambda: sp.Classifier(Around(after=lambda z: z + 0.05 * torch.randn_like(z))), {}),
    "batch-dependent": (lambda: sp.Classifier(Around(before=lambda x: x - 0.2 * x.mean())), {}),
    "train-mode-batch-norm": (lambda: sp.Classifier(NormedByBatch()), {}),
    "expected-accuracy": (lambda: sp.Classifier(base()), {"expected_accuracy": 0.5}),
    "loss-not-falling": (lambda: sp.Classifier(turned(lambda x, grad: -grad)), {}),
    "single-step-beats-iterated": (lambda: sp.Classifier(turned(only_on_the_grid)), {}),
    "noise-as-good-as-gradient": (lambda: sp.Classifier(turned(lambda x, grad: hashed(x) - 0.5)), {}),
    "black-box-beats-white-box": (lambda: sp.Classifier(turned(lambda x, grad: -grad)), {}),
    "unbounded-not-zero": (lambda: sp.Classifier(turned(lambda x, grad: -grad)), {}),
    "not-converged": (
        lambda: sp.Classifier(turned(lambda x, grad: grad * (hashed(x) < 0.15))),
        {"steps": 2, "threats": [sp.Linf(0.3)]},
    ),
    "transfer-beats-white-box": (lambda: sp.Classifier(masked()), {"surrogate": "near"}),
    "surrogate-unbroken": (lambda: sp.Classifier(base()), {"surrogate": "masked"}),
    "few-starts": (
        lambda: sp.Classifier(Around(after=lambda z: z + 1e6 * torch.eye(4)[0])),
        {"access": "decisions", "queries": 150},
    ),
    "unconfirmed": (lambda: sp.Classifier(Around(after=lambda z: z + 0.3 * torch.randn_like(z))), {"queries": 100}),
    "label-free": (lambda: sp.Classifier(base()), {"data": [IMAGES]}),
    "low-clean-accuracy": (lambda: sp.Classifier(base()), {"data": [(IMAGES, torch.full((50,), 2))]}),
    "no-adaptive-view": (lambda: Defended(sp.Classifier(base()), Anxious(0.4)), {"access": "scores"}),
    "rejected": (lambda: Defended(sp.Classifier(base()), Anxious(0.4)), {}),
    "nothing-left": (lambda: sp.Classifier(base()), {"threats": [sp.Linf(0.9)]}),
    "rounding": (lambda: sp.Classifier(base()), {"threats": [sp.Linf(0.0019)], "data": "leaning"}),
    "few-images": (lambda: sp.Classifier(base()), {}),
    "quick-suite": (lambda: sp.Classifier(base()), {}),
    "no-transfer": (lambda: sp.Classifier(base()), {"suite": "standard", "threats": [sp.Linf(0.3)]}),
}


def near():
    """Not the same net, but almost."""
    net = base()
    with torch.no_grad():
        net[1].weight.mul_(1.001)
    return sp.Classifier(net, name="near")


def leaning():
    """16 images of 8 bits next to a boundary of `base`: what moves them across it is less than half a level."""
    images = (torch.rand((4000, 1, 6, 6), generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    with torch.no_grad():
        first, second = base()(images.double()).topk(2, 1).values.T
    return images[(first - second).argsort()[:16]]


def linear():
    """A model of no defence, and independent of the others."""
    torch.manual_seed(2)
    return sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), name="linear")


@pytest.fixture
def raised(quick):
    """`raised(target, ...)`: code -> severity of what a small audit finds."""

    def run(target, **options):
        effort = {"threats": [sp.Linf(0.05)], "restarts": 1, "limit": 16, "batch_size": 16}
        known = {"near": near, "masked": lambda: sp.Classifier(masked()), "linear": linear}
        surrogate = known.get(options.pop("surrogate", None))
        if surrogate:
            options["surrogate"] = surrogate()
        if options.get("data") == "leaning":
            options["data"] = [leaning()]
        report = quick(target=target, probes=True, **(effort | options))
        return {one.code: one.severity for one in report.warnings}

    return run


@pytest.mark.parametrize("code", PLANTED)
def test_what_was_planted_is_found(code, raised):
    make, options = PLANTED[code]
    assert raised(make(), **options).get(code) == KINDS[code].severity


def test_every_kind_is_planted_somewhere():
    assert set(PLANTED) | ELSEWHERE == set(KINDS)
    assert not set(PLANTED) & ELSEWHERE


def test_a_file_that_is_no_picture_is_told(quick, tmp_path):
    for number, image in enumerate(IMAGES[:6]):
        Image.fromarray((image[0] * 255).byte().numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "6.png").write_text("<html>not found</html>")
    report = quick(data=load_data(f"flat:{tmp_path}", input=InputSpec(1, 6, 6)), out=tmp_path / "out" / "run")
    (told,) = [one for one in report.warnings if one.code == "skipped"]
    assert told.severity == KINDS["skipped"].severity
    assert "6.png" in told.message


def test_a_service_that_locks_out_is_told(quick):
    class Closing(Restricted):
        closed = False

        def __call__(self, images, key=None):
            if self.closed:
                raise LockedOut("no more answers for you")
            return super().__call__(images, key)

    target = Closing(sp.Classifier(base()), sp.Scores)

    class Closer(AuditObserver):
        said, chunks = "", 0

        def recorded(self, done):
            self.chunks += 1

        def step(self, progress):
            target.closed |= self.chunks == 1 and progress.step > 3

        def report_message(self, words):
            self.said += words

    observer = Closer()
    report = quick(target=target, threats=[sp.Linf(1e-6)], batch_size=10, observer=observer)
    assert {"locked-out", "unfinished"} <= {one.code for one in report.warnings}
    assert report.data.count == 20
    assert "no more answers for you" in observer.said


def severe(found):
    return [code for code, severity in found.items() if severity == "severe"]


@pytest.mark.parametrize("kind", ["linear", "two layers", "binary"])
def test_small_sound_models_raise_nothing_severe(kind, raised, images):
    torch.manual_seed(1)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    single = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    with torch.no_grad():
        single[1].bias -= single(images).median()
    made = {"linear": linear, "two layers": base(), "binary": single}[kind]
    target = sp.Classifier(made, binary=kind == "binary")
    data = [(images, target(images).argmax(1).detach())]
    found = raised(target, data=data, expected_accuracy=1.0, limit=32, batch_size=32, suite="quick")
    assert set(found) <= NOTES


def test_a_sound_model_behind_a_sound_defence_raises_only_notes(raised, images, target):
    data = [(images, target(images).argmax(1))]
    defended = Defended(target, Anxious(0.9), BitDepth(6))
    assert set(raised(defended, data=data, expected_accuracy=1.0, limit=32, batch_size=32)) <= NOTES


def test_a_sound_audit_of_many_images_raises_nothing_at_all(raised):
    torch.manual_seed(1)
    target = sp.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)))
    images = (torch.rand((1100, 1, 6, 6)) * 255).round() / 255
    data = [(part, target(part).argmax(1)) for part in images.split(550)]
    effort = {"suite": "fgsm,pgd,square", "steps": 20, "expected_accuracy": 1.0, "surrogate": "linear", "limit": None}
    assert raised(target, data=data, threats=[sp.Linf(8 / 255)], **(effort | {"batch_size": 550})) == {}


@pytest.mark.parametrize("name", ["mnist-plain", "mnist-robust-linf"])
@pytest.mark.parametrize("suite", ["quick", pytest.param("standard", marks=pytest.mark.slow)])
def test_the_nets_of_the_zoo_raise_nothing_severe(name, suite, raised):
    loaded = load_model(f"zoo:{name}")
    try:
        digits = load_data("zoo:mnist-heldout", input=loaded.input, limit=32)
    except AssetError as error:
        pytest.skip(f"{error}")
    threats = [sp.Linf(0.1), sp.Linf(0.3)]
    found = raised(loaded, data=digits, threats=threats, suite=suite, limit=32, batch_size=32, queries=50, steps=20)
    assert severe(found) == []


def test_a_severe_finding_may_be_accepted_also_afterwards(quick):
    effort = {"threats": [sp.Linf(0.05)], "limit": 16, "probes": True}
    report = quick(target=sp.Classifier(masked()), accept=["zero-gradients"], **effort)
    assert [one.accepted for one in report.warnings if one.code == "zero-gradients"] == [True]
    assert "black-box-beats-white-box" in [one.code for one in report.warnings if one.blocks]
    again = quick(target=sp.Classifier(masked()), accept=["black-box-beats-white-box"], resume=True, **effort)
    assert {one.code for one in again.warnings if one.accepted} == {"zero-gradients", "black-box-beats-white-box"}
    with pytest.raises(ConfigError, match=r"accept 'zero-gradient': no finding has this code.*Did you mean 'zero-grad"):
        quick(accept=["zero-gradient"])


def test_every_kind_says_when_why_and_what_to_do():
    for kind in LISTED:
        assert all((kind.when, kind.why, kind.advice))
    assert len(KINDS) == len(LISTED)


def test_the_page_has_every_kind():
    assert page() in (ROOT / "docs" / "findings.md").read_text()
