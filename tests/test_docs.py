"""What the docs name is there, and what they tell a user to type works."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRITTEN = [path for path in (ROOT / "docs").rglob("*.md") if "measured" not in path.parts]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN])
FILE = re.compile(
    r"`(?P<name>[\w/-]+\.(?:py|yaml|jsonl))`[^\n]*:\n\n```\w*\n(?P<text>.*?)```", re.DOTALL
)
LINK = re.compile(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)")
SMALL = {
    "core": "4",
    "pairs": "1",
    "max_pairs": "1",
    "min_window_s": "0.1",
    "idle_s": "0.05",
    "warmup_s": "0.1",
}
TOYS = ROOT / "tests" / "harness" / "toys"


def test_every_test_that_the_docs_name_exists():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    for path in sorted((ROOT / "docs").glob("*.md")):
        named = set(re.findall(r"`(test_\w+)`", path.read_text()))
        assert named <= known, f"{path.name}: {named - known}"
    assert "test_every_test_that_the_docs_name_exists" in known
    assert len(re.findall(r"`test_", (ROOT / "docs/method.md").read_text())) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_something(page):
    for path in LINK.findall(page.read_text()):
        assert (page.parent / path).exists(), path


def commands(text):
    """Lines of indented blocks that begin with un0bench, those that go on taken together."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.startswith("    un0bench ")]


def made_small(words):
    """The same audit of toys' size, of systems that start at once where it names none."""
    if words[1] not in ("audit", "stress"):
        return words
    size = "small" if "suite=mine" in words else "stress" if words[1] == "stress" else "mini"
    more = [f"suite.sizes.{size}.{key}={value}" for key, value in SMALL.items()]
    more = [text for text in more if words[1] == "audit" or ".core=" not in text]
    battery = "meter=battery" in words  # of which a file stands for one
    more += ["+meter.path=power_now"] if battery else ["meter._target_=toy_systems.FlatMeter"]
    more += ["work=false"] + (
        ["suite.judge=null", "suite.reference=null"] if size != "stress" else []
    )
    if size != "stress" and not any(word.startswith("system=") for word in words):
        more += ["system=[renderer,null]", "baseline=renderer"]
        more += [] if any(word.startswith("candidate=") for word in words) else ["candidate=null"]
    if any("shallow" in word for word in words):
        more += [f"systems.{name}.{what}" for name in ("dense", "shallow") for what in QUICK]
    return [*words, *more]


QUICK = ("compile=false", "steps=2", "dtype=float32", "batch=2")


def run(words, folder):
    path = os.pathsep.join([str(folder), str(TOYS)])
    command = [sys.executable, "-m", "harness.cli", *words[1:]]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with the files of extending.md."""
    folder = tmp_path_factory.mktemp("extending")
    for match in FILE.finditer((ROOT / "docs/extending.md").read_text()):
        path = folder / match["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["text"])
    (folder / "power_now").write_text("11000000\n")
    return folder


EXTENDING = commands((ROOT / "docs/extending.md").read_text())


@pytest.mark.parametrize("number", range(len(EXTENDING)))
def test_what_extends_it_runs_as_written(extended, number):
    done = run(made_small(shlex.split(EXTENDING[number])), extended)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_examples_of_extending_are_all_there(extended):
    there = {path.relative_to(extended).as_posix() for path in extended.rglob("*.*")}
    assert {"tint.py", "shallow.py", "battery.py", "contrast.py", "time-10x.yaml"} <= there
    assert {"prompts.jsonl", "my_conf/suite/mine.yaml", "my_conf/meter/battery.yaml"} <= there
    assert len(EXTENDING) == 7
