"""`sparring attack`."""

import csv
import json

import numpy as np
import pytest
from safetensors.torch import load_file

LIMITED = ("--limit", 20, "--batch-size", 8)


def row_of(output, name):
    return next(line for line in output.splitlines() if line.startswith(name)).split()


@pytest.mark.parametrize(
    ("name", "words", "shown"),
    [
        ("fgsm", ("--threat", "linf:0.1"), "FGSM"),
        ("pgd", ("--threat", "l2:1", "--steps", 5), "PGD"),
        ("deepfool", (), "DeepFool"),
        ("square", ("--threat", "linf:0.5", "--steps", 60), "Square"),
    ],
)
def test_a_table_with_success_sizes_and_passes(name, words, shown, typed, user):
    result = typed("attack", name, *user, *words, *LIMITED)
    assert result.exit_code == 0, result.stderr
    cells = row_of(result.stdout, shown)
    assert cells[2:4] == ["20", "2"]  # images, and those wrong before
    assert 0 < int(cells[4]) <= 18


def test_targeted(typed, user, tmp_path):
    out = tmp_path / "out"
    words = ("--threat", "linf:0.9", "--targeted", 2, "--out", out)
    assert typed("attack", "pgd", *user, *words, *LIMITED).exit_code == 0
    saved = [load_file(file) for file in sorted(out.glob("0-pgd-*.safetensors"))]
    assert sum(len(part["examples"]) for part in saved) == 20
    assert any(bool(part["success"].any()) for part in saved)
    assert len(list(out.glob("*-adversarial.png"))) == len(list(out.glob("*-original.png"))) > 0


def test_what_is_saved_fools_the_model(typed, user, tmp_path):
    from sparring.zoo import load_model

    out = tmp_path / "out"
    typed("attack", "fgsm", *user, "--threat", "linf:0.05,0.2", "--out", out, *LIMITED)
    target = load_model(user[0]).target
    files = sorted(out.glob("1-fgsm-*.safetensors"))
    assert len(files) == 3
    for file in files:
        part = load_file(file)
        wrong = target(part["examples"]).argmax(1) != part["labels"]
        assert bool(wrong[part["success"]].all())
        assert float((part["examples"] - part["originals"]).abs().max()) <= 0.2 + 1e-6


def test_a_folder_in_use_is_refused(typed, user, tmp_path, effort):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    result = typed("attack", "fgsm", *user, "--threat", "linf:0.1", "--out", tmp_path / "out", *effort[6:])
    assert (result.exit_code, "choose another --out" in result.stderr) == (2, True)


def test_a_file_in_place_of_a_folder_is_refused(typed, user, tmp_path):
    (tmp_path / "out").touch()
    result = typed("attack", "fgsm", *user, "--threat", "linf:0.1", "--out", tmp_path / "out", *LIMITED)
    assert (result.exit_code, "out is a file; choose another --out" in result.stderr) == (2, True)


@pytest.mark.parametrize("name", ["ead", "jsma", "carlini-wagner-l0", "carlini-wagner-linf", "deepfool", "sigma-zero"])
def test_an_attack_that_brings_its_norm_needs_no_threat(name):
    from sparring.cli.specs.attacks import attack_specs, parse_balls

    assert [parse_balls(spec, []) for spec in attack_specs(name)] == [[None]]


def test_a_service_keeps_back_what_it_is_told_to(typed, user):
    words = ("--threat", "linf:0.5", "--queries", 50, "--top-k", 2, "--decimals", 2, "--encode", "uint8")
    cells = row_of(typed("attack", "square", *user, *words, *LIMITED).stdout, "Square")
    assert int(cells[4]) > 0
    refused = typed("attack", "pgd", *user, "--threat", "linf:0.5", "--access", "scores", *LIMITED)
    assert (refused.exit_code, "PGD needs Gradients" in refused.stderr) == (2, True)


def test_queries_are_a_budget_per_image(typed, user):
    result = typed("attack", "square", *user, "--threat", "linf:0.001", "--queries", 7, *LIMITED)
    assert "BUDGET 18" in result.stdout
    assert f"{7 * 18}" in row_of(result.stdout, "Square")


def test_a_lock_out_is_told_and_ends_the_run(typed, user):
    result = typed("attack", "hopskipjump", *user, "--access", "decisions", "--lock-out", 300, *LIMITED)
    assert result.exit_code == 0
    assert "locked the attacker out after" in result.stdout


def test_start_on_a_model_of_ones_own_costs_no_query(typed, user):
    words = ("--threat", "linf:0.2", "--queries", 200, *LIMITED)
    cold = row_of(typed("attack", "square", *user, *words).stdout, "Square")
    warm = row_of(typed("attack", "square", *user, *words, "--start-on", user[0]).stdout, "Square")
    assert int(warm[4]) >= int(cold[4])
    assert int(warm[9].replace(",", "")) < int(cold[9].replace(",", ""))
    refused = typed("attack", "hopskipjump", *user, "--start-on", user[0], *LIMITED)
    assert "--start-on needs a radius" in refused.stderr


