"""Audits over several nodes: what each does, and a real Ray of two nodes in processes."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toy_audits import toys

from harness import bundle, cli, cluster, inputs
from harness import nodes as nodes_of
from harness.errors import ConfigError, InputError, SystemFailed
from harness.here import Order
from harness.journal import Journal
from harness.node import Node
from harness.plan import Plan, SystemPlan
from harness.records import Prompt
from harness.schedule import Schedule
from harness.verify import verify

TOYS = Path(__file__).parent / "toys"
FLAT = {"_target_": "toy_systems.FlatMeter"}
SALT = "00112233445566778899aabbccddeeff"


# A node, without Ray ---------------------------------------------------------------------------


def order(baseline="Toy"):
    def system(name, kind):
        return SystemPlan(name=name, config={"_target_": f"toy_systems.{kind}"}, batch=2)

    return Order(
        plan=Plan(core=4, pairs=2, max_pairs=2, min_window_s=0.1, idle_s=0.05, warmup_s=0.1),
        candidate=system("a", "Toy"),
        baseline=system("b", baseline),
        null_system=system("null", "Toy"),
        published=tuple(Prompt(id=str(i), text=f"prompt {i}", category="c") for i in range(8)),
    )


@pytest.fixture
def node(tmp_path):
    made = Node("east", str(tmp_path / "run"), FLAT)
    assert made.machine()["cpu_model"]
    yield made
    made.close()
    assert not made._run.parent.exists()


def started(run):
    """The blocks of a pair, as an audit notes them before it hands them out."""
    plan = order().plan
    schedule = Schedule(plan=plan, candidate="a", baseline="b", journal=Journal(run))
    return tuple(schedule.start_block(*slot) for slot in schedule.next_pair())


def test_a_node_hands_over_a_pair_of_its_own_numbers_and_keeps_no_pictures(node, tmp_path):
    blocks = started(tmp_path / "run")
    node.take(order(), SALT, [])
    left = node.pair(100, blocks)
    assert left.error is None and left.blocks == blocks
    by_kind = {}
    for record in left.records:
        assert record.window.node == "east"
        by_kind.setdefault(record.window.kind, []).append(record.window.id)
    assert by_kind["block"] == ["w0000", "w0001", "w0002", "w0003"]
    assert by_kind["load"] == ["w0100", "w0101"]
    rows = [r for record in left.records for r in record.requests]
    pictures = {name for name in left.files if name.endswith(".png")}
    assert pictures == {f"images/{r['system']}/{r['request']}.png" for r in rows}
    assert {"cards/a.json", "cards/b.json", "logs/east/a.log"} <= set(left.files)
    assert not list(node._run.rglob("*.png"))
    assert node.begin(200).records and not node.begin(300).records  # idle and null are there


def test_what_fails_on_a_node_is_told_with_the_paths_of_the_audit(node, tmp_path):
    node.take(order(baseline="Dies"), SALT, [])
    left = node.pair(100, started(tmp_path / "run"))
    assert isinstance(left.error, SystemFailed)
    told = str(left.error)
    assert told.startswith("On east: System 'b' failed")
    assert str(tmp_path / "run" / "logs" / "east" / "b.log") in told
    assert f"un0bench audit --resume name=run out={tmp_path}" in told
    assert str(node._run.parent) not in told
    assert left.records  # what was measured before


def test_a_meter_that_logs_one_machine_from_outside_serves_no_cluster(tmp_path):
    meter = {"_target_": "toy_systems.LateFlatMeter"}
    refused = Node("east", str(tmp_path / "run"), meter).machine()
    assert isinstance(refused, ConfigError) and "executor=ray" in str(refused)


# Which nodes -----------------------------------------------------------------------------------


def seen(name, *, alive=True, number="0"):
    return {"NodeName": name, "Alive": alive, "NodeID": number, "NodeManagerAddress": "10.0.0.1"}


def test_nodes_are_those_alive_or_named_and_have_names_of_their_own():
    nodes = [seen("b", number="2"), seen("a/x"), seen("b", number="1"), seen("c", alive=False)]
    assert {name: node["NodeID"] for name, node in nodes_of.chosen(nodes, None).items()} == {
        "a-x": "0",
        "b": "1",
        "b-2": "2",
    }
    assert list(nodes_of.chosen(nodes, ["b-2"])) == ["b-2"]
    with pytest.raises(ConfigError, match="executor.nodes names c; the cluster has a-x, b, b-2"):
        nodes_of.chosen(nodes, ["c"])
    with pytest.raises(ConfigError, match="executor.nodes='b'"):
        nodes_of.chosen(nodes, "b")


def test_nodes_that_are_not_alike_are_refused_with_both_values():
    machine = {"cpu_model": "X", "packages": {"torch": "2.9"}, "kernel": "6"}
    nodes_of.alike({"a": machine, "b": {**machine, "kernel": "7"}})
    other = {**machine, "packages": {"torch": "2.8"}}
    with pytest.raises(InputError, match="Nodes a and b are not alike .torch: '2.9' against '2.8'"):
        nodes_of.alike({"a": machine, "b": other})


def test_the_executor_is_checked_before_anything_runs():
    assert inputs.executor(None) == {"name": "local"}
    assert inputs.executor({"name": "ray"})["address"] == "auto"
    with pytest.raises(ConfigError, match="Did you mean 'ray'"):
        inputs.executor({"name": "rai"})
    with pytest.raises(ConfigError, match="Did you mean 'wait_s'"):
        inputs.executor({"name": "ray", "wait": 3})
    with pytest.raises(ConfigError, match="executor.wait_s is 0"):
        inputs.executor({"name": "ray", "wait_s": 0})


def test_pairs_beyond_the_pilot_wait_for_it(tmp_path, monkeypatch):
    plan = Plan(core=4, pairs=2, max_pairs=3)
    journal = Journal(tmp_path)
    schedule = Schedule(plan=plan, candidate="a", baseline="b", journal=journal)
    monkeypatch.setattr("harness.schedule.wanted_pairs", lambda *_: 3)
    said = []
    offered = cluster._offered(schedule, lambda *told: said.append(told))
    first, second = offered([]), offered([])
    assert [b.pair for b in (*first[1], *second[1])] == [0, 0, 1, 1]
    assert offered([second]) is None  # the spread is not known yet
    third = offered([])
    assert {b.pair for b in third[1]} == {2} and offered([third]) is None
    assert said[0] == ("blocks", 0, 4) and said[-1] == ("blocks", 4, 6)
    journal.void(first[1][0], "lost")
    journal.void(first[1][1], "lost")
    assert {b.pair for b in offered([third])[1]} == {0}


# Ray -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray():
    """A cluster of two nodes; its address, and what `lose` is written to."""
    pytest.importorskip("ray")
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", TOYS / "two_nodes.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOYS)},
    ) as process:
        yield process.stdout.readline().strip(), process.stdin
        process.stdin.close()


def audited(out, address, *more):
    """Runs an audit over the cluster; what it says."""
    command = toys(
        out,
        seconds=0.01,
        more=["name=t", "executor=ray", f"executor.address={address}", f"salt={SALT}", *more],
    )
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "harness.cli", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOYS)},
    )


def cores(run):
    """What was asked in each pair's core, by system."""
    windows = {w["window"]: w for w in bundle.read_table(run, "windows") if w["kind"] == "block"}
    found = {}
    for row in bundle.read_table(run, "requests"):
        window = windows.get(row["window"])
        if row["core"] and window and not window["void"]:
            key = (window["pair"], window["order"], row["system"])
            found.setdefault(key, []).append((row["prompt_id"], row["seed"], row["image_sha256"]))
    return {key: sorted(rows) for key, rows in found.items()}


