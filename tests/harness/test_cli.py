import subprocess
import sys
import time

import pytest

from harness import cli, commands, compose
from harness.errors import ConfigError, Interrupted

NO_JUDGE = ["suite.judge=null", "suite.reference=null"]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments], capture_output=True, text=True
    )


def test_help_imports_neither_hydra_nor_numpy():
    code = (
        "import sys; from harness import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('hydra', 'numpy', 'torch', 'rich', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]")
    assert "exit codes" in done.stdout


def test_help_answers_within_half_a_second():
    best = min(_seconds() for _ in range(3))
    assert best < 0.5


def _seconds():
    began = time.perf_counter()
    assert run("--help").returncode == 0
    return time.perf_counter() - began


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("suite.sise=full", "Unknown key 'suite.sise'. Did you mean 'suite.size'?"),
        ("suite=prok", "Unknown suite 'prok'. Did you mean 'proc'?"),
        ("system=[un1,dense]", "Unknown system 'un1'. Did you mean 'un0'?"),
        ("sute=proc", "Unknown key 'sute'. Did you mean 'suite'?"),
        ("systems.un0.bach=3", "Did you mean 'systems.un0.batch'?"),
        ("foo", "'foo' is no override; write key=value."),
        ("suite.size=ful", "Unknown suite.size 'ful'. Did you mean 'full'?"),
        ("candidate=un", "Unknown candidate 'un'. Did you mean 'un0'?"),
        ("baseline=un0", "candidate and baseline are both 'un0'"),
        ("systems.un0.batch=0", "systems.un0.batch is 0"),
        ("system=[un0,diffusers]", "give it as systems.diffusers.model=..."),
        ("claims=[energy-100x]", "energy-1000x"),
        ("suite.prompts=/nowhere/p.jsonl", "/nowhere/p.jsonl cannot be read"),
        ("suite.judge=/nowhere/judge", "No file or folder at /nowhere/judge"),
        ("+suite.sizes.mini.pears=3", "Did you mean 'pairs'?"),
        ("claims=[latency-100ms,latency-100ms]", "each once"),
        ("claims=[]", "at least one claim"),
        ("suite.sizes.mini.core=0", "core is 0"),
        ("name=a/b", "choose the folder with out="),
    ],
)
def test_a_wrong_override_is_told_with_the_nearest_known(override, said, tmp_path, capsys):
    assert cli.main(["audit", override, f"out={tmp_path}"]) == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.startswith("un0bench: ") and "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_a_file_exits_2(tmp_path, capsys):
    (tmp_path / "f").write_text("")
    assert cli.main(["audit", f"out={tmp_path / 'f'}", "name=x", *NO_JUDGE]) == 2
    assert "Choose a folder" in capsys.readouterr().err


def test_resume_takes_only_the_name_of_a_run(tmp_path, capsys):
    assert cli.main(["audit", "--resume", f"out={tmp_path}"]) == 2
    assert "name=" in capsys.readouterr().err
    assert cli.main(["audit", "--resume", "name=x", "seed=4"]) == 2
    assert "leave out seed=4" in capsys.readouterr().err
    assert cli.main(["audit", "--resume", "name=x", f"out={tmp_path}"]) == 2
    assert "Nothing to resume" in capsys.readouterr().err


def test_an_unknown_command_exits_2():
    assert run("adit").returncode == 2


def test_null_names_the_system_of_that_name():
    config = compose.compose(["system=[renderer,null]", "candidate=null", "baseline=renderer"])
    assert config["candidate"] == "null"
    assert sorted(config["systems"]) == ["null", "renderer"]


def test_every_choice_of_every_group_composes():
    for choice in ("all", "nvml", "rapl", "codecarbon"):
        assert compose.compose([f"meter={choice}"])["meter"]["_target_"].startswith("harness.")
    config = compose.compose(["system=[un0,diffusers]", "systems.diffusers.model=a/b"])
    assert config["systems"]["diffusers"]["model"] == "a/b"
    with pytest.raises(ConfigError, match="meter.path"):
        compose.compose(["meter=replay"])


def test_claims_are_listed_and_explained(capsys):
    assert cli.main(["claims"]) == 0
    text = capsys.readouterr().out
    for name in ("energy-1000x", "time-1000x", "active-0.1pct", "no-quality-loss"):
        assert f"{name} " in text
    assert cli.main(["claims", "latency-100ms", "sparsity-pays"]) == 0
    text = capsys.readouterr().out
    assert "its 95th percentile in seconds: at most 0.1" in text
    assert "verified content: better than the baseline's by at least 3.0 points" in text
    assert "Least evidence: 6 pairs of blocks, 1,300 prompts to support equal quality." in text
    assert "    # 1,300 prompts and a bar for the rival: as no-quality-loss." in text
    assert cli.main(["claims", "latency-100"]) == 2


def test_meters_say_what_is_missing_and_why(capsys):
    assert cli.main(["meters"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(len(line.split()) > 2 for line in lines)
    read = [line for line in lines if "accuracy" in line]
    assert all("idle" in line for line in read)
    assert ("of one processor" in lines[-1]) == bool(read)


def test_a_sweep_ends_where_it_is_broken_off(tmp_path, monkeypatch):
    seen = []

    def one(config, **options):
        seen.append(config["seed"])
        raise Interrupted("Interrupted.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "_run_one", one)
    assert cli.main(["audit", "-m", "seed=1,2,3", f"out={tmp_path}"]) == 3
    assert seen == [1]


def test_a_fault_of_ours_is_no_failed_check(monkeypatch, capsys):
    def broken(run):
        raise RuntimeError("a bug")

    monkeypatch.setattr("harness.verify.verify", broken)
    assert cli.main(["verify", "anywhere"]) == 70
    assert "a fault of un0bench itself" in capsys.readouterr().err


def test_a_bundle_of_another_format_is_not_read(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text('{"schema_version": 99, "files": {}}')
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "schema_version 99" in capsys.readouterr().err


def test_a_sweep_of_trainings_has_a_folder_each(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    begun = []

    def start(recipe, budgets, name, config):
        begun.append((name, config["shape"]["keep"], config["out"]))
        return 0

    monkeypatch.setattr("un0_model.recipes.leg.start", start)
    out = f"out='{tmp_path}/${{shape.keep}}'"
    assert cli.main(["train", "-m", "un0", "shape.keep=2,27", out]) == 0
    assert begun == [("un0", 2, f"{tmp_path}/2"), ("un0", 27, f"{tmp_path}/27")]
    assert not list(tmp_path.iterdir())


def test_a_sweep_runs_every_combination_and_returns_the_worst_code(tmp_path, capsys, monkeypatch):
    seen = []

    def one(config, **options):
        seen.append((config["candidate"], config["seed"]))
        if config["seed"] == 2:
            raise ConfigError("seed 2 is unlucky.")
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "_run_one", one)
    assert cli.main(["audit", "-m", "seed=1,2,3", f"out={tmp_path}"]) == 2
    assert seen == [("un0", 1), ("un0", 2), ("un0", 3)]
    assert "seed 2 is unlucky" in capsys.readouterr().err


def test_a_sweep_in_processes_of_their_own_returns_their_worst_code(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")

    def one(config):
        return 3 if config["seed"] == 2 else 0

    launched = ["hydra/launcher=submitit_local", f"hydra.sweep.dir={tmp_path}"]
    assert compose.sweep([*launched, "seed=1,2,4"], one) == 3
    assert len(list(tmp_path.glob(".submitit/*/*_log.out"))) == 3
