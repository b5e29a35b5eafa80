"""Two audits compared, and a gate between them, on bundles that differ in one known thing."""

import json
import math
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness import bundle, cli
from harness.compare import compared, read_audit, same_pictures
from harness.errors import ConfigError, InputError
from harness.gate import gate, read_limits
from reports import gate as written

NONE = {"undecided": "fail"}


def sealed(root, **facts):
    """Hashes a doctored copy again, as somebody would who wants it to pass."""
    manifest = {**bundle.read_manifest(root), **facts}
    manifest.pop("files")
    bundle.write_manifest(root, manifest)
    return root


def changed(sample, tmp_path, name="after", **tables):
    """A copy whose tables went through functions of a row."""
    root = shutil.copytree(sample, tmp_path / name)
    for table, change in tables.items():
        bundle.write_table(root, table, [change(row) for row in bundle.read_table(root, table)])
    return sealed(root)


def slower(factor):
    def change(row):
        if row["system"] == "un0" and row["cpu_s"] is not None:
            return {**row, "cpu_s": row["cpu_s"] * factor}
        return row

    return change


def wrong(category):
    """Nothing of a category is verified any more."""

    def change(row):
        ours = row["system"] == "un0" and row["metric"] == "verified"
        index = row["request"] if row["request"] < 10_000 else 0
        return {**row, "value": 0.0} if ours and index // 4 == category else row

    return change


def figures(before, after):
    return {one.name: one for one in compared(read_audit(before), read_audit(after))}


def test_an_audit_compared_with_itself_has_not_changed(sample):
    found = figures(sample, sample)
    time = found["processor time"]
    assert time.change == pytest.approx(1.0)
    assert time.low < 1 < time.high
    assert time.sees == pytest.approx(math.sqrt(time.high / time.low) - 1)
    assert (found["verified"].change, found["verified"].low, found["verified"].high) == (0, 0, 0)
    assert all(figure.same is not False for figure in found.values())
    alike, shared = same_pictures(read_audit(sample), read_audit(sample))
    assert alike == shared > 30


def test_a_slower_candidate_is_told_by_as_much_as_it_is_slower(sample, tmp_path):
    after = changed(sample, tmp_path, windows=slower(1.3))
    time = figures(sample, after)["processor time"]
    assert time.change == pytest.approx(1.3)
    assert time.low > 1 and time.same is False
    assert figures(after, sample)["processor time"].change == pytest.approx(1 / 1.3)


def test_a_machine_that_slows_both_changes_nothing(sample, tmp_path):
    def all_slower(row):
        return {**row, "cpu_s": None if row["cpu_s"] is None else 1.3 * row["cpu_s"]}

    after = changed(sample, tmp_path, windows=all_slower)
    assert figures(sample, after)["processor time"].change == pytest.approx(1.0)


def test_a_category_that_is_lost_is_told_as_that_category(sample, tmp_path):
    found = figures(sample, changed(sample, tmp_path, items=wrong(3)))
    lost = [n for n, f in found.items() if n.startswith("verified: ") and f.change != 0]
    assert lost == ["verified: binding"]
    assert found["verified: binding"].change < -0.2
    assert found["verified"].change == pytest.approx(found["verified: binding"].change / 9)


def test_unlike_machines_are_not_compared_in_cost_and_both_are_named(sample, tmp_path):
    after = changed(sample, tmp_path)
    machine = bundle.read_json(after / "environment.json")
    bundle.write_json(after / "environment.json", machine | {"cpu_model": "another"})
    sealed(after)
    found = figures(sample, after)
    assert found["processor time"].change is None
    assert "'an invented 2-core CPU' against 'another'" in found["processor time"].reason
    assert found["verified"].change == 0


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("settings.json", {"reference": {"extractor_sha256": "ff"}}, "judge: None against 'ff'"),
        ("config.yaml", {"baseline": "null"}, "baseline: 'dense' against 'null'"),
        ("manifest.json", {"prompt_set": {"sha256": "aa"}}, "prompt set: None against 'aa'"),
    ],
)
def test_unlike_audits_are_refused_by_name(sample, tmp_path, file, change, said):
    after = changed(sample, tmp_path)
    read = bundle.read_yaml if file.endswith("yaml") else bundle.read_json
    write = bundle.write_yaml if file.endswith("yaml") else bundle.write_json
    write(after / file, read(after / file) | change)
    sealed(after)
    with pytest.raises(InputError, match=said):
        compared(read_audit(sample), read_audit(after))