def test_a_surrogate_lends_its_gradients_to_a_black_box(typed, user):
    words = ("--threat", "linf:0.3", "--access", "scores", "--surrogate", user[0])
    result = typed("attack", "pgd", *user, *words, *LIMITED)
    assert int(row_of(result.stdout, "PGD")[4]) > 0
    assert "gradients of" in result.stdout


def test_queries_to_success_are_drawn(typed, user, tmp_path):
    typed("attack", "square", *user, "--threat", "linf:0.5", "--out", tmp_path / "out", *LIMITED)
    assert (tmp_path / "out" / "queries.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--access", "decision"), "Did you mean 'decisions'?"),
        (("--encode", "jpg:3"), "write uint8, jpeg:QUALITY, resize:SIZE"),
        (("--encode", "jpeg:0"), "JPEG quality 0"),
        (("--top-k", 0), "--top-k 0 is no number from 1"),
        (("--queries", -1), "budget forwards=-1"),
        (("--rate", 0), "--rate 0 is no number from"),
    ],
)
def test_senseless_services(words, said, typed, user):
    result = typed("attack", "square", *user, "--threat", "linf:0.1", *words)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_an_attack_within_several_balls_at_once(typed, user):
    result = typed("attack", "msd", *user, "--threat", "linf:0.1", "--threat", "l2:1", "--steps", 5, *LIMITED)
    assert result.exit_code == 0, result.stderr
    assert len([line for line in result.stdout.splitlines() if line.startswith("MSD")]) == 2  # the row, and the reasons
    cells = row_of(result.stdout, "MSD Linf(0.1) or L2(1) ")
    assert cells[4:6] == ["20", "2"]  # images, and those wrong before
    assert 0 < int(cells[6]) <= 18
    none = typed("attack", "msd", *user, *LIMITED)
    assert none.exit_code == 2
    assert "msd needs a radius" in none.stderr


AWKWARD = """
import torch
from torch import nn

import mine

class Awkward(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.net, self.change = mine.net(), change

    def forward(self, x):
        return self.change(self.net, x)

def sometimes_nothing():
    return Awkward(lambda net, x: torch.where((x[:, 0, 0, 0] > 0.5)[:, None], torch.nan, net(x)))

def stairs():
    return Awkward(lambda net, x: net((x * 255).round() / 255))
"""


@pytest.fixture
def awkward(user, tmp_path, monkeypatch):
    """Two models as a FILE.py: of answers that are NaN, and of gradients that are zero; and the data."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "awkward.py").write_text(AWKWARD)
    return str(tmp_path / "awkward.py"), user[1]


def test_answers_of_nan_are_not_robust_and_end_with_1(typed, awkward):
    result = typed("attack", "pgd", awkward[0] + ":sometimes_nothing", awkward[1], "--threat", "linf:0.01", *LIMITED)
    assert result.exit_code == 1
    assert "the model answered NaN or infinity, which is never robust" in result.stderr
    ended = next(
        line for line in result.stdout.splitlines() if line.startswith("PGD Linf(0.01): ") and "NON_FINITE" in line
    )
    count = int(ended.split("NON_FINITE ")[1].split(",")[0])
    assert f"answered NaN or infinity on {count} of 20 rows, which count as not robust" in result.stdout


def test_gradients_of_zero_are_said(typed, awkward):
    result = typed("attack", "pgd", awkward[0] + ":stairs", awkward[1], "--threat", "linf:0.1", *LIMITED)
    assert result.exit_code == 0
    assert "PGD Linf(0.1): every gradient was exactly zero on 18 of 20 rows" in result.stdout


def test_labels_that_do_not_fit_are_said(typed, user, tmp_path):

    read = np.load(user[1].removeprefix("npz:"))
    np.savez(tmp_path / "wrong.npz", images=read["images"], labels=(read["labels"] + 1) % 4)
    result = typed("attack", "pgd", user[0], f"npz:{tmp_path / 'wrong.npz'}", "--threat", "linf:0.1", *LIMITED)
    assert "PGD Linf(0.1): the model is wrong on" in result.stdout
    assert "check labels, mean and std" in result.stdout


def test_an_attack_without_a_radius_is_told_in_distances(typed, user, tmp_path):
    out = tmp_path / "out"
    result = typed("attack", "deepfool", *user, "--out", out, *LIMITED)
    cells = row_of(result.stdout, "DeepFool")
    assert cells[7] == "-"  # queries: an attack that goes on after its first success has no number of them
    line = next(line for line in result.stdout.splitlines() if "accuracy by L2 distance" in line)
    saved = [load_file(file) for file in sorted(out.glob("*.safetensors"))]
    sizes = [
        float(size)
        for part in saved
        for size in (part["examples"] - part["originals"]).flatten(1).norm(dim=1)[part["success"]]
    ]
    for text in line.split("distance: ")[1].split(", "):
        share, eps = text.split(" at ")
        assert share == f"{1 - (2 + sum(size <= float(eps) for size in sizes)) / 20:.1%}"
    assert (out / "distances.png").read_bytes().startswith(b"\x89PNG")
    assert not (out / "queries.png").exists()


@pytest.mark.parametrize("words", [("--mean", "123.675"), ("--std", "58.4"), ("--mean", "-0.2")])
def test_statistics_that_images_cannot_have_are_refused(words, typed, user):
    result = typed("attack", "fgsm", *user, "--threat", "linf:0.1", *words, *LIMITED)
    assert (result.exit_code, "is that of no images in [0, 1]; divide by 255" in result.stderr) == (2, True)


OWN = """
from dataclasses import dataclass

