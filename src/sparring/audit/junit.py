"""The report as a JUnit file: a test for each radius, and one for each finding."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from .report_model import Caution, Report

FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report, fail_under: float | None) -> bytes:
    """Robust accuracy below `fail_under` fails, and so does a severe finding that nobody has taken note of."""
    cases = [*radii(report, fail_under), *(finding(one) for one in report.warnings)]
    failures = sum(case.find("failure") is not None for case in cases)
    suite = Element(
        "testsuite",
        name=shown(f"sparring audit: {report.title}"),
        tests=str(len(cases)),
        failures=str(failures),
        errors="0",
        time=f"{report.provenance.seconds:.3f}",
        timestamp=shown(report.provenance.started),
    )
    suite.extend(cases)
    indent(suite)
    whole: bytes = tostring(suite, encoding="utf-8", xml_declaration=True)
    return whole


def shown(text: str) -> str:
    """Text from outside without the characters that XML has no place for."""
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def radii(report: Report, fail_under: float | None) -> list[Element]:
    cases = []
    for threat in report.threats:
        for part in threat.epsilons:
            held = part.robust_accuracy
            case = Element("testcase", classname="robust accuracy", name=shown(f"{threat.norm} {part.eps_text}"))
            words = f"{held.share:.1%} ({held.count} of {held.total}; 95 %: {held.low:.1%} to {held.high:.1%})"
            if fail_under is not None and threat.smallest is None and held.share < fail_under:
                failure = SubElement(case, "failure", message=f"robust accuracy {words} is below {fail_under:.1%}")
                failure.text = words
            else:
                SubElement(case, "system-out").text = words
            cases.append(case)
    return cases


def finding(one: Caution) -> Element:
    case = Element("testcase", classname="findings", name=shown(one.code))
    words = shown(f"{one.severity}{', accepted' if one.accepted else ''}: {one.message} {one.advice}".rstrip())
    if one.blocks:
        SubElement(case, "failure", message=shown(one.message)).text = words
    else:
        SubElement(case, "system-out").text = words
    return case
