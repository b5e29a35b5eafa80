"""What an audit says while it runs."""

import json

import pytest
from toy_audits import toys

from harness import cli
from harness.errors import ConfigError
from harness.progress import MODES, Progress

FACTS = {"images_per_s": 12.5, "joules": {"cpu": 3.0}, "ratio": 77.3, "ratio_of": "cpu_s"}


def test_json_lines_tell_stages_images_and_the_ratio_so_far(tmp_path, capsys):
    command = toys(tmp_path, seconds=0.001, more=["name=s", "suite.sizes.mini.min_window_s=0.3"])
    assert cli.main([*command, "--progress", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [*dict.fromkeys(line["stage"] for line in lines)] == [
        "measure",
        "score",
        "judge",
        "report",
    ]
    last = [line for line in lines if "ratio" in line][-1]
    assert last["images"] > 0 and last["images_per_s"] > 0
    assert all(joules > 0 for joules in last["joules"].values())
    assert last["ratio_of"] in ("cpu_s", *last["joules"])
    assert last["low"] <= last["ratio"] <= last["high"]
    assert any("left_s" in line for line in lines)
    ends = {line["stage"]: (line["done"], line["total"]) for line in lines}
    assert all(done == total for done, total in ends.values())


def test_quiet_says_nothing_but_the_verdicts(tmp_path, capsys):
    assert cli.main([*toys(tmp_path, more=["name=s"]), "--progress", "quiet"]) == 0
    told = capsys.readouterr()
    assert told.err == "" and "report:" in told.out


def test_a_line_tells_the_stage(capsys):
    with Progress().stage("score", 3) as stage:
        stage.say("un0", facts=FACTS)
        stage.advance()
    assert "12.5/s  3 J  time 77.3x" in capsys.readouterr().err


def test_the_command_line_knows_the_modes():
    assert cli.PROGRESS == MODES


def test_another_mode_is_refused():
    with pytest.raises(ConfigError, match="progress=loud; it is one of line, json, quiet"):
        Progress("loud")
