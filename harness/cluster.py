"""An audit over the nodes of a Ray cluster: each takes whole pairs of blocks, and meters itself.

A ratio is of windows of one node, so that nodes need not agree on anything but what they are: the
same machine, the same software. What is measured once, as latency, one node measures for all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from harness.bundle import disk, resume_command, write_bytes
from harness.errors import AuditStopped, ConfigError, InputError, Un0BenchError
from harness.here import Order
from harness.journal import BlockRecord, Journal, WindowRecord
from harness.metering import Step, keep_card
from harness.node import BESIDE, THREADS, Delivered, Node
from harness.nodes import alike, apart, chosen
from harness.schedule import Schedule

__all__ = ["Cluster"]

REACH_S = 5.0
RESERVED = 100  # window numbers of a task, which takes some twenty
Task = tuple[str, tuple[BlockRecord, ...]]  # a method of Node, and its blocks
Pairs = Callable[[Sequence[Task]], Task | None]  # the next one, given what is under way


class Cluster:
    """The nodes of a cluster, connected between `__enter__` and `__exit__`.

    `executor` is conf/executor/ray.yaml: `address` of the cluster, `nodes` by name (None: all that
    are alive), `wait_s` for a node to start.
    """

    def __init__(self, executor: Mapping[str, Any], meter: Mapping[str, Any], run: Path) -> None:
        self.run, self._executor, self._meter = run, executor, meter
        self._nodes: dict[str, Any] = {}  # handles of actors, by the node's name
        self._machines: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> Cluster:
        self._ray = _ray()
        address = str(self._executor["address"])
        try:
            _reach(address)
            self._ray.init(address=address, logging_level="error", log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"No Ray cluster at executor.address={address} ({_first_line(error)}). Start one: "
                "`ray start --head` on one machine, `ray start --address=...` on the others."
            ) from None
        try:
            self._start(float(self._executor["wait_s"]))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        closing = [node.close.remote() for node in self._nodes.values()]
        if closing and kind is not KeyboardInterrupt:
            self._ray.wait(closing, num_returns=len(closing), timeout=10)
        self._ray.shutdown()

    def machine(self) -> dict[str, Any]:
        """The first node; under `nodes` each one's kernel, and what it says otherwise."""
        first = next(iter(self._machines.values()))
        return {**first, "nodes": {n: apart(m, first) for n, m in self._machines.items()}}

    def measure(self, order: Order, journal: Journal, step: Step) -> dict[str, Any]:
        """Measures everything into the journal; {}: nothing of `machine` is found out meanwhile.

        A node that is lost loses the pair it was at, which another runs again. Raises AuditStopped
        where none is left, and what a node raised when the others have delivered.
        """
        schedule = Schedule(
            plan=order.plan,
            candidate=order.candidate.name,
            baseline=order.baseline.name,
            journal=journal,
        )
        for name in self._nodes:
            self._equip(name, order, journal)
        self._hand_out(journal, dict.fromkeys(self._nodes, ("begin", ())))
        self._hand_out(journal, pairs=_offered(schedule, step))
        self._hand_out(journal, shared=[("beside", ())])
        self._hand_out(journal, dict.fromkeys(self._nodes, ("end", ())))
        return {}

    def metering_share(self) -> float:
        """The largest of all nodes."""
        return max(self._ask("metering_share").values())

    def ceilings(self) -> Mapping[str, Any]:
        """What the first node can do at best."""
        name = next(iter(self._nodes))
        return dict(self._ray.get(self._nodes[name].ceilings.remote()))

    # Private -----------------------------------------------------------------------------------

    def _start(self, wait_s: float) -> None:
        """Starts one actor a node, that has the whole node, and sees that all are alike."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = self._ray.remote(Node)
        for name, node in chosen(self._ray.nodes(), self._executor["nodes"]).items():
            there = node["Resources"]
            self._nodes[name] = remote.options(
                num_cpus=there.get("CPU", 0),
                num_gpus=there.get("GPU", 0),
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(name, str(self.run), dict(self._meter), os.environ.get(THREADS))
        for name, machine in self._ask("machine", wait_s).items():
            if isinstance(machine, Un0BenchError):
                raise type(machine)(f"On {name}: {machine}")
            self._machines[name] = machine
        alike(self._machines)

    def _ask(self, method: str, wait_s: float | None = None) -> dict[str, Any]:
        """What every node answers, by name."""
        asked = {name: getattr(node, method).remote() for name, node in self._nodes.items()}
        answers = {}
        for name, answer in asked.items():
            try:
                answers[name] = self._ray.get(answer, timeout=wait_s)
            except self._ray.exceptions.GetTimeoutError:
                raise AuditStopped(
                    f"Node {name} did not start within {wait_s:g} s. Is it busy (`ray status`)? "
                    f"Go on with: {resume_command(self.run)}"
                ) from None
            except self._ray.exceptions.RayError as error:
                raise self._broken(name, error) from None
        return answers

    def _equip(self, name: str, order: Order, journal: Journal) -> None:
        mine = [
            record
            for record in journal.records
            if record.window.node == name or record.window.kind in BESIDE
        ]
        unsalted = dataclasses.replace(order, salt="")
        self._nodes[name].take.remote(unsalted, order.salt, mine)

    def _hand_out(
        self,
        journal: Journal,
        own: Mapping[str, Task] | None = None,
        shared: Sequence[Task] = (),
        pairs: Pairs = lambda under_way: None,
    ) -> None:
        """Runs each node's own task, then what is shared and `pairs` wherever a node is free."""
        pending: dict[Any, tuple[str, Task]] = {}
        queue, raised = list(shared), None

        def send(name: str, task: Task) -> None:
            method, blocks = task
            arguments = (journal.reserve(RESERVED), *([blocks] if blocks else []))
            pending[getattr(self._nodes[name], method).remote(*arguments)] = (name, task)

        for name, task in (own or {}).items():
            send(name, task)
        while True:
            busy = {name for name, _ in pending.values()}
            for name in [name for name in self._nodes if name not in busy and not raised]:
                under_way = [task for _, task in pending.values()]
                following = queue.pop() if queue else pairs(under_way)
                if following is not None:
                    send(name, following)
            if not pending:
                break
            (ready,), _ = self._ray.wait(list(pending), num_returns=1)
            name, task = pending.pop(ready)
            delivered = self._received(ready, name)
            if delivered is None:
                self._lose(name, task, journal)
                queue += [task] if task in shared else []
            else:
                self._merge(delivered, journal)
                raised = raised or delivered.error
        if raised:
            raise raised

    def _received(self, ready: Any, name: str) -> Delivered | None:
        """What a task left; None where its node was lost."""
        lost = self._ray.exceptions
        try:
            return self._ray.get(ready)
        except (lost.RayActorError, lost.ObjectLostError, lost.NodeDiedError):
            return None
        except lost.RayError as error:
            raise self._broken(name, error) from None

    def _lose(self, name: str, task: Task, journal: Journal) -> None:
        """Goes on without a node; raises AuditStopped where none is left."""
        del self._nodes[name]
        for block in task[1]:
            journal.void(block, f"node {name} was lost within this block's pair")
        if not self._nodes:
            raise AuditStopped(
                f"Node {name} was lost, the last one. What was measured is kept; go on with: "
                f"{resume_command(self.run)}"
            )

    def _merge(self, delivered: Delivered, journal: Journal) -> None:
        """Takes in what a node wrote, with its times on this machine's clock."""
        shift_ns = delivered.clock_ns - (time.time_ns() - time.perf_counter_ns())
        for name, data in delivered.files.items():
            path = self.run / name
            if path.parent.name == "cards":
                keep_card(self.run, path.stem, json.loads(data))
                continue
            with disk(self.run):
                write_bytes(path, data)
        journal.take_in(_shifted(record, shift_ns) for record in delivered.records)
        for block in delivered.blocks:
            journal.put_block(block)

    def _broken(self, name: str, error: Exception) -> AuditStopped:
        return AuditStopped(
            f"Node {name} failed ({_first_line(error)}). Is this un0bench installed there? Go on "
            f"with: {resume_command(self.run)}"
        )


