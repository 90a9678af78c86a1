"""Certified patches: covering masks, exact certificates against brute force, and the defences as targets."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

import sparring as sp
from sparring.attacks import PGD, HopSkipJump
from sparring.defenses.certification import DerandomizedSmoothing, PatchCleanser
from sparring.defenses.certification.patches import covering_masks
from sparring.defenses.certification.patches.masks import mask_spans
from sparring.defenses.randomization import InputNoise
from sparring.errors import ConfigError, InputError, TargetError
from sparring.goals import Misclassify
from sparring.random import Key
from sparring.targets import Defended
from sparring.testing import check_target
from sparring.testing.cases import Case, small_net

SIDE, CLASSES = 5, 3


class Sampled(nn.Module):
    """A net without structure: each class is a random wave of a random sum of the pixels, plus a bias for class 0."""

    def __init__(self, seed: int, channels: int = 1, bias: float = 1.0) -> None:
        super().__init__()
        key = Key(torch.tensor([0]), seed)
        shape = (CLASSES, channels * SIDE * SIDE)
        self.weight = nn.Parameter(key.normal("weight", shape, dtype=torch.float64)[0])
        self.bias = nn.Parameter(torch.tensor([bias, 0, 0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.weight.T).sin() + self.bias


def images_of(count: int, seed: int = 0) -> Tensor:
    """Random images of 0s and 1s."""
    return Key(torch.arange(count), seed).integers("images", (1, SIDE, SIDE), 2).double()


def all_patched(image: Tensor, patch: tuple[int, int]) -> Tensor:
    """Every image that a patch of 0s and 1s, at any place, makes of an image (1, H, W)."""
    contents = torch.tensor(list(product((0.0, 1.0), repeat=patch[0] * patch[1])), dtype=image.dtype)
    contents = contents.view(-1, 1, *patch)
    found = []
    for top, left in product(range(SIDE - patch[0] + 1), range(SIDE - patch[1] + 1)):
        patched = image.expand(len(contents), -1, -1, -1).clone()
        patched[:, :, top : top + patch[0], left : left + patch[1]] = contents
        found.append(patched)
    return torch.cat(found)


def moved_by_some_patch(defence: sp.targets.Target, images: Tensor, patch: tuple[int, int]) -> Tensor:
    """(N,) bool: whether any of the enumerated patches changes the defence's class."""
    clean = defence(images).argmax(1)
    moved = [defence(all_patched(image, patch)).argmax(1) != own for image, own in zip(images, clean, strict=True)]
    return torch.stack([one.any() for one in moved])


# Covering


@pytest.mark.parametrize("count", [1, 2, 3, 6, 50])
def test_each_place_of_a_patch_lies_within_a_mask(count: int) -> None:
    for length in range(1, 33):
        for patch in range(1, length + 1):
            spans = mask_spans(length, patch, count)
            assert len(spans) <= count
            assert all(0 <= start < stop <= length for start, stop in spans)
            for place in range(length - patch + 1):
                assert any(start <= place and place + patch <= stop for start, stop in spans)


def test_each_patch_of_an_image_lies_within_a_mask() -> None:
    masks = covering_masks(9, 13, (2, 4), 3)
    assert masks.shape == (9, 9, 13)
    for top, left in product(range(8), range(10)):
        assert bool(masks[:, top : top + 2, left : left + 4].flatten(1).all(1).any())
    side = covering_masks(224, 224, (32, 32), 6)
    assert side.shape[0] == 36
    assert int(side[0, 0].sum()) == 32 + 33 - 1  # stride ceil((224 - 32 + 1) / 6) = 33


# Brute force: every place, every content of 0s and 1s


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("patch", [(1, 1), (2, 2), (1, 3)])
def test_no_patch_moves_what_patch_cleanser_certifies(seed: int, patch: tuple[int, int]) -> None:
    defence = PatchCleanser(sp.Classifier(Sampled(seed, bias=1.3)), patch, masks_per_axis=3)
    images = images_of(12, seed)
    found = defence.certify(images)
    assert torch.equal(found.predicted, defence(images).argmax(1))
    assert not bool((moved_by_some_patch(defence, images, patch) & found.certified).any())


