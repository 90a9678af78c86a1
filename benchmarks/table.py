"""Render docs/benchmarks.md from the raw rows in records/bench, and from nothing else."""

import json
import sys
from collections.abc import Callable, Iterable
from math import inf, sqrt
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, TypeVar

from benchmarks.overhead import STEPS, overhead
from benchmarks.provenance import ROOT

Row = dict[str, Any]
Key = TypeVar("Key")
RECORDS = ROOT / "records" / "bench"
METHOD = Path(__file__).with_name("method.md")
PAGE = ROOT / "docs" / "benchmarks.md"
ORDER = ("overhead", "pgd", "cw", "deepfool", "hopskipjump", "square", "queries", "fixed", "minimum", "autoattack")
JOINT = ("fixed", "minimum", "autoattack")  # one table for each net and radius, with all attacks in it
NAMES = {
    "sparring": "**sparring**",
    "foolbox": "Foolbox",
    "torchattacks": "torchattacks",
    "advlib": "adv-lib",
    "art": "ART",
    "autoattack": "reference AutoAttack",
}
TITLES = {
    "pgd": "PGD",
    "pgd_from_the_image": "PGD from the image",
    "apgd": "APGD",
    "apgd_t": "APGD-T",
    "autoattack": "AutoAttack",
    "carlini_wagner": "Carlini-Wagner",
    "carlini_wagner_linf": "Carlini-Wagner",
    "deepfool": "DeepFool",
    "superdeepfool": "SuperDeepFool",
    "ddn": "DDN",
    "fmn": "FMN",
    "alma": "ALMA",
    "ead": "EAD",
    "fab": "FAB",
    "fab_t": "FAB-T",
    "pdpgd": "PDPGD",
    "jsma": "JSMA",
    "sigma_zero": "SigmaZero",
    "hopskipjump": "HopSkipJump",
    "square": "Square",
    "boundary": "Boundary",
    "simba_pixels": "SimBA (pixels)",
    "simba_dct": "SimBA (cosines)",
    "zoo": "ZOO",
    "spsa": "SPSA",
}
SLOWER, WORSE_DISTANCE, WORSE_SHARE = 1.0, 1.0005, 1e-9  # beyond these a figure is a loss, and is published


