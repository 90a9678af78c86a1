"""Zero-shot classifiers of given text embeddings, and embedding goals on any encoder."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

import sparring as sp
from sparring import testing
from sparring.attacks import BIM, PGD
from sparring.errors import ConfigError, InputError, TargetError
from sparring.goals import Dodge, Impersonate
from sparring.targets import Model, ZeroShotClassifier
from sparring.tasks import Verification
from sparring.testing.cases import draw

ENCODER, IMAGES = testing.cases.embedder(6)
TEXTS = draw("texts", (5, 8)) * torch.tensor([[1.0], [100.0], [0.01], [3.0], [7.0]])


def cosines() -> torch.Tensor:
    with torch.no_grad():
        return cosine_similarity(ENCODER(IMAGES)[:, None], TEXTS[None], dim=2)


def test_logits_are_cosines_over_the_temperature() -> None:
    target = ZeroShotClassifier(ENCODER, TEXTS, temperature=0.02)
    torch.testing.assert_close(target(IMAGES), cosines() / 0.02)
    torch.testing.assert_close(ZeroShotClassifier(ENCODER, 3 * TEXTS)(IMAGES), cosines() / 0.01)
    assert target.classes == 5


@pytest.mark.parametrize("field", ["image_embeds", "pooler_output"])
def test_outputs_of_hugging_face_are_read(field: str) -> None:
    class Theirs(nn.Module):
        def forward(self, pixel_values):
            return SimpleNamespace(**{field: ENCODER(pixel_values), "last_hidden_state": None})

    torch.testing.assert_close(ZeroShotClassifier(Theirs(), TEXTS)(IMAGES), cosines() / 0.01)
    torch.testing.assert_close(ZeroShotClassifier(lambda x: {field: ENCODER(x)}, TEXTS)(IMAGES), cosines() / 0.01)


def test_it_is_attacked_as_a_classifier_and_told_apart_by_its_texts() -> None:
    target = ZeroShotClassifier(ENCODER, TEXTS)
    labels = cosines().argmax(1)
    outcome = sp.run(PGD(sp.Linf(0.1), steps=10), target, labels, IMAGES)
    assert outcome.success.any()
    with torch.no_grad():
        moved = cosine_similarity(ENCODER(outcome.examples)[:, None], TEXTS[None], dim=2).argmax(1)
    assert torch.equal(moved != labels, outcome.success)
    warmer = sp.run(PGD(sp.Linf(0.1), steps=10), ZeroShotClassifier(ENCODER, TEXTS, temperature=0.5), labels, IMAGES)
    torch.testing.assert_close(warmer.examples, outcome.examples)  # the default loss does not see the temperature
    other = ZeroShotClassifier(ENCODER, TEXTS.flip(0))
    assert str(other.identity()) != str(target.identity()) or not torch.equal(other.model.texts, target.model.texts)


def test_embeddings_are_left_and_reached_in_either_metric() -> None:
    """The goals of verification are those of any encoder: its own clean embedding is what an image leaves."""
    for metric, low, high in (("cosine", 0.5, 0.6), ("euclidean", -1.5, -2.5)):
        encoder = Model(ENCODER, Verification(metric))
        clean = encoder.predict(IMAGES)
        away = sp.run(PGD(sp.Linf(0.1)), encoder, Dodge(clean, low, metric=metric), IMAGES, keep="highest-loss")
        first = sp.run(PGD(sp.Linf(0.1)), encoder, Dodge(clean, low, metric=metric), IMAGES)
        assert away.success.all()
        similarity = sp.tasks.similarity(encoder.predict(away.examples), clean, metric)
        assert bool((similarity < low).all())
        assert bool((similarity <= sp.tasks.similarity(encoder.predict(first.examples), clean, metric) + 1e-12).all())
        aim = Impersonate(clean.roll(1, 0)[:, None], high, metric=metric)
        reached = sp.run(PGD(sp.Linf(0.3), steps=60), encoder, aim, IMAGES)
        assert reached.success.any()


def test_an_attack_that_begins_on_the_embedding_to_leave_says_that_it_has_no_gradient() -> None:
    encoder = Model(ENCODER, Verification("euclidean"))
    goal = Dodge(encoder.predict(IMAGES), -0.5, metric="euclidean")
    outcome = sp.run(BIM(sp.Linf(0.1), steps=25), encoder, goal, IMAGES)
    assert outcome.zero_gradient.all()
    assert not outcome.success.any()
    assert sp.run(PGD(sp.Linf(0.1), steps=25), encoder, goal, IMAGES).success.all()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (torch.zeros(3, 8), r"texts\[0\] is zero"),
        (torch.full((2, 8), float("nan")), r"texts\[0\] is zero, or holds NaN"),
        (torch.ones(1, 8), r"\(K, D\), an embedding for each of K >= 2 classes; got torch.float32 \(1, 8\)"),
        (torch.ones(8), "got torch.float32"),
        (torch.ones(2, 8).long(), "got torch.int64"),
        ([[1.0, 2.0]], "got list"),
    ],
)
def test_texts_that_are_none(texts: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ZeroShotClassifier(ENCODER, texts)


@pytest.mark.wrong_types
def test_encoders_and_temperatures_that_are_none() -> None:
    for temperature in (0, -1.0, float("inf"), "warm", True):
        with pytest.raises(ConfigError, match="temperature="):
            ZeroShotClassifier(ENCODER, TEXTS, temperature=temperature)
    with pytest.raises(TargetError, match="cannot be called"):
        ZeroShotClassifier(3, TEXTS)
    with pytest.raises(TargetError, match=r"embeddings \(6, 8\), and those of the texts have 7 dimensions"):
        ZeroShotClassifier(ENCODER, TEXTS[:, :7])(IMAGES)
    with pytest.raises(TargetError, match="the encoder returned a tuple"):
        ZeroShotClassifier(lambda x: (ENCODER(x),), TEXTS)(IMAGES)