import sparring as sp


@dataclass(frozen=True)
class Own(sp.attacks.FGSM):
    share: float = 1.0


several = sp.attacks.Restarts(sp.attacks.PGD(sp.Linf(0.5), steps=2), 2)

def made():
    return sp.attacks.PGD(sp.Linf(0.5), steps=3)

def kind():
    return sp.attacks.PGD

def broken():
    raise ValueError("no attack here")

number = 5
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return str(tmp_path / "own.py")


def table_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


WITHOUT_SECONDS = slice(0, -1)


def test_several_attacks_each_find_what_they_find_alone_and_are_written_side_by_side(typed, user, tmp_path):
    words = (*user, "--threat", "l2:0.5", *LIMITED)
    names = ("pgd:steps=3", "PGD:steps=9,n_restarts=2", "fgsm", "deepfool", "c&w:steps=5,binary_search_steps=2")
    whole = typed("attack", ",".join(names), *words, "--out", tmp_path / "all")
    assert whole.exit_code == 0, whole.stderr
    sums, images = table_of(tmp_path / "all" / "attacks.csv"), table_of(tmp_path / "all" / "images.csv")
    assert [row["attack"] for row in sums] == [
        "PGD L2(0.5)", "PGD x 2 L2(0.5)", "FGSM L2(0.5)", "DeepFool L2(0.5)", "CarliniWagner L2(0.5)"
    ]  # fmt: skip
    record = json.loads((tmp_path / "all" / "attacks.json").read_text())
    assert [one["fell"] for one in record["attacks"]] == [int(row["fell"]) for row in sums]
    for place, name in enumerate(names):
        out = tmp_path / str(place)
        alone = typed("attack", name, *words, "--out", out)
        (line,) = [one for one in whole.stdout.splitlines() if one.strip().startswith(sums[place]["attack"] + " ")][:1]
        (expected,) = [one for one in alone.stdout.splitlines() if one.startswith(sums[place]["attack"] + " ")][:1]
        assert line.split()[WITHOUT_SECONDS] == expected.split()[WITHOUT_SECONDS]
        mine = [row for row in images if row["attack"] == sums[place]["attack"]]
        assert mine == table_of(out / "images.csv")
        assert len(mine) == 20
        assert sum(int(row["success"]) for row in mine) == int(sums[place]["fell"])
        assert all((row["distance"] != "") == (row["success"] == "1") for row in mine)
        assert all(float(row["distance"]) <= 0.5 + 1e-6 for row in mine if row["success"] == "1")
    assert (tmp_path / "all" / "queries.png").read_bytes().startswith(b"\x89PNG")


def test_attacks_of_one_name_are_told_apart_by_their_parameters(typed, user):
    result = typed("attack", "pgd,pgd:steps=3", *user, "--threat", "linf:0.1", *LIMITED)
    assert result.exit_code == 0, result.stderr
    assert row_of(result.stdout, "PGD Linf(0.1)")[2] == "20"
    assert row_of(result.stdout, "PGD(steps=3) Linf(0.1)")[2] == "20"


def test_curves_by_distance_are_one_picture_for_each_norm(typed, user, tmp_path):
    assert typed("attack", "fmn", *user, "--threat", "l2", *LIMITED, "--out", tmp_path / "a").exit_code == 0
    assert typed("attack", "deepfool,sigma-zero", *user, *LIMITED, "--out", tmp_path / "b").exit_code == 0
    assert [file.name for file in (tmp_path / "a").glob("*distances*")] == ["distances.png"]
    assert {file.name for file in (tmp_path / "b").glob("*distances*")} == {"distances-l2.png", "distances-l0.png"}