def main() -> int:
    """Write the page; 1 when there is no record to write it from."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))}
    if not found:
        print(f"no records in {RECORDS}: run `make bench` first")
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(found))
    print(f"{PAGE.relative_to(ROOT)} from {', '.join(found)}")
    return 0


def page(records: dict[str, dict[str, Any]]) -> str:
    """The whole page: the method, then one section for each record, then the losses."""
    known = [name + device for device in ("", "-cuda") for name in ORDER]
    names = [name for name in known if name in records]
    losses: list[str] = []
    sections = [METHOD.read_text().rstrip()]
    for name in names:
        sections.append(_section(name, records[name], losses))
    lost = [f"- {loss}" for loss in losses] or ["None in these records."]
    sections.append("\n".join(["## Losses", "", "Every figure above in which a peer did better.", "", *lost]))
    return "\n\n".join(sections) + "\n"


def _section(name: str, record: dict[str, Any], losses: list[str]) -> str:
    rows: list[Row] = record["rows"]
    parts = [f"## {name}", _made(record["made"])]
    if name.startswith("overhead"):
        for (net, batch), group in _grouped(rows, lambda row: (row["net"], row["batch"])):
            parts.append(_overhead_table(f"{net}, batch {batch}", group, losses))
    elif name.removesuffix("-cuda") in JOINT:
        for _, group in _grouped(rows, lambda row: (row["net"], row["norm"], row["eps"])):
            parts.append(_joint_table(group, losses))
    else:
        table = _queries_table if name.removesuffix("-cuda") == "queries" else _comparison_table
        for _, group in _grouped(rows, lambda row: (row["net"], row["attack"], row["eps"])):
            parts.append(table(group, losses))
    return "\n\n".join(parts)


def _made(made: dict[str, Any]) -> str:
    versions: dict[str, str] = made["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    commit = str(made["commit"])[:10] + (" with uncommitted changes" if made["uncommitted_changes"] else "")
    device = made["cpu"] if made["device"] == "cpu" else made["device"]
    return (
        f"`{made['command']}`, {made['date']}, commit {commit}, {device}, {made['threads']} thread, "
        f"Python {made['python']}; {listed}."
    )


def _title(row: Row) -> str:
    return f"{TITLES[row['attack']]} {_threat(row)} on {row['net']}"


def _threat(row: Row) -> str:
    return str(row["norm"]) if row["eps"] is None else f"{row['norm']} {row['eps']:.4g}"


def _settings(row: Row) -> str:
    settings: dict[str, float | bool] = {name: value for name, value in row["settings"].items() if name != "norm"}
    shown = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in settings.items()]
    return "; ".join([f"{row['images']} images", ", ".join(shown)] if shown else [f"{row['images']} images"]) + "."


def _value(value: float | bool) -> str:
    return ("off", "on")[value] if isinstance(value, bool) else f"{value:.4g}"


def _comparison_table(rows: list[Row], losses: list[str]) -> str:
    title = _title(rows[0])
    fixed = rows[0]["eps"] is not None
    entries = [_summary(group) for _, group in _grouped(rows, lambda row: (row["library"], row["variant"]))]
    ours = [entry for entry in entries if entry["library"] == "sparring" and not entry["note"]]
    answer = "robust accuracy" if fixed else "success | median distance"
    lines = [
        f"### {title}",
        "",
        _settings(rows[0]),
        "",
        f"| library | seconds (least to most) | ours / theirs | forwards | backwards | {answer} | |",
        "|---|---|---|---|---|---|" + ("---|" if fixed else "---|---|"),
    ]
    for entry in entries:
        own = _opposite(entry, ours)
        lines.append(_comparison_line(entry, own, fixed))
        losses += [f"{title}: {loss}" for loss in _lost(own, entry, fixed)] if own else []
    return "\n".join(lines)


def _queries_table(rows: list[Row], losses: list[str]) -> str:
    """One attack, or several for one question, with each entry's own settings and both kinds of seconds."""
    title, fixed = _title(rows[0]), rows[0]["eps"] is not None
    traced = any("queries_to_success" in row for row in rows)
    entries = [_summary(group) for _, group in _grouped(rows, lambda row: (row["library"], row["variant"]))]
    art = next((entry for entry in entries if entry["library"] == "art"), None)
    columns = ["library", "its own settings", "processor seconds", "wall seconds"]
    columns += [*([] if art is None else ["of ART's processor seconds"]), "queries"]
    columns += [*(["to success: of the fallen", "of all"] if traced else []), "success"]
    columns += [*([] if fixed else ["median distance"]), ""]
    lines = [f"### {title}", "", _settings(rows[0]), ""]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for entry in entries:
        lines.append(_queries_line(entry, art, traced, fixed))
        for peer in entries if entry["library"] == "sparring" and not entry["note"] else ():
            if peer["library"] != "sparring":
                losses += [f"{title}: {loss}" for loss in (*_lost(entry, peer, fixed), *_asked_more(entry, peer))]
    return "\n".join(lines)


def _queries_line(entry: Row, art: Row | None, traced: bool, fixed: bool) -> str:
    own = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in entry["own_settings"].items())
    cells = [_name(entry), own]
    if entry["note"] and not entry["stopped"]:
        cells += [""] * (4 + (art is not None) + 2 * traced + (not fixed))
    else:
        cells += [f"{entry['seconds']:.3f}", f"{entry['wall']:.3f}"]
        if art is not None:
            whole = art is not entry and not (art["note"] or entry["note"])
            cells.append(_ratio(entry["seconds"], art["seconds"]) if whole else "")
        cells.append(f"{entry['forwards']:.1f}")
        cells += [_count(entry["queries_to_success"]), _count(entry["queries_to_success_of_all"])] if traced else []
        distance = entry["median_distance"]
        cells += [_share(entry["success"])]
        cells += [] if fixed else ["" if entry["note"] else "none" if distance is None else f"{distance:.4f}"]
    return "| " + " | ".join([*cells, _remark(entry)]) + " |"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _asked_more(own: Row, peer: Row) -> Iterable[str]:
    """In words, where this peer needed fewer queries to succeed."""
    if peer["note"] or own["queries_to_success"] is None:
        return
    pair = f"{_name(own)} against {_name(peer)}"
    for figure, which in (("queries_to_success", "the fallen"), ("queries_to_success_of_all", "all")):
        fewer, more = peer[figure], own[figure]
        if fewer is not None and (more is None or more > fewer):
            yield f"{pair}: {_count(more) or 'none'} queries to success, the median of {which}, against {fewer:.0f}"