def test_an_edited_bundle_is_not_compared_but_named(sample, tmp_path):
    after = changed(sample, tmp_path)
    bundle.write_json(after / "settings.json", {})
    with pytest.raises(InputError, match=r"settings.json is not as .*manifest.json has it"):
        read_audit(after)


def test_other_seeds_are_refused_with_the_salt_that_asks_the_same(sample, tmp_path):
    after = changed(sample, tmp_path, requests=lambda row: {**row, "seed": row["seed"] + 1})
    with pytest.raises(InputError, match="no request in common .*Audit again with salt="):
        compared(read_audit(sample), read_audit(after))


def held(before, after, **limits):
    result = gate(read_audit(before), read_audit(after), {**NONE, **limits})
    return result, {check.name: check for check in result.checks}


def test_limits_pass_fail_or_cannot_tell(sample, tmp_path):
    after = changed(sample, tmp_path, windows=slower(1.3), items=wrong(3))
    result, checks = held(sample, after, time=1.5, verified=0.5, category=0.05)
    assert checks["processor time"].outcome == "passed"
    assert checks["verified: binding"].outcome == "undecided"  # four prompts cannot tell
    assert checks["verified: size"].outcome == "passed"
    assert not result.passed
    assert held(sample, after, time=1.1)[1]["processor time"].outcome == "failed"
    assert held(sample, after, time=1.3)[1]["processor time"].outcome == "undecided"
    assert held(sample, after, category=0.05, undecided="pass")[0].passed
    assert not held(sample, after, time=1.1, undecided="pass")[0].passed


def hashed_otherwise(row):
    return {**row, "image_sha256": row["image_sha256"] and row["image_sha256"][::-1]}


def test_few_prompts_cannot_pass_where_pictures_differ(sample, tmp_path):
    after = changed(sample, tmp_path, requests=hashed_otherwise)
    found = figures(sample, after)["verified: size"]
    assert (found.change, found.n) == (0, 4)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 4))  # exact, and not nothing
    _, checks = held(sample, after, category=0.9, verified=0.5)
    assert checks["verified: size"].outcome == "undecided"
    assert "4 prompts were scored; 30 would be trusted" in checks["verified: size"].reason
    assert checks["verified"].outcome == "passed"


def unfinished(share):
    def change(row):
        late = row["window"] == "latency-un0" and row["seed"] < share
        return {**row, "failure": "no picture"} if late else row

    return change


def test_requests_that_never_finish_fail_and_cannot_be_read_as_the_same(sample, tmp_path):
    many = changed(sample, tmp_path, "many", requests=unfinished(30))
    result, checks = held(sample, many, latency=1.25, undecided="pass")
    assert checks["latency p95"].outcome == "failed" and not result.passed
    assert figures(sample, many)["latency p95"].same is False
    json.loads(written.benchmark(result, read_audit(many)))
    few = changed(sample, tmp_path, "few", requests=unfinished(1))
    latency = figures(sample, few)["latency p95"]
    assert latency.change is None or latency.high < math.inf


def test_a_baseline_that_moved_tells_nothing_of_the_candidate(sample, tmp_path):
    def both(row):
        return {**row, "cpu_s": None if row["cpu_s"] is None else 1.9 * row["cpu_s"]}

    _, checks = held(sample, changed(sample, tmp_path, windows=both), time=1.5)
    assert checks["processor time"].outcome == "undecided"
    assert "The baseline itself takes 1.90 times" in checks["processor time"].reason


def test_other_domains_are_not_compared(sample, tmp_path):
    def walled(row):
        return {**row, "domain": "wall" if row["domain"] == "cpu" else row["domain"]}

    energy = figures(sample, changed(sample, tmp_path, windows=walled))["energy of the node"]
    assert "cpu (modelled), ram (modelled) against" in energy.reason


