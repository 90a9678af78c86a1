"""The page docs/faces-audit.md: how a face verifier is audited; its figures are those of records/faces/audit.json."""

from __future__ import annotations

import textwrap
from typing import Any

HEAD = """# Auditing a face verifier

```
sparring zoo get face-faceres && sparring zoo get orl-faces
sparring face orl --out runs/face-orl                       # the zoo's plan: a report for each goal
sparring face synthetic --out runs/face-synthetic           # the same in seconds, without a download
```

or one goal at a time, also with a network of your own:

```
sparring audit zoo:face-faceres folder:FACES --goal dodge --far 0.01,0.001 --threat linf:4/255 --out runs/dodge
sparring audit mine.py:build folder:CROPS --goal dodge --metric cosine --size 112 --aligned --threat l2:1 --out runs/own
sparring audit onnx:net.onnx folder:FACES --goal evade --metric cosine --size 112 --suite square --threat linf:8/255 \\
    --out runs/onnx
```

FACES has one sub-folder for each person, with pictures of one size. MODEL is a verifier (`zoo:face-dlib`,
`zoo:face-faceres`, or a `FILE.py:FACTORY` that returns a `sparring.Verifier`), or a bare network from faces to
embeddings, with `--size` of the faces that it takes, `--metric` (`cosine` or `euclidean`) and, if need be, `--mean` and
`--std`. Without `--aligned` BlazeFace finds the face in each picture, and again in each picture that an attack asks
about, as when deployed; with it pictures are faces, cut out already.

| goal | trial | the attacker wins where |
| --- | --- | --- |
| `dodge` | another picture of a person against the template of that person | they no longer match |
| `impersonate` | a picture of a person against the template of the next person | they match |
| `evade` | a picture searched among the templates of all attacked | the person is not within `--rank`, or not above |
| `identify` | the same | the next person leads, above the threshold |

## Who calibrates, who is attacked

- Persons are split: those who are attacked never calibrate. By default a quarter and at most ten are attacked, the
  last of those with enough pictures; all others calibrate. `--attacked` and `--calibration` take names of
  sub-folders, as `ann,bob`, or how many. A name in both is refused.
- At each rate of `--far` a threshold is calibrated on all impostor pairs of those who calibrate. A rate that fewer than
  30 of them would decide is refused, with the number of pairs that it needs. `--threshold` takes one that is
  published instead: a similarity, so a distance of 0.6 is `--threshold=-0.6`.
- The first picture of each attacked person in which a face is found is enrolled, the next `--probes` are attacked.
  A person with fewer pictures cannot be attacked, and is refused where it was named.
- A picture in which no face is found is a failure to acquire: it takes no part, and is counted. Under attack it is no
  success, and is counted too.

In Python:

```python
verifier = sp.zoo.load_model("zoo:face-faceres").target
acquired = sp.biometrics.acquire(verifier, sp.biometrics.person_pictures("folder:FACES"))
trials = sp.biometrics.make_trials(acquired, "dodge", false_accept_rates=(0.01, 0.001), attacked=10)
report = sp.audit(verifier, trials, threats=[sp.Linf(4 / 255)], out="runs/dodge")
```

and for `evade` and `identify` `sp.audit(sp.targets.Identifier(verifier), trials, ...)`.

A plan of `sparring face` is that of an audit ([audit.md](audit.md)) with `goals = [...]` and a table `[verification]`:
`false_accept_rates`, `threshold`, `attacked`, `calibration`, `probes`, `rank`, `metric`, `aligned`. Pictures are
embedded once for all goals; each goal has its run and its report below `--out`. `sparring list plans` has the zoo's.

## What the report says

All of what follows is in `report.json` under `sections`, on the page, on the console and in the JUnit file.

**The headline** is the share of comparisons that come out right under attack, at the threshold that is hardest for the
attacker: of dodging the lowest, of impersonation the highest. The attacks aim at that one. They run to their end and
the strongest example of each picture is kept, whether it crosses the threshold or not; so the same examples are judged
at every threshold, and curves and scores are those of the attack and not of its stopping rule. Each radius is attacked
anew.

**Attack success** is the share of all trials that the attacker wins at each threshold: of dodging the false reject rate
under attack, of impersonation the false accept rate under attack. The row *No attack* is what the verifier gets wrong
by itself. The equal error rate sets the attacked comparisons against those of the other kind that nobody attacked.
"""
TAIL = """\
**Error rates, nobody attacked**, are on the persons who calibrated and on the attacked ones, who are others. *Equal
error rate* has both rates at that threshold, with their intervals. Where FAR on the attacked persons lies outside the
interval of those who calibrate, persons differ more than pairs do: calibrate on more persons.
"""
SCORES = """\
**Scores before and after** run from 0 (the mean impostor) over 60 (the first threshold) to 100 (the same picture). The
map is ours, and every vendor has another: scores of two verifiers cannot be compared. Without a map (where the three
do not ascend) similarities are shown.
"""
END = """\
**ROC, DET and the histogram of scores**, before and at each threat, and **pictures** (probe, adversarial, template) of
those that fell. Of identification there are the identification rate by rank (closed set) and at each threshold
(open set, 1 - FNIR), the false positive identification rate of persons who are not enrolled (FPIR), and the
cumulative match curve.

Intervals are Clopper and Pearson's, of 95 %. They take comparisons as independent; comparisons that share a picture
are not, and the truth is wider. The plan attacks ten persons, one picture each, with few steps: it shows the output,
and is no verdict on this network.
"""


def text(record: dict[str, Any]) -> str:
    """The whole page."""
    goals = record["goals"]
    first = next(iter(goals.values()))
    parts = [HEAD, f"Of `{record['model']}` on `{record['data']}`, by the zoo's plan:\n"]
    for name, one in goals.items():
        title = next(iter(one["tables"]))
        parts.append(f"`{name}`, {title.lower()}:\n\n{table(one['tables'][title])}")
    parts += [TAIL, table(first["tables"]["Error rates, nobody attacked"])]
    parts += [table(first["tables"]["Persons and pictures"]), SCORES]
    parts += ["`dodge`, the scores:\n", table(goals["dodge"]["tables"]["Scores before and after"], 6)]
    measured = (
        f"Measured by `{record['command']}` at commit `{record['commit'][:12]}` ({record['date']}), on "
        f"{record['cpu']}, "
        f"{record['threads']} threads, torch {record['versions']['torch']}."
    )
    parts += [END, textwrap.fill(measured, 120, break_on_hyphens=False)]
    return "\n".join(parts) + "\n"


def table(given: dict[str, Any], rows: int | None = None) -> str:
    """A table of the report in Markdown; its first rows where a number is given."""
    kinds = [column["kind"] for column in given["columns"]]
    head = "| " + " | ".join(column["name"] for column in given["columns"]) + " |"
    rule = "| " + " | ".join("---" if kind == "text" else "---:" for kind in kinds) + " |"
    lines = [
        "| " + " | ".join(cell(*pair) for pair in zip(row, kinds, strict=True)) + " |" for row in given["rows"][:rows]
    ]
    return "\n".join([head, rule, *lines]) + "\n"


def cell(value: Any, kind: str) -> str:
    """A cell as Markdown."""
    if value is None:
        return ""
    if kind == "rate":
        decimals = 1 if value[2] >= 0.05 else 2 if value[2] >= 0.005 else 3
        share, low, high = (f"{100 * one:.{decimals}f}" for one in value)
        return f"{share} % [{low}, {high}]"
    if kind == "percent":
        return f"{100 * value:.1f} %"
    return str(value) if kind in ("text", "count") else f"{value:.3g}"
