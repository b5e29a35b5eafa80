"""Which pair of blocks comes next, how many there will be, and which do not count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.journal import BlockRecord, Journal, window_row
from harness.plan import Plan, wanted_pairs
from harness.state import unlike_states

__all__ = ["Schedule"]

UNLIKE_STATES = "the machine was not the same for"
AGAIN = 3  # pairs that are run again for that
Slot = tuple[int, str]  # of a block: its pair, and which system comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The pairs of a plan, over what a journal holds; systems by name."""

    plan: Plan
    candidate: str
    baseline: str
    journal: Journal

    def next_pair(self) -> list[Slot]:
        """Both blocks of the first pair that was not started, as (pair, order); [] when all were.

        A block that a kill left alone is void: the other would be of other starts.
        """
        counted = Counter(b.pair for b in self.journal.blocks if not b.void)
        for block in [b for b in self.journal.blocks if not b.void and counted[b.pair] == 1]:
            self.journal.void(block, "the audit was stopped within this block's pair")
        have, pairs = self._have(), self._pairs()
        missing = next((pair for pair in range(pairs) if pair not in have), None)
        return [] if missing is None else [(missing, order) for order in ("AB", "BA")]

    def start_block(self, pair: int, order: str) -> BlockRecord:
        """Notes a block before it begins, with a core that no earlier block had."""
        number = len(self.journal.blocks)
        first, second = self.journal.open_window(), self.journal.open_window()
        block = BlockRecord(
            number=number,
            pair=pair,
            order=order,
            core=number,
            windows=(f"w{first:04d}", f"w{second:04d}"),
        )
        self.journal.put_block(block)
        return block

    def comparable(self, pair: int) -> bool:
        """Whether a pair's windows met like states of the machine; void if not, and run again.

        After a few such pairs one is kept as it is: then the ratio is what says so.
        """
        if sum(b.reason.startswith(UNLIKE_STATES) for b in self.journal.blocks) >= 2 * AGAIN:
            return True
        rows = [window_row(record.window) for record in self.journal.windows("block")]
        for row in [row for row in rows if row["pair"] == pair]:
            others = [r for r in rows if r["system"] == row["system"] and r["pair"] != pair]
            if told := unlike_states(row, others):
                reason = f"{UNLIKE_STATES} {row['system']}: {'; '.join(told)}"
                for block in [b for b in self.journal.blocks if b.pair == pair and not b.void]:
                    self.journal.void(block, reason)
                return False
        return True

    def pairs(self) -> tuple[int, int]:
        """Pairs planned, which a budget may cap, and pairs wanted."""
        blocks = self.journal.windows("block")
        wanted = wanted_pairs(self.plan, blocks, self.candidate, self.baseline)
        return max(self.plan.pairs, min(wanted, self.plan.max_pairs)), wanted

    def done(self) -> tuple[int, int]:
        """Blocks that were started and are not void, and all that are planned so far."""
        return 2 * len(self._have()), 2 * self._pairs()

    def _have(self) -> set[int]:
        return {b.pair for b in self.journal.blocks if not b.void}

    def _pairs(self) -> int:
        """Fixed from the pilot's spread alone; no later peek."""
        return self.plan.pairs if len(self._have()) < self.plan.pairs else self.pairs()[0]
