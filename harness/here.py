"""The machine that an audit is measured on, with its meter; and what it is told to measure."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import environment
from harness.bundle import resume_command
from harness.ceilings import ceilings
from harness.child import build
from harness.draw import Draws
from harness.errors import AuditStopped, ConfigError, MeterUnavailable
from harness.journal import Journal
from harness.measure import Session, measure
from harness.metering import Step
from harness.plan import Plan, SystemPlan
from harness.protocols import LateMeter, Meter
from harness.records import Prompt

__all__ = ["Here", "Order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that a machine needs to know to measure an audit, or its part of one.

    `unpublished` are the prompts of a challenge's fillers; `salt` is secret until the audit is
    over; `accelerated` says whether the machine has accelerators.
    """

    plan: Plan
    candidate: SystemPlan
    baseline: SystemPlan
    null_system: SystemPlan
    published: tuple[Prompt, ...]
    unpublished: tuple[Prompt, ...] = ()
    salt: str = ""
    accelerated: bool = False
    rated: bool = False
    counted: bool = False
    gated: bool = False

    @property
    def devices(self) -> dict[str, str | None]:
        """What each system states that it works on."""
        systems = (self.candidate, self.baseline, self.null_system)
        return {system.name: system.device for system in systems}


class Here:
    """This machine: its meter runs between `__enter__` and `__exit__`."""

    def __init__(self, meter: Mapping[str, Any], run: Path) -> None:
        self.run, self._config = run, meter
        self._began_s = 0.0

    def __enter__(self) -> Here:
        meter, self._began_s = build(self._config), time.monotonic()
        if not isinstance(meter, Meter):
            raise ConfigError(
                f"{type(meter).__name__} is no meter; it needs every method of "
                "harness.protocols.Meter."
            )
        self.meter = meter
        if isinstance(meter, LateMeter):
            meter.attach(self.run / "partial")
        meter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.meter.stop()

    def machine(self) -> dict[str, Any]:
        """The machine, its software, and the card of its meter."""
        return environment.describe() | {"meter": dataclasses.asdict(self.meter.describe())}

    def session(self, order: Order, journal: Journal, step: Step) -> Session:
        """What measures an order here, into a journal."""
        return Session(
            run=journal.run,
            plan=order.plan,
            candidate=order.candidate,
            baseline=order.baseline,
            null_system=order.null_system,
            meter=self.meter,
            journal=journal,
            accelerated=order.accelerated,
            rated=order.rated,
            counted=order.counted,
            gated=order.gated,
            draws=Draws(
                order.published,
                order.unpublished,
                core=order.plan.core,
                seed=order.plan.seed,
                salt=order.salt,
            ),
            step=step,
        )

    def measure(self, order: Order, journal: Journal, step: Step) -> dict[str, Any]:
        """Measures everything; returns what `machine` says otherwise by then.

        Raises AuditStopped where a meter's log is not there yet: the run can be resumed.
        """
        measure(self.session(order, journal, step))
        if not isinstance(self.meter, LateMeter):
            return {}
        step("the meter's log", 0, 0)
        try:
            self.meter.finish()
        except MeterUnavailable as error:
            raise AuditStopped(
                f"{error} What was measured is kept; go on with: {resume_command(self.run)}"
            ) from None
        journal.read_late(self.meter)
        return {"meter": dataclasses.asdict(self.meter.describe())}  # with what it found

    def metering_share(self) -> float:
        """Of one processor's time so far, what reading the meter cost."""
        return round(self.meter.spent_s() / max(time.monotonic() - self._began_s, 1e-9), 6)

    def ceilings(self) -> Mapping[str, Any]:
        """What the machine can do at best."""
        return ceilings()
