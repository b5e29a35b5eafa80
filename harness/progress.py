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
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
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
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=24),
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
        self._bars.update(
            self._task,
            completed=self.done,
            total=self.total,
            description=f"{self.name}  {what}"[:32].rstrip(),
            **({"note": _note(facts)} if facts else {}),
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

    `share` of 1 is done since `began_s` (time.monotonic). Joules are those of the first domain that
    is read. The interval is for patience: the plan is fixed, and nothing stops for it.
    """
    if not blocks:
        return {}
    last = blocks[-1].window
    images = sum(b.window.requests - b.window.failures for b in blocks)
    found: dict[str, Any] = {
        "images": images,
        "images_per_s": round(last.requests / max(last.span.duration_s, 1e-9), 3),
    }
    domains = [r.domain for b in blocks for r in b.readings if r.energy_j is not None]
    if domains:
        found["joules"] = round(
            sum(r.energy_j or 0.0 for b in blocks for r in b.readings if r.domain == domains[0]), 3
        )
    logs = next(iter(log_ratios(blocks, candidate, baseline)), [])
    if logs:
        interval = cluster_interval(logs)
        found["ratio"] = round(math.exp(interval.estimate), 3)
        if interval.low is not None and interval.high is not None:
            found |= {"low": round(math.exp(interval.low), 3)}
            found |= {"high": round(math.exp(interval.high), 3)}
    if 0 < share <= 1:
        found["left_s"] = round((time.monotonic() - began_s) * (1 - share) / share)
    return found


def _note(facts: Mapping[str, Any]) -> str:
    """The facts in a few words."""
    words = []
    if "images_per_s" in facts:
        words.append(f"{facts['images_per_s']:.3g} images/s")
    if "joules" in facts:
        words.append(f"{facts['joules']:.3g} J")
    if "ratio" in facts:
        ends = f" [{facts['low']:.3g}, {facts['high']:.3g}]" if "low" in facts else ""
        words.append(f"{facts['ratio']:.3g}x{ends} so far")
    if facts.get("left_s"):
        words.append(f"{math.ceil(facts['left_s'] / 60)} min left")
    return "  ".join(words)
