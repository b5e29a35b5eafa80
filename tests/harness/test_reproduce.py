"""A bundle's audit run again, of systems that draw what their seed says."""

import shutil
from pathlib import Path

import pytest
from toy_audits import SMALL

from harness import bundle, cli
from harness.errors import InputError
from harness.reproduce import _config, reproduce


def sealed(root):
    manifest = bundle.read_manifest(root)
    del manifest["files"]
    bundle.write_manifest(root, manifest)


def run_again(run, finished, tmp_path):
    """A finished run that stands for that of `run` again."""
    again = Path(shutil.copytree(finished, tmp_path / "again"))
    config = _config(run, bundle.read_manifest(run), again)
    bundle.write_yaml(again / "config.yaml", config)
    sealed(again)
    return again


def test_the_same_requests_are_asked_and_the_same_pictures_come(finished, tmp_path, capsys):
    again = tmp_path / "again"
    code = cli.main(["reproduce", str(finished), "--out", str(again), "--trust"])
    told = capsys.readouterr().out
    pictures = next(line for line in told.splitlines() if " pictures " in line)
    assert pictures.startswith("same") and "16 of 16" in pictures
    assert "not comparable  processor time" in told  # two pairs have no interval
    assert (code == 1) == any(line.startswith("different") for line in told.splitlines())
    first, second = (bundle.read_manifest(path) for path in (finished, again))
    assert (first["salt"], first["prompt_set"]) == (second["salt"], second["prompt_set"])
    assert (finished / "claims.yaml").read_text() in (again / "claims.yaml").read_text()


def test_code_that_a_bundle_names_is_not_run_unasked(finished, tmp_path):
    assert any("toy_systems" in argument for argument in SMALL)
    with pytest.raises(InputError, match=r"would run or fetch .*toy_systems.FlatMeter"):
        reproduce(finished, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("put", "said"),
    [
        ({"inner": [{"_target_": "os.system", "command": "true"}]}, r"os\.system"),
        ({"_target_": "harness.systems.diffusers_pipeline.torch.hub.load"}, r"torch\.hub\.load"),
        ({"_args_": ["a"]}, "_args_"),
        ({"model": "https://host/file#sha256=../../etc"}, "https://host/file"),
        ({"model": "${oc.env:HOME}"}, "oc.env"),
        ({"model": "some/model", "network": True}, "network for some/model"),
    ],
)
def test_what_a_bundle_would_run_or_fetch_is_refused(finished, tmp_path, put, said):
    evil = Path(shutil.copytree(finished, tmp_path / "evil"))
    config = bundle.read_yaml(evil / "config.yaml")
    config["systems"]["renderer"] |= put
    bundle.write_yaml(evil / "config.yaml", config)
    sealed(evil)
    with pytest.raises(InputError, match=said):
        reproduce(evil, tmp_path / "again")


def test_another_run_is_not_taken_for_this_one(finished, tmp_path):
    for again in (finished, Path(shutil.copytree(finished, tmp_path / "other"))):
        with pytest.raises(InputError, match="is no run of"):
            reproduce(finished, again, trust=True)


def test_pictures_that_are_not_there_are_not_the_same(finished, tmp_path):
    again = run_again(finished, finished, tmp_path)
    rows = [
        {**row, "image_sha256": "" if row["system"] == "null" else row["image_sha256"]}
        for row in bundle.read_table(again, "requests")
    ]
    bundle.write_table(again, "requests", rows)
    sealed(again)
    lines = {line.name: line for line in reproduce(finished, again, trust=True)}
    assert lines["pictures"].outcome == "different"
    assert lines["pictures"].reason.startswith("0 of 16")


def test_a_verdict_that_comes_out_otherwise_is_told_with_both(finished, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    verdicts = bundle.read_json(other / "verdicts.json")
    verdicts[0]["outcome"] = "supported"
    bundle.write_json(other / "verdicts.json", verdicts)
    sealed(other)
    again = run_again(other, finished, tmp_path)
    lines = reproduce(other, again, trust=True)  # finished already: nothing is run
    first = next(line for line in lines if line.outcome == "different")
    assert first.reason.startswith("supported there, ")


def test_a_bundle_without_its_salt_cannot_be_run_again(finished, tmp_path):
    bare = shutil.copytree(finished, tmp_path / "bare")
    manifest = bundle.read_json(bare / "manifest.json")
    del manifest["salt"]
    bundle.write_json(bare / "manifest.json", manifest)
    with pytest.raises(InputError, match="tells no salt"):
        reproduce(bare, tmp_path / "again")