def _offered(schedule: Schedule, step: Step) -> Pairs:
    """Starts the next pair; those after the pilot wait for it, on whose spread they hang."""

    def offered(under_way: Sequence[Task]) -> Task | None:
        begun, planned = schedule.done()
        step("blocks", begun - sum(len(blocks) for _, blocks in under_way), planned)
        first = {block.pair for _, blocks in under_way for block in blocks}
        if begun >= 2 * schedule.plan.pairs and any(p < schedule.plan.pairs for p in first):
            return None
        blocks = tuple(schedule.start_block(*slot) for slot in schedule.next_pair())
        return ("pair", blocks) if blocks else None

    return offered


def _shifted(record: WindowRecord, shift_ns: int) -> WindowRecord:
    window = record.window
    return dataclasses.replace(
        record,
        window=dataclasses.replace(
            window, start_ns=window.start_ns + shift_ns, end_ns=window.end_ns + shift_ns
        ),
        traces=[dataclasses.replace(row, t_ns=row.t_ns + shift_ns) for row in record.traces],
    )


def _reach(address: str) -> None:
    """Raises OSError where nothing listens; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[-1].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=REACH_S).close()


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("executor=ray needs Ray, on every node: uv pip install ray.") from None
    return ray


def _first_line(error: Exception) -> str:
    return next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), "")