def test_patch_cleanser_certifies_some_images_and_refuses_others() -> None:
    certified = torch.cat(
        [PatchCleanser(sp.Classifier(Sampled(s, bias=1.3)), 1, masks_per_axis=3).certify(images_of(12, s)).certified
         for s in range(6)]
    )  # fmt: skip
    assert 0 < int(certified.sum()) < len(certified)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("ablation", "size", "fill", "threshold"),
    [
        ("columns", 1, 0.5, None), ("columns", 2, None, None), ("rows", 2, 0.5, 0.4), ("block", 2, 0.5, None),
        ("block", 1, None, 0.5),
    ],
)  # fmt: skip
def test_no_patch_moves_what_derandomized_smoothing_certifies(
    seed: int, ablation: str, size: int, fill: float | None, threshold: float | None
) -> None:
    base = sp.Classifier(Sampled(seed, 2 if fill is None else 1, 1.5))
    defence = DerandomizedSmoothing(base, size, ablation=ablation, fill=fill, threshold=threshold)
    images, some = images_of(10, seed), 0
    for patch in ((1, 1), (2, 1), (1, 2)):
        moved = moved_by_some_patch(defence, images, patch)
        counting, place = (defence.certify(images, patch, how) for how in ("counting", "place"))
        assert torch.equal(place.predicted, defence(images).argmax(1))
        assert bool((place.certified | ~counting.certified).all())
        assert not bool((moved & place.certified).any())
        some += int(place.certified.sum())
    assert some > 0 or seed > 0


