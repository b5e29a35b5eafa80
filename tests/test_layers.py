"""The floors of the house: each module imports only from floors below its own.

6  harness.cli
5  harness.audit  harness.verify
4  reports  un0_model.recipes
3  bundle < worker < measure < attribute < judge, and what belongs to them
2  harness.systems | .techniques | .meters | .metrics | .environment   (siblings apart)
1  harness.stats  harness.protocols  harness.assets < suites < un0_model
0  harness.records  harness.errors
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("harness", "un0_model", "suites", "reports", "conf")
FLOORS = {
    "harness.cli": 6,
    "harness.commands": 5.9,
    "harness.compose": 6,
    "harness.rivals": 6.1,
    "harness.stress": 6.1,
    "harness.own_reference": 3.3,
    "harness.audit": 5,
    "harness.verify": 5,
    "reports": 4,
    "harness.gate": 3.6,
    "harness.reproduce": 5.1,
    "un0_model.recipes": 4,
    "harness.bundle": 3.0,
    "harness.features": 3.01,
    "harness.evidence": 3.02,
    "harness.journal": 3.05,
    "harness.child": 3.08,
    "harness.worker": 3.1,
    "harness.draw": 3.12,
    "harness.boundaries": 1.0,
    "harness.progress": 3.2,
    "harness.windows": 3.15,
    "harness.steady": 3.16,
    "harness.plan": 3.15,
    "harness.replay": 3.17,
    "harness.open_loop": 3.17,
    "harness.load": 3.35,
    "harness.metering": 3.18,
    "harness.inputs": 3.2,
    "harness.schedule": 3.17,
    "harness.measure": 3.2,
    "harness.here": 3.21,
    "harness.node": 3.22,
    "harness.nodes": 3.0,
    "harness.cluster": 3.23,
    "harness.attribute": 3.3,
    "harness.scoring": 3.3,
    "harness.scoring_bench": 3.35,
    "harness.footprint": 3.35,
    "harness.traffic": 3.35,
    "harness.ratio": 3.35,
    "harness.findings": 3.36,
    "harness.gating": 3.37,
    "harness.quantities": 3.38,
    "harness.quality": 3.37,
    "harness.ranges": 3.37,
    "harness.judge": 3.4,
    "harness.factors": 3.4,
    "harness.compare": 3.5,
    "harness.convert": 3.4,
    "harness.systems": 2,
    "harness.meters": 2,
    "harness.metrics": 2,
    "harness.techniques": 2,
    "harness.environment": 2,
    "harness.state": 1.0,
    "harness.ceilings": 1.0,
    "harness.isolation": 1.0,
    "harness.packages": 0.5,
    "harness.graph": 1.0,
    "harness.runtimes": 1.1,
    "harness.plain_yaml": 1.0,
    "harness.wire": 1.0,
    "harness.signature": 3.05,
    "harness.counter": 3.05,
    "harness.stats": 1.0,
    "harness.paired": 1.1,
    "harness.protocols": 1.0,
    "harness.assets": 1.0,
    "suites": 1.05,
    "un0_model": 1.1,
    "conf": 0,
    "harness.records": 0,
    "harness.errors": 0,
}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(p for p in parts if p != "__init__")] = path
    return found


def place(name: str) -> str | None:
    """The longest entry of FLOORS that a module name falls under."""
    fits = [k for k in FLOORS if name == k or name.startswith(k + ".")]
    return max(fits, key=len, default=None)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {n for n in names if n.split(".")[0] in PACKAGES}


def test_every_module_stands_on_a_floor():
    homeless = [m for m in modules() if place(m) is None and m not in {"harness"}]
    assert homeless == []


def test_each_floor_imports_only_from_those_below():
    wrong = []
    for name, path in modules().items():
        here = place(name)
        for other in imported(path):
            there = place(other)
            if here is None or there is None or there == here:
                continue
            if FLOORS[there] >= FLOORS[here]:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


@pytest.mark.parametrize(
    "module",
    ["harness.audit", "harness.measure", "harness.judge", "harness.verify", "reports.html"],
)
def test_the_parent_never_imports_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pynvml_is_imported_in_one_file_only():
    users = [
        m
        for m, p in modules().items()
        if "pynvml" in p.read_text() and "import pynvml" in p.read_text()
    ]
    assert users == ["harness.meters.nvml"]
