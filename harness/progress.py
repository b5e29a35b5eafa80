"""What an audit says while it runs: a line a stage, a JSON object a line, or nothing.

It is said between windows alone, so that saying it costs nothing inside one.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from harness.errors import ConfigError
from harness.journal import WindowRecord
from harness.plan import log_ratios
from harness.stats import cluster_interval

__all__ = ["MODES", "Progress", "Stage", "so_far"]

MODES = ("line", "json", "quiet")


class Progress:
    """Where stages are told: on standard error, in one of the MODES."""

    def __init__(self, mode: str = "line") -> None:
        if mode not in MODES:
            raise ConfigError(f"progress={mode}; it is one of {', '.join(MODES)}.")
        self.mode = mode

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """One stage from its begin to its end."""
        bars = Bars(
            TextColumn("{task.description:<18}"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            auto_refresh=False,
            disable=self.mode != "line",
        )
        with bars:
            yield Stage(name, total, bars, told=self.mode == "json")


class Stage:
    """A stage that is under way: how much of it is done, what is done now, and what came out."""

    def __init__(self, name: str, total: int, bars: Bars, *, told: bool) -> None:
        self.name, self.done, self.total, self._told = name, 0, total, told
        self._bars, self._task = bars, bars.add_task(name, total=total, note="")
        self._note = ""
        self.say()

    def say(
        self,
        what: str = "",
        *,
        done: int | None = None,
        total: int | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Says what is done now; `facts` are those of so_far."""
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        facts = dict(facts or {})
        self._note = _note(facts) or self._note
        self._bars.update(
            self._task,
            completed=self.done,
            total=self.total,
            description=f"{self.name}  {what}"[:18].rstrip(),
            note=self._note,
        )
        self._bars.refresh()
        if self._told:
            line = {"stage": self.name, "done": self.done, "total": self.total}
            line |= {"what": what} if what else {}
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps({**line, **facts}), file=sys.stderr, flush=True)

    def advance(self) -> None:
        """One more is done."""
        self.say(done=self.done + 1)


def so_far(
    blocks: Sequence[WindowRecord], candidate: str, baseline: str, began_s: float, share: float
) -> dict[str, Any]:
    """What finished windows of blocks come to, and how long the rest may take.

    `share` of 1 is done since `began_s` (time.monotonic). `joules` are of both systems by domain,
    but of none with a reading that is missing. `ratio` is baseline over candidate in `ratio_of`:
    processor time (cpu_s), or where that is of nobody here, the first domain. Its interval is for
    patience: the plan is fixed, and nothing stops for it.
    """
    if not blocks:
        return {}
    last = blocks[-1].window
    images = sum(b.window.requests - b.window.failures for b in blocks)
    found: dict[str, Any] = {
        "images": images,
        "images_per_s": round(last.requests / max(last.span.duration_s, 1e-9), 3),
    }
    joules: dict[str, list[float | None]] = {}
    for reading in (r for b in blocks for r in b.readings):
        joules.setdefault(reading.domain, []).append(reading.energy_j)
    whole = {d: [j for j in all_j if j is not None] for d, all_j in joules.items()}
    told = {d: round(sum(js), 3) for d, js in whole.items() if len(js) == len(joules[d])}
    found |= {"joules": told} if told else {}
    every = log_ratios(blocks, candidate, baseline)
    quantity = next((name for name, logs in every.items() if logs), None)
    if quantity:
        interval = cluster_interval(every[quantity])
        found |= {"ratio": round(math.exp(interval.estimate), 3), "ratio_of": quantity}
        if interval.low is not None and interval.high is not None:
            found |= {"low": round(math.exp(interval.low), 3)}
            found |= {"high": round(math.exp(interval.high), 3)}
    if 0 < share <= 1:
        found["left_s"] = round((time.monotonic() - began_s) * (1 - share) / share)
    return found


def _note(facts: Mapping[str, Any]) -> str:
    """The facts in a few words, that the line fits into 80 columns."""
    words = []
    if "images_per_s" in facts:
        rate = facts["images_per_s"]
        words.append(f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s")
    if "joules" in facts:
        joules = sum(facts["joules"].values())
        words.append(f"{joules / 1000:.3g} kJ" if joules >= 1000 else f"{joules:.3g} J")
    if "ratio" in facts:
        ends = f" [{facts['low']:.3g}, {facts['high']:.3g}]" if "low" in facts else ""
        what = "time" if facts["ratio_of"] == "cpu_s" else facts["ratio_of"]
        words.append(f"{what} {facts['ratio']:.3g}x{ends}")
    if facts.get("left_s"):
        words.append(f"{math.ceil(facts['left_s'] / 60)} min left")
    return "  ".join(words)