def _joint_table(rows: list[Row], losses: list[str]) -> str:
    """All attacks on one net in one norm, and ours as a ratio to the strongest peer of each."""
    fixed = rows[0]["eps"] is not None
    answer = "robust accuracy" if fixed else "success | median distance"
    ratios = "passes | seconds" if fixed else "distance | passes | seconds"
    columns = f"attack | library | seconds | forwards | backwards | {answer} | ours / strongest peer: {ratios} | "
    lines = [f"### {_threat(rows[0])} on {rows[0]['net']}", ""]
    attacks = _grouped(rows, lambda row: row["attack"])
    lines += ["  \n".join(f"{TITLES[attack]}: {_settings(group[0])}" for attack, group in attacks), ""]
    notes = {row["note"] for row in rows}
    if len(notes) == 1 and any(notes):
        return "\n".join([*lines, f"Not measured: {notes.pop()}."])
    lines += [f"| {columns}|", "|---" * (columns.count("|") + 1) + "|"]
    for attack, group in attacks:
        entries = [_summary(runs) for _, runs in _grouped(group, lambda row: (row["library"], row["variant"]))]
        peers = [entry for entry in entries if entry["library"] != "sparring"]
        for entry in entries:
            own = entry["library"] == "sparring" and not entry["note"]
            measured = [peer for peer in peers if not peer["note"]] if own else []
            best = min(measured, key=lambda peer: _strength(peer, fixed), default=None)
            lines.append(_joint_line(TITLES[attack], entry, best, fixed))
            for peer in peers if own else ():
                losses += [f"{_title(group[0])}: {loss}" for loss in _lost(entry, peer, fixed)]
    return "\n".join(lines)


def _strength(entry: Row, fixed: bool) -> tuple[float, ...]:
    """Less is stronger: what is left standing (or the distance), then what it cost."""
    distance = inf if entry["median_distance"] is None else entry["median_distance"]
    left = (entry["robust_accuracy"],) if fixed else (distance, entry["robust_accuracy"])
    return *left, entry["forwards"] + entry["backwards"], entry["seconds"]


def _joint_line(attack: str, entry: Row, best: Row | None, fixed: bool) -> str:
    answers, ratios = [_robust(entry) if fixed else _share(entry["success"])], 2 if fixed else 3
    distance = entry["median_distance"]
    if not fixed:
        answers.append("" if answers == [""] else "none" if distance is None else f"{distance:.5g}")
    shown = [""] * ratios
    if best is not None:
        passes = [one["forwards"] + one["backwards"] for one in (entry, best)]
        shown = [_ratio(*passes), _ratio(entry["seconds"], best["seconds"])]
        if not fixed:
            shown.insert(0, _ratio(distance, best["median_distance"]))
    spent = ["", "", ""]
    if not entry["note"] or entry["stopped"]:
        spent = [f"{entry['seconds']:.3f}", f"{entry['forwards']:.1f}", f"{entry['backwards']:.1f}"]
    return "| " + " | ".join([attack, _name(entry), *spent, *answers, *shown, _remark(entry)]) + " |"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.3f}" if ours is not None and theirs else ""


def _summary(rows: list[Row]) -> Row:
    """One line of a table from the runs of one library: means of shares, medians, the spread of the seconds."""
    seconds = [row["seconds"] for row in rows]
    note = next((row["note"] for row in rows if row["note"]), "")
    summary: Row = {name: rows[0][name] for name in ("library", "variant")}
    summary |= {"note": note, "stopped": any(row.get("stopped") for row in rows), "runs": len(rows)}
    summary |= {"least": min(seconds), "most": max(seconds)}
    shares, amounts = ("robust_accuracy", "success"), ("seconds", "wall", "forwards", "backwards", "outside")
    for figure in shares + amounts:
        values = [row[figure] for row in rows if figure in row]
        summary[figure] = (mean if figure in shares else median)(values) if values else None
    standing = [row["robust_accuracy"] for row in rows if "robust_accuracy" in row]
    summary["error"] = stdev(standing) / sqrt(len(standing)) if len(standing) > 1 else None  # the mean's own
    for figure in ("median_distance", "queries_to_success", "queries_to_success_of_all"):
        values = [row.get(figure) for row in rows]
        summary[figure] = None if None in values else median(values)
    summary["own_settings"] = rows[0].get("own_settings", {})
    return summary


def _opposite(peer: Row, ours: list[Row]) -> Row | None:
    """The entry of ours that a peer is held against: the one at its own queries where there is one."""
    if peer["library"] == "sparring":
        return None
    at_its_queries = [own for own in ours if own["variant"].startswith(peer["library"])]
    plain = [own for own in ours if not own["variant"]]
    return next(iter(at_its_queries or plain or ours), None)