@pytest.mark.parametrize("name", ["auto", "AutoAttack:steps=2,n_queries=5"])
def test_the_ensembles_are_attacks_like_others(typed, user, name):
    result = typed("attack", name, *user, "--threat", "linf:0.05", *LIMITED)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("Own", "fgsm"),
        ("Own:share=0.5", "fgsm"),
        ("several", "pgd:steps=2,n_restarts=2"),
        ("made", "pgd:steps=3"),
        ("made:steps=4", "pgd:steps=4"),
        ("kind:steps=4", "pgd:steps=4"),
        ("made:n_restarts=2", "pgd:steps=3,n_restarts=2"),
    ],
)
def test_an_attack_of_ones_own_file_is_a_class_an_object_or_a_function(typed, user, own, name, same):
    words = (*user, "--threat", "linf:0.1", *LIMITED)
    mine, expected = (typed("attack", one, *words) for one in (f"{own}:{name}", same))
    assert mine.exit_code == 0, mine.stderr
    found, known = (one.stdout.splitlines()[2].split()[:-1] for one in (mine, expected))
    assert found[found.index("Linf(0.1)") :] == known[known.index("Linf(0.1)") :]


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("pdg",), "Did you mean 'pgd'?", 2),
        (("pgd,sqare",), "Did you mean 'square'?", 2),
        (("pgd,pgd",), "pgd is named twice", 2),
        ((",",), "names no attack", 2),
        (("universal",), "sparring fit universal", 2),
        (("pgd:steps=3", "--steps", 4), "gives steps, and so does --steps 4", 2),
        (("pgd:steps=0",), "PGD steps=0; pass an integer >= 1", 2),
        (("auto", "--steps", 4), "auto has no --steps", 2),
        (("OWN:number",), "5 is no attack; pass a name, a class or an object", 2),
        (("OWN:broken",), "raised ValueError: no attack here", 3),
        (("OWN:mad",), "has nothing of the name 'mad'. Did you mean 'made'?", 2),
        (("OWN:made:step=3",), "has no parameter 'step'", 2),
        (("none.py:made",), "none.py does not exist", 2),
        (("pgd", "--batch-size", 0), "--batch-size 0 is no number from 1 to 2147483647", 2),
        (("pgd", "--batch-size", -3), "--batch-size -3 is no number from 1 to 2147483647", 2),
        (("pgd", "--limit", -1), "--limit -1 is no number from 1 to 2147483647", 2),
        (("pgd", "--seed", -1), "--seed -1 is no number from 0 to 2147483647", 2),
        (("pgd", "--seed", 2**40), "--seed 1099511627776 is no number from 0 to 2147483647", 2),
        (("pgd", "--seed", "x"), "Invalid value for '--seed': Input should be a valid integer", 2),
        (("pgd", "--steps", "many"), "Invalid value for '--steps': Input should be a valid integer", 2),
        (("pgd", "--stepz", "3"), "--stepz", 2),
        (("pgd", "--targeted", 4), "--targeted: 4 is no class", 2),
        (("pgd", "--targeted", -1), "--targeted: -1 is no class", 2),
        (("pgd", "--targeted", "cat"), "its classes have no names", 2),
    ],
)
def test_what_cannot_be_meant_is_one_line(typed, user, own, words, said, code):
    words = (
        str(words[0]).replace("OWN", own),
        *user,
        "--threat",
        "linf:0.1",
        *words[1:],
        *LIMITED[: 2 * ("--limit" not in words)],
    )
    result = typed("attack", *words, "--classes", 4)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


NAMED = """
import sparring as sp
from sparring.zoo import LoadedModel
from mine import net

def named():
    names = ("Ant", "bee", "tabby, cat", "bee")
    return LoadedModel("named", sp.Classifier(net().eval(), classes=4), None, names, "", None)
"""


def test_a_class_is_wanted_by_its_name(typed, user, tmp_path):
    (tmp_path / "named.py").write_text(NAMED)
    words = (f"{tmp_path / 'named.py'}:named", user[1], "--threat", "linf:0.9", *LIMITED)
    by_name = typed("attack", "pgd", *words, "--targeted", "tabby, Cat")
    by_number = typed("attack", "pgd", *words, "--targeted", 2)
    assert by_name.exit_code == 0, by_name.stderr
    assert row_of(by_name.stdout, "PGD")[:-1] == row_of(by_number.stdout, "PGD")[:-1]
    unknown = typed("attack", "pgd", *words, "--targeted", "aunt")
    assert (unknown.exit_code, "Did you mean 'ant'?" in unknown.stderr) == (2, True)
    assert "several classes are called 'bee'" in typed("attack", "pgd", *words, "--targeted", "bee").stderr