def test_a_bundles_words_stay_words(sample, tmp_path):
    evil = "x | y\x1b[31m\n::error::z <img src=x>"
    after = Path(changed(sample, tmp_path))
    prompts = (after / "prompts.jsonl").read_text().replace('"size"', json.dumps(evil))
    before = Path(shutil.copytree(sample, tmp_path / "before"))
    for root in (before, after):
        (root / "prompts.jsonl").write_text(prompts)
        sealed(root)
    result, _ = held(before, after, category=0.5)
    audits = read_audit(before), read_audit(after)
    ElementTree.fromstring(written.junit(result, audits[1], lenient=False))
    text = written.markdown(result, audits[1]) + "\n".join(written.lines(result))
    assert "\x1b" not in text and "\n::error" not in text
    assert "<img" not in written.markdown(result, audits[1])


def test_modelled_joules_cannot_pass(sample):
    result, checks = held(sample, sample, energy=2.0)
    assert checks["energy of the node"].outcome == "undecided"
    assert "modelled" in checks["energy of the node"].reason
    assert not result.passed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tyme: 1.1", "Did you mean 'time'"),
        ("time: 0.9", "a factor of at least 1"),
        ("time: .inf", "a factor of at least 1"),
        ("\xff", "no plain YAML"),
        ("verified: 3", "a share from 0 to 1"),
        ("verified: true", "a share from 0 to 1"),
        ("undecided: maybe", "value of undecided"),
        ("- time", "holds no limits"),
    ],
)
def test_limits_that_no_gate_could_hold_are_refused(tmp_path, text, said):
    path = tmp_path / "limits.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=said):
        read_limits(path)


def test_limits_that_ask_for_nothing_are_refused(sample):
    with pytest.raises(ConfigError, match="ask for nothing"):
        held(sample, sample, time=None)
    assert read_limits()["time"] == 1.10


def test_every_form_tells_the_same(sample, tmp_path):
    after = changed(sample, tmp_path, windows=slower(1.3))
    result, _ = held(sample, after, time=1.1, verified=0.03, frechet=True)
    audits = read_audit(sample), read_audit(after)
    suite = ElementTree.fromstring(written.junit(result, audits[1], lenient=False))
    assert suite.get("tests") == "3" and suite.get("failures") == "2"
    lenient = ElementTree.fromstring(written.junit(result, audits[1], lenient=True))
    assert (lenient.get("failures"), lenient.get("skipped")) == ("1", "1")
    text = written.markdown(result, audits[1])
    assert "gate failed: un0" in text and "| ❌ failed | processor time | 1.30×" in text
    entries = {one["name"]: one for one in json.loads(written.benchmark(result, audits[1]))}
    time = entries["un0: processor time"]
    assert time["unit"] == "of the baseline's" and 0 < time["value"] < 1
    missed = entries["un0: verified, missed"]
    assert 0 < missed["value"] < 1 and missed["range"].startswith("± ")


def test_the_command_answers_by_its_exit_code_and_writes_its_files(sample, tmp_path, capsys):
    limits = tmp_path / "limits.yaml"
    limits.write_text("time: 1.1\nverified: 0.03\n")
    after = changed(sample, tmp_path, windows=slower(1.3))
    asked = ["--baseline", str(sample), "--limits", str(limits)]
    assert cli.main(["gate", str(sample), *asked]) == 0
    assert "It can see" in capsys.readouterr().out
    files = {f: tmp_path / f for f in ("junit", "markdown", "benchmark")}
    more = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    assert cli.main(["gate", str(after), *asked, *more]) == 1
    assert "does not pass the gate" in capsys.readouterr().err
    assert all(path.stat().st_size > 100 for path in files.values())
    assert cli.main(["compare", str(sample), str(after)]) == 0
    assert "1.30×" in capsys.readouterr().out
    assert cli.main(["compare", str(sample)]) == 2
    assert cli.main(["gate", str(tmp_path / "none"), *asked]) == 2
    assert cli.main(["gate", str(after), *asked, "--junit", str(tmp_path / "no" / "j.xml")]) == 2
    assert cli.main(["gate", str(after), *asked[:3], str(tmp_path)]) == 2
    assert cli.main(["gate", str(sample), *asked, "--digest", "0" * 64]) == 1
    digest = bundle.manifest_digest(sample)
    assert cli.main(["gate", str(sample), *asked, "--digest", digest]) == 0