def test_two_nodes_give_the_bundle_that_one_machine_gives(ray, tmp_path):
    done = audited(tmp_path / "far", ray[0])
    assert done.returncode == 0, done.stderr
    assert cli.main(toys(tmp_path / "near", seconds=0.01, more=["name=t", f"salt={SALT}"])) == 0
    far, near = tmp_path / "far" / "t", tmp_path / "near" / "t"
    assert verify(far) == []
    assert cores(far) == cores(near)  # the same requests, and the same pictures
    windows = bundle.read_table(far, "windows")
    assert {w["node"] for w in windows if w["kind"] == "block"} == {"one", "two"}
    for pair in (0, 1):
        assert len({w["node"] for w in windows if w["pair"] == pair}) == 1
    kinds = [(w["kind"], w["node"]) for w in windows if w["kind"] in ("idle", "null", "latency")]
    assert kinds.count(("null", "one")) == kinds.count(("null", "two")) == 2
    assert len([kind for kind, _ in kinds if kind == "latency"]) == 1
    assert all(w["idle_w"] is not None for w in windows if w["kind"] == "block")
    assert {row["node"] for row in bundle.read_table(far, "traces")} == {"one", "two"}
    assert set(bundle.read_json(far / "environment.json")["nodes"]) == {"one", "two"}
    outcomes = [
        {v["claim"]: v["outcome"] for v in json.loads((run / "verdicts.json").read_text())}
        for run in (far, near)
    ]
    assert outcomes[0] == outcomes[1]
    assert "the machine waits on two" in (far / "report.html").read_text()


def test_a_node_that_is_lost_loses_its_pair_which_another_runs_again(ray, tmp_path):
    address, told = ray
    run = tmp_path / "t"

    def lose():
        ends = time.monotonic() + 200
        while time.monotonic() < ends:
            if any('"node": "two"' in path.read_text() for path in run.glob("partial/w*.json")):
                told.write("lose\n")
                told.flush()
                return
            time.sleep(0.1)

    watcher = threading.Thread(target=lose)
    watcher.start()
    more = [f"suite.sizes.mini.{key}=4" for key in ("pairs", "max_pairs")]
    done = audited(tmp_path, address, *more)
    watcher.join()
    assert done.returncode == 0, done.stderr
    blocks = bundle.read_manifest(run)["blocks"]
    lost = [b for b in blocks if b["void"]]
    assert {b["reason"] for b in lost} == {"node two was lost within this block's pair"}
    assert len({b["pair"] for b in lost}) == 1
    whole = sorted((b["pair"], b["order"]) for b in blocks if not b["void"])
    assert whole == [(pair, turn) for pair in range(4) for turn in ("AB", "BA")]
    assert verify(run) == []


def test_no_cluster_is_one_line_and_no_run(tmp_path, capsys):
    pytest.importorskip("ray")
    command = toys(tmp_path, more=["name=t", "executor=ray", "executor.address=127.0.0.1:9"])
    assert cli.main(command) == 2
    assert "ray start --head" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
