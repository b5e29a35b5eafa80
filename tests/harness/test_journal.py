"""What an audit has done so far survives any instant of a kill."""

import dataclasses

from harness.bundle import write_json
from harness.journal import BlockRecord, Journal, WindowRecord
from harness.records import DomainCard, EnergyReading, MeterCard, Window


def window(number):
    return Window(
        id=f"w{number:04d}",
        kind="block",
        system="a",
        pair=0,
        order="AB",
        batch=1,
        requests=10,
        start_ns=0,
        end_ns=10**9,
        cpu_s=1.0,
    )


def test_a_block_voided_half_way_is_void_whole_at_the_next_start(tmp_path):
    journal = Journal(tmp_path)
    block = BlockRecord(number=0, pair=0, order="AB", core=0, windows=("w0000", "w0001"))
    journal.put_block(block)
    journal.add(WindowRecord(window=window(0), facts={"block": 0}))
    # killed within the block; then again after the block was told void, before its window was
    told = dataclasses.replace(block, void=True, reason="stopped")
    write_json(tmp_path / "partial" / "b0000.json", dataclasses.asdict(told))
    again = Journal(tmp_path)
    assert again.windows("block") == []
    assert again.records[0].window.void and again.records[0].window.reason == "stopped"
    assert Journal(tmp_path).records[0].window.void


class OfServer:
    """A late meter at the plug of a server."""

    def describe(self):
        return MeterCard(name="late", domains=(DomainCard(domain="remote", method="wall"),))

    def traces(self):
        return []

    def readings(self, spans):
        return [
            EnergyReading(span=s.id, domain="remote", energy_j=2.0, method="wall") for s in spans
        ]


def test_a_window_keeps_what_was_metered_where_its_system_works(tmp_path):
    journal = Journal(tmp_path, {"a": "remote", "b": "cpu"})
    spent_s = {"a": 0.1, "b": 1.0}
    both = {
        system: dataclasses.replace(window(n), system=system, cpu_s=spent)
        for n, (system, spent) in enumerate(spent_s.items())
    }
    for one in both.values():
        read = EnergyReading(span=one.id, domain="cpu", energy_j=1.0, method="counter")
        journal.add(WindowRecord(window=one, readings=(read,)))
    away, here = Journal(tmp_path).records
    assert (away.window.cpu_s, away.readings[0].energy_j) == (None, None)
    assert (here.window.cpu_s, here.readings[0].energy_j) == (1.0, 1.0)
    assert not away.window.void
    journal.read_late(OfServer())
    away, here = Journal(tmp_path).records
    assert away.readings[0].energy_j == 2.0
    assert here.readings[0].energy_j is None and "of a server" in here.readings[0].reason


def test_who_says_that_he_works_elsewhere_and_works_here_has_void_windows(tmp_path):
    journal = Journal(tmp_path, {"a": "remote"})
    one = dataclasses.replace(window(0), system="a", start_ns=0, end_ns=10**9, cpu_s=0.5)
    journal.add(WindowRecord(window=one, readings=()))
    found = journal.records[0].window
    assert found.void and "0.5 s of processor time here" in found.reason and found.cpu_s is None
