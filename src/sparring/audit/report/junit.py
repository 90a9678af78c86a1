"""The report as a JUnit file: a test for each radius, and one for each finding."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ...tasks import Table
from .format import cell_text
from .model import Finding, Report, SectionPart

FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(report: Report, fail_under: float | None) -> bytes:
    """Robust accuracy below `fail_under` fails, and so does a severe finding that nobody has taken note of."""
    sections = [section_case(part) for part in report.sections]
    cases = [*radius_cases(report, fail_under), *sections, *(finding_case(one) for one in report.warnings)]
    return junit_suite(report.title, cases, report.provenance.seconds, report.provenance.started)


def junit_error(title: str, message: str, started: str) -> bytes:
    """Return the file of an audit that came to no verdict: one test, which ended with an error."""
    case = Element("testcase", classname="audit", name="verdict")
    SubElement(case, "error", message=xml_text(message)).text = xml_text(message)
    return junit_suite(title, [case], 0.0, started)


def junit_suite(title: str, cases: list[Element], seconds: float, started: str) -> bytes:
    """Return the test cases as a file; `started` is a time in ISO 8601."""
    suite = Element(
        "testsuite",
        name=xml_text(f"sparring audit: {title}"),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        time=f"{seconds:.3f}",
        timestamp=xml_text(started),
    )
    suite.extend(cases)
    indent(suite)
    whole: bytes = tostring(suite, encoding="utf-8", xml_declaration=True)
    return whole


def xml_text(text: str) -> str:
    """Text from outside without the characters that XML has no place for."""
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def radius_cases(report: Report, fail_under: float | None) -> list[Element]:
    """Return a test case per threat and radius; it fails where robust accuracy is below `fail_under`.

    Medians of smallest examples never fail, and nothing does where `fail_under` is None.
    """
    cases = []
    for threat in report.threats:
        for part in threat.epsilons:
            held = part.robust_accuracy
            case = Element(
                "testcase", classname=report.words.measure.lower(), name=xml_text(f"{threat.norm} {part.eps_text}")
            )
            words = f"{held.share:.1%} ({held.count} of {held.total}; 95 %: {held.low:.1%} to {held.high:.1%})"
            if part.certificates is not None:
                words += f"; proven {part.certificates.proven.share:.1%}, open {part.certificates.open}"
            if fail_under is not None and threat.smallest is None and held.share < fail_under:
                failure = SubElement(
                    case, "failure", message=f"{report.words.measure.lower()} {words} is below {fail_under:.1%}"
                )
                failure.text = words
            else:
                SubElement(case, "system-out").text = words
            cases.append(case)
    return cases


def section_case(part: SectionPart) -> Element:
    """Return the test case of a section of the task, which says what its tables say and never fails."""
    case = Element("testcase", classname="task", name=xml_text(part.title))
    lines = [line for table in part.tables for line in (table.title, *table_lines(table))]
    SubElement(case, "system-out").text = xml_text("\n".join(lines))
    return case


def table_lines(table: Table) -> list[str]:
    """Return each row of a table as one line."""
    rows = [
        [cell_text(value, column.kind) for value, column in zip(row, table.columns, strict=True)] for row in table.rows
    ]
    return [" | ".join(line) for line in ([column.name for column in table.columns], *rows)]


def finding_case(one: Finding) -> Element:
    """Return the test case of a finding, which fails if the finding blocks."""
    case = Element("testcase", classname="findings", name=xml_text(one.code))
    words = xml_text(f"{one.severity}{', accepted' if one.accepted else ''}: {one.message} {one.advice}".rstrip())
    if one.blocks:
        SubElement(case, "failure", message=xml_text(one.message)).text = words
    else:
        SubElement(case, "system-out").text = words
    return case
