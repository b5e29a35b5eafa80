"""What a gate found, as CI systems read it: text, Markdown, JUnit XML, benchmark JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from xml.etree import ElementTree

from harness.compare import Audit, Figure
from harness.errors import one_line, plain
from harness.gate import Check, GateResult
from reports import numbers
from reports.markdown import escape

__all__ = ["benchmark", "change", "figure_lines", "junit", "kept", "lines", "markdown"]

MARKS = {"passed": "✅", "failed": "❌", "undecided": "❔"}


def lines(result: GateResult) -> list[str]:
    """One line a check, then how many pictures stayed as they were."""
    told = [
        kept(f"{check.outcome:<10} {check.reason}{_sees(check.figure)}") for check in result.checks
    ]
    return [*told, f"{result.alike} of {result.shared} shared pictures are the same, bit for bit."]


def markdown(result: GateResult, after: Audit) -> str:
    """A summary for a pull request."""
    word = "passed" if result.passed else "failed"
    rows = [
        f"| {MARKS[check.outcome]} {check.outcome} | {_cell(check.name)} | "
        f"{change(check.figure)} | {_limit(check)} | {_sees(check.figure, '') or numbers.MISSING} |"
        for check in result.checks
    ]
    head = (
        f"### un0bench gate {word}: {_cell(after.evidence.candidate)}",
        "",
        "| | figure | change [95%] | limit | can see |",
        "|---|---|---:|---:|---:|",
    )
    reasons = [f"- {_cell(c.reason)}" for c in result.checks if c.outcome != "passed"]
    pictures = f"{result.alike} of {result.shared} shared pictures are the same, bit for bit."
    return "\n".join([*head, *rows, "", *reasons, *([""] if reasons else []), pictures, ""])


def junit(result: GateResult, after: Audit, *, lenient: bool) -> str:
    """JUnit XML, a test case a check; what is undecided is a failure unless `lenient`."""
    cases = [(check, _verdict(check, lenient)) for check in result.checks]
    counts = [verdict for _, verdict in cases]
    suite = ElementTree.Element(
        "testsuite",
        name=one_line(f"un0bench gate of {after.evidence.candidate}"),
        tests=str(len(cases)),
        failures=str(counts.count("failure")),
        skipped=str(counts.count("skipped")),
        errors="0",
    )
    for check, verdict in cases:
        case = ElementTree.SubElement(
            suite, "testcase", classname="un0bench", name=one_line(check.name)
        )
        if verdict:
            told = f"{check.outcome}: {check.reason}"
            ElementTree.SubElement(case, verdict, message=one_line(told))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def benchmark(result: GateResult, after: Audit) -> str:
    """JSON of github-action-benchmark's `customSmallerIsBetter`; what was not read is left out."""
    found = []
    for check in result.checks:
        figure = check.figure
        if figure.after is None or not math.isfinite(figure.after) or figure.sees is None:
            continue
        shown, unit, name = figure.after, figure.unit, check.name
        spread = figure.after * figure.sees
        if figure.kind == "points":
            name, unit = f"{check.name}, missed", "share of 1"
            shown, spread = 1 - figure.after, figure.sees
        found.append(
            {
                "name": f"{after.evidence.candidate}: {name}",
                "unit": unit,
                "value": shown,
                "range": f"± {numbers.significant(spread)}",
                "extra": check.reason,
            }
        )
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def figure_lines(figures: Sequence[Figure]) -> list[str]:
    """A comparison as a table in text."""
    rows = [f"{'figure':<24} {'before':>10} {'after':>10}  change [95%]"]
    for figure in figures:
        before, after = (_value(figure, value) for value in (figure.before, figure.after))
        row = f"{figure.name:<24} {before:>10} {after:>10}  {change(figure)}"
        method = f" ({figure.method})" if figure.method else ""
        rows.append(kept(row + method + (f"  {figure.reason}" if figure.reason else "")))
    return rows


def _cell(text: str) -> str:
    return escape(one_line(text))


def kept(row: str) -> str:
    """A row of a table: one line, its columns as they stand."""
    return plain(row).replace("\n", " ")


def _verdict(check: Check, lenient: bool) -> str:
    if check.outcome == "undecided" and lenient:
        return "skipped"
    return "" if check.outcome == "passed" else "failure"


def _value(figure: Figure, value: float | None) -> str:
    if value is None:
        return numbers.MISSING
    if figure.unit == "s":
        return numbers.seconds(value)
    if figure.unit == "B":
        return numbers.size(value)
    return numbers.percent(value) if figure.kind == "points" else numbers.significant(value)


def change(figure: Figure) -> str:
    """The change with its interval."""
    if figure.change is None:
        return "not compared"
    ends = (figure.low, figure.high)
    if figure.kind == "times":
        return f"{numbers.ratio(figure.change)} {numbers.interval(*ends, 'times')}"
    if figure.kind == "points":
        return f"{numbers.points(figure.change)} {numbers.interval(*ends, 'points')}"
    return f"{numbers.signed(figure.change)} {numbers.interval(*ends, '')}"


def _limit(check: Check) -> str:
    if check.figure.kind == "times":
        return f"at most {numbers.ratio(check.limit)}"
    if check.figure.kind == "points":
        return f"at least {numbers.points(-check.limit)}"
    return "at most 0"


def _sees(figure: Figure, words: str = " It can see ") -> str:
    """The least change that is told from none."""
    if not figure.sees:  # nothing varied: the same pictures, or a figure read once
        return ""
    if figure.kind == "times":
        told = numbers.percent(figure.sees)
    else:
        told = numbers.quantity(figure.sees, "points" if figure.kind == "points" else "")
    return f"{words}{told.lstrip('+')}{'.' if words else ''}"