def _comparison_line(entry: Row, own: Row | None, fixed: bool) -> str:
    shown = ""
    if own is not None and (not entry["note"] or entry["stopped"]):
        bound = "< " if entry["stopped"] else ""
        shown = f"{bound}{own['seconds'] / entry['seconds']:.3f}"
    answer = [_robust(entry) if fixed else _share(entry["success"])]
    if not fixed:
        distance = entry["median_distance"]
        answer.append("none" if distance is None else f"{distance:.4f}")
    if entry["note"] and not entry["stopped"]:
        return f"| {_name(entry)} | | | | |" + (" |" if fixed else " | |") + f" {_remark(entry)} |"
    cells = [
        _name(entry),
        _spread(entry["seconds"], entry["least"], entry["most"], entry["runs"]),
        shown,
        f"{entry['forwards']:.1f}",
        f"{entry['backwards']:.1f}",
        *answer,
        _remark(entry),
    ]
    return "| " + " | ".join(cells) + " |"


def _spread(middle: float, least: float, most: float, runs: int) -> str:
    return f"{middle:.3f} (1 run)" if runs == 1 else f"{middle:.3f} ({least:.3f} to {most:.3f}; {runs} runs)"


def _remark(entry: Row) -> str:
    if entry["note"]:
        return str(entry["note"]).replace("|", "/")
    return f"{entry['outside']:.0f} outside the ball or the box" if entry["outside"] else ""


def _name(entry: Row) -> str:
    name = NAMES[str(entry["library"])]
    return f"{name}, {entry['variant']}" if entry["variant"] else name


def _share(value: object) -> str:
    return "" if value is None else f"{100 * float(value):.2f} %"


def _robust(entry: Row) -> str:
    """Robust accuracy, with the standard error of its mean where there was more than one run."""
    share = _share(entry["robust_accuracy"])
    return share if entry["error"] is None else f"{share.removesuffix(' %')} +- {_share(entry['error'])}"


def _lost(own: Row, peer: Row, fixed: bool) -> Iterable[str]:
    """In words, each figure in which this peer beat this entry of ours."""
    if peer["note"]:
        return
    pair = f"{_name(own)} against {_name(peer)}"
    if own["seconds"] > SLOWER * peer["seconds"]:
        yield f"{pair}: {own['seconds']:.3f} s against {peer['seconds']:.3f} s"
    passes = [entry["forwards"] + entry["backwards"] for entry in (own, peer)]
    if passes[0] > passes[1]:
        yield f"{pair}: {passes[0]:.1f} passes per image against {passes[1]:.1f}"
    if own["robust_accuracy"] > peer["robust_accuracy"] + WORSE_SHARE:
        yield f"{pair}: robust accuracy {_robust(own)} against {_robust(peer)}"
    near, far = peer["median_distance"], own["median_distance"]
    if not fixed and near is not None and (far is None or far > WORSE_DISTANCE * near):
        yield f"{pair}: median distance {'none' if far is None else f'{far:.4f}'} against {near:.4f}"


def _overhead_table(title: str, rows: list[Row], losses: list[str]) -> str:
    lines = [
        f"### PGD-{STEPS} beside its bare passes: {title}",
        "",
        "| library | seconds / bare passes (least to most) | forwards | backwards |",
        "|---|---|---|---|",
    ]
    figures: dict[str, float] = {}
    for library, group in _grouped(rows, lambda row: row["library"]):
        notes = [row["note"] for row in group if row["note"]]
        if notes:
            lines.append(f"| {NAMES[library]} | {notes[0].replace('|', '/')} | | |")
            continue
        ratios = [overhead(row) for row in group]
        figures[library] = median(ratios)
        spread = _spread(median(ratios), min(ratios), max(ratios), len(group))
        passes = f"{group[0]['forwards']:.1f} | {group[0]['backwards']:.1f}"
        lines.append(f"| {NAMES[library]} | {spread} | {passes} |")
    for library, figure in figures.items():
        if figure < figures.get("sparring", 0):
            ours = figures["sparring"]
            losses.append(f"Overhead, {title}: **sparring** {ours:.3f} against {NAMES[library]} {figure:.3f}")
    return "\n".join(lines)


def _grouped(rows: list[Row], key: Callable[[Row], Key]) -> list[tuple[Key, list[Row]]]:
    """Rows with the same key, keys in the order of their first row."""
    keys = list(dict.fromkeys(map(key, rows)))
    return [(each, [row for row in rows if key(row) == each]) for each in keys]


if __name__ == "__main__":
    sys.exit(main())