class Obedient(nn.Module):
    """Votes for the class that a pixel of the kept part names (0.1: class 1, 0.2: class 2), else for class 0.

    So a patch can make each ablation that it touches vote as it likes, and the place certificate is tight.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unit = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        named = [((x - value).abs() < 1e-6).flatten(1).any(1).double() for value in (0.1, 0.2)]
        return torch.stack((torch.full_like(named[0], 0.5), *named), 1) * self.unit


@pytest.mark.parametrize(
    ("ablation", "patch"),
    [
        ("columns", (SIDE, 1)), ("columns", (SIDE, 2)), ("rows", (1, SIDE)), ("rows", (2, SIDE)), ("block", (1, 1)),
        ("block", (2, 2)), ("block", (1, 3)),
    ],
)  # fmt: skip
def test_place_certificate_is_tight(ablation: str, patch: tuple[int, int]) -> None:
    """Where each ablation obeys what the patch writes into it, exactly the certified images withstand all patches."""
    defence = DerandomizedSmoothing(sp.Classifier(Obedient()), 1, ablation=ablation)
    shape = {"columns": (1, SIDE), "rows": (SIDE, 1), "block": (SIDE, SIDE)}[ablation]
    names = torch.tensor([0.9, 0.1, 0.2], dtype=torch.float64)
    draws = Key(torch.arange(300), 9).uniform("names", shape)
    one, two = (0.45, 0.75) if ablation == "block" else (0.75, 0.92)
    votes = (draws > one).long() + (draws > two).long()
    votes[1::2] = (votes[1::2] + 1) % 3  # so that class 1 often wins
    images = names[votes][:, None].expand(300, 1, SIDE, SIDE).clone()
    clean, moved = defence(images).argmax(1), torch.zeros(300, dtype=torch.bool)
    for top, left in product(range(SIDE - patch[0] + 1), range(SIDE - patch[1] + 1)):
        for value in names:
            patched = images.clone()
            patched[:, :, top : top + patch[0], left : left + patch[1]] = value
            moved |= defence(patched).argmax(1) != clean
    found = defence.certify(images, patch)
    assert torch.equal(found.predicted, clean)
    assert torch.equal(found.certified, ~moved)
    assert 0 < int(moved.sum()) < 300


def votes_case(votes: list[int]) -> tuple[DerandomizedSmoothing, Tensor]:
    """A defence with bands of one column whose votes for the image are these, column by column."""
    values = torch.tensor([0.9, 0.1, 0.2], dtype=torch.float64)
    image = values[torch.tensor(votes)].expand(1, 1, SIDE, len(votes)).clone()
    return DerandomizedSmoothing(sp.Classifier(Obedient()), 1), image


@pytest.mark.parametrize(
    ("votes", "counting", "place"),
    [
        ([0, 0, 0, 0, 0], True, True),
        ([0, 0, 0, 0, 1], True, True),  # 4 against 1: a patch of one column makes 3 against 2
        ([0, 0, 0, 1, 1], False, False),  # 3 against 2 becomes 2 against 3
        ([0, 0, 0, 1, 1, 2], False, False),
        ([0, 0, 0, 1], True, True),  # 3 against 1 becomes 2 against 2, and a tie is the first class's
        ([1, 1, 1, 0], False, False),  # which here is the other one
        ([1, 1, 1, 0, 2, 1], True, True),  # 4 against 1 becomes 3 against 2
    ],
)  # fmt: skip
def test_counting_certificate_at_its_edge(votes: list[int], counting: bool, place: bool) -> None:
    defence, image = votes_case(votes)
    assert defence.certify(image, (SIDE, 1), "counting").certified.tolist() == [counting]
    assert defence.certify(image, (SIDE, 1), "place").certified.tolist() == [place]


def test_place_certificate_counts_the_votes_that_a_patch_can_take() -> None:
    defence, image = votes_case([1, 1, 0, 0, 0, 0, 0, 1, 1])  # 5 against 4 in the middle
    assert not bool(defence.certify(image, (SIDE, 1), "place").certified)
    defence, image = votes_case([0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0])  # 7 against 4, patches of two columns: D = 2
    assert defence.certify(image, (SIDE, 2), "counting").certified.tolist() == [False]
    # two neighbours that vote for class 0 become two for class 1: 5 against 6
    assert defence.certify(image, (SIDE, 2), "place").certified.tolist() == [False]
    defence, image = votes_case([0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 2, 0])  # 7, 4, 1
    assert defence.certify(image, (SIDE, 1), "counting").certified.tolist() == [True]
    defence, image = votes_case([0, 2, 0, 1, 0, 2, 0, 1, 0])  # 5, 2, 2: no two neighbours vote alike
    assert defence.certify(image, (SIDE, 2), "counting").certified.tolist() == [False]
    assert defence.certify(image, (SIDE, 2), "place").certified.tolist() == [True]  # 4 against 4 at worst


def test_number_of_ablations_that_a_patch_touches() -> None:
    """Against a count by hand: every pixel of a patch looked up in every ablation."""
    base = sp.Classifier(Sampled(0))
    for ablation, size, patch in product(("columns", "rows", "block"), (1, 2, 4, 5), ((1, 1), (2, 3), (5, 5))):
        defence = DerandomizedSmoothing(base, size, ablation=ablation)
        image = images_of(1)
        kept = defence.ablation.kept(image)
        assert kept.shape[0] == {"columns": SIDE, "rows": SIDE, "block": SIDE * SIDE}[ablation]
        counts = {
            int(kept[:, top : top + patch[0], left : left + patch[1]].flatten(1).any(1).sum())
            for top, left in product(range(SIDE - patch[0] + 1), range(SIDE - patch[1] + 1))
        }
        across, down = (min(side + size - 1, SIDE) for side in (patch[1], patch[0]))
        assert counts == {{"columns": across, "rows": down, "block": across * down}[ablation]}


# As targets


def defences(case: Case) -> dict[str, sp.targets.Target]:
    return {
        "double masking": PatchCleanser(case.target, 2, masks_per_axis=3),
        "bands": DerandomizedSmoothing(case.target, 3),
    }


@pytest.mark.parametrize("name", ["double masking", "bands"])
def test_defences_obey_the_laws_of_targets(name: str) -> None:
    case = small_net()
    check_target(defences(case)[name], case.images, modules=(case.module,))


@pytest.mark.parametrize("name", ["double masking", "bands"])
def test_adaptive_attacks_climb_the_ablations_and_are_judged_by_the_defence(name: str) -> None:
    case = small_net()
    defence = defences(case)[name]
    own = defence(case.images).argmax(1)
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 3:5, 3:5] = True
    found = sp.run(PGD(sp.Linf(1.0), steps=20), defence, Misclassify(own), case.images, mask=mask)
    certified = defence.certify(case.images) if name != "bands" else defence.certify(case.images, 2)
    assert not bool((found.success & certified.certified).any())
    assert torch.equal(found.success, defence(found.examples).argmax(1) != own)
    everywhere = sp.run(PGD(sp.Linf(0.5), steps=20), defence, Misclassify(own), case.images)
    assert bool(everywhere.success.any())


def test_a_black_box_is_enough_and_stays_one() -> None:
    case = small_net()
    for restricted in (sp.Restricted(case.target, access) for access in (sp.Decisions, sp.Scores)):
        for defence in (PatchCleanser(restricted, 2), DerandomizedSmoothing(restricted, 3)):
            assert defence.access is sp.Decisions
    white, black = PatchCleanser(case.target, 2), PatchCleanser(sp.Restricted(case.target, sp.Decisions), 2)
    assert torch.equal(white.certify(case.images).certified, black.certify(case.images).certified)
    own = black(case.images).argmax(1)
    found = sp.run(HopSkipJump(sp.L2(), steps=1), black, Misclassify(own[:2]), case.images[:2])
    assert torch.equal(found.success, black(found.examples).argmax(1) != own[:2])


def test_batches_do_not_matter() -> None:
    case = small_net()
    for size in (1, 7):
        small = PatchCleanser(case.target, 2, masks_per_axis=3, batch_size=size).certify(case.images)
        whole = PatchCleanser(case.target, 2, masks_per_axis=3).certify(case.images)
        assert torch.equal(small.certified, whole.certified)
        bands = DerandomizedSmoothing(case.target, 3, batch_size=size).certify(case.images, 2)
        assert torch.equal(bands.certified, DerandomizedSmoothing(case.target, 3).certify(case.images, 2).certified)


def test_no_model_is_asked_about_no_images() -> None:
    asked: list[int] = []

    def constant(x: Tensor) -> Tensor:
        asked.append(len(x))
        return torch.tensor([0.0, 1.0]).expand(len(x), 2)

    images = torch.rand(3, 1, 6, 6)
    for defence in (PatchCleanser(sp.Classifier(constant), 2), PatchCleanser(sp.Classifier(constant), 6)):
        found = defence.certify(images)
        assert found.predicted.tolist() == [1, 1, 1]
        assert bool(found.certified.all())
        defence(images)
    assert min(asked) > 0


def test_certified_accuracy_counts_what_is_right_and_certified() -> None:
    defence, image = votes_case([0, 0, 0, 0, 0])
    found = defence.certify(torch.cat((image, image)), 1)
    assert found.certified_accuracy(torch.tensor([0, 1])) == 0.5
    with pytest.raises(InputError, match="labels"):
        found.certified_accuracy(torch.tensor([0]))


@pytest.mark.wrong_types
def test_bad_input_is_refused() -> None:
    case, verifier = small_net(), sp.Model(nn.Linear(2, 2), sp.tasks.Verification())
    for make, error, words in (
        (lambda: PatchCleanser(case.target, 0), ConfigError, "patch=0"),
        (lambda: PatchCleanser(case.target, (1, 2, 3)), ConfigError, "patch="),
        (lambda: PatchCleanser(case.target, True), ConfigError, "patch=True"),
        (lambda: PatchCleanser(case.target, 2, masks_per_axis=0), ConfigError, "masks_per_axis=0"),
        (lambda: PatchCleanser(case.target, 2, fill=2), ConfigError, "fill=2"),
        (lambda: PatchCleanser(verifier, 2), TargetError, "around a classifier"),
        (lambda: PatchCleanser(Defended(case.target, InputNoise(0.1)), 2), TargetError, "is random"),
        (lambda: PatchCleanser(case.target, 9).certify(case.images), ConfigError, "does not fit"),
        (lambda: PatchCleanser(case.target, 2).certify(case.images + 1), InputError, "pixels reach"),
        (lambda: DerandomizedSmoothing(case.target, 0), ConfigError, "size=0"),
        (lambda: DerandomizedSmoothing(case.target, 2, ablation="band"), ConfigError, "ablation='band'"),
        (lambda: DerandomizedSmoothing(case.target, 2, threshold=3), ConfigError, "threshold=3"),
        (lambda: DerandomizedSmoothing(case.target, 2).certify(case.images, 9), ConfigError, "does not fit"),
        (lambda: DerandomizedSmoothing(case.target, 2).certify(case.images, 2, "exact"), ConfigError, "certificate="),
    ):
        with pytest.raises(error, match=words):
            make()
