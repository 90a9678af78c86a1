"""`sparring attack`."""

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
        (("--top-k", 0), "pass top >= 1"),
        (("--queries", -1), "budget forwards=-1"),
        (("--rate", 0), "per_second=0"),
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
