"""A series of small audits: renderer and the constant image, in one table."""

import json
import shutil

import pytest
from toy_audits import SMALL

from harness import bundle, cli
from harness.compose import compose
from harness.rivals import rounds
from reports import rivals
from suites.claims import claim_ids

ROUNDS = (
    "rounds=[{candidate: 'null', baseline: renderer, mini: true, claims: [time-1000x]},"
    "{candidate: redrawn-cosine, baseline: renderer, mini: true, claims: [latency-100ms]},"
    "{candidate: redrawn, baseline: renderer, claims: [latency-100ms]}]"
)
AUDIT = "audit=[" + ",".join(f"'{override}'" for override in SMALL) + "]"


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    out = tmp_path_factory.mktemp("series")
    assert cli.main(["rivals", ROUNDS, AUDIT, f"out={out}", "name=s"]) == 0
    return out / "s"


def test_a_series_has_a_bundle_a_round_and_one_table(series, capsys):
    found = rivals.read(series)
    assert [one.name for one in found.systems] == ["renderer", "null", "redrawn-cosine"]
    assert not found.missing
    told = {one.claim: one for one in found.outcomes}
    assert told["time-1000x"].round == "null-vs-renderer"
    assert told["latency-100ms"].found
    assert told["landauer"].reason == "No round of this series asks it."
    assert len(told) == len(claim_ids())
    assert cli.main(["verify", str(series)]) == 0
    assert "2 of 2 rounds" in capsys.readouterr().out


def test_the_frontier_is_of_those_that_none_beats_in_both(series):
    found = rivals.read(series)
    first = {dot.name for dot in found.plot.dots if dot.first}
    assert {"null", "renderer"} <= first or "redrawn-cosine" in first
    for dot in found.plot.dots:
        better = [d for d in found.plot.dots if d.x <= dot.x and d.y <= dot.y and d != dot]
        assert dot.first or better


def test_the_same_command_goes_on_and_another_is_refused(series, tmp_path, capsys):
    shutil.copytree(series, tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "null-vs-renderer")
    told = bundle.read_json(tmp_path / "s" / "rivals.json")
    del told["digests"]["null-vs-renderer"]
    bundle.write_json(tmp_path / "s" / "rivals.json", told)
    assert rivals.read(tmp_path / "s").missing == ("null-vs-renderer",)
    kept = bundle.manifest_digest(tmp_path / "s" / "redrawn-cosine-vs-renderer")
    assert cli.main(["rivals", ROUNDS, AUDIT, f"out={tmp_path}", "name=s"]) == 0
    assert not rivals.read(tmp_path / "s").missing
    assert bundle.manifest_digest(tmp_path / "s" / "redrawn-cosine-vs-renderer") == kept
    capsys.readouterr()
    assert cli.main(["rivals", f"out={tmp_path}", "name=s"]) == 2
    assert "another series (rounds differs)" in capsys.readouterr().err
    assert cli.main(["rivals", ROUNDS, AUDIT, "size=every", f"out={tmp_path}", "name=s"]) == 2


def test_a_round_that_fails_is_told_and_the_others_are_kept(tmp_path, capsys):
    broken = ROUNDS.replace("candidate: 'null'", "candidate: diffusers")
    assert cli.main(["rivals", broken, AUDIT, f"out={tmp_path}", "name=s"]) == 3
    told = capsys.readouterr()
    assert "failed: " in told.out and "diffusers-vs-renderer" in told.err
    found = rivals.read(tmp_path / "s")
    assert found.missing == ("diffusers-vs-renderer",)
    assert "redrawn-cosine" in [one.name for one in found.systems]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("size=huge", "mini, claims, every, full"),
        ("rounds=[{candidat: a}]", "is no round"),
        ("rounds=[{candidate: un0}]", "none is of this size"),
        ("sizes.mini.which=some", "one of mini, claims, every"),
        ("rounds=[{candidate: un0, mini: true},{candidate: un0, mini: true}]", "stands twice"),
    ],
)
def test_rounds_that_are_none_are_refused(override, words, tmp_path, capsys):
    assert cli.main(["rivals", override, f"out={tmp_path}"]) == 2
    assert words in capsys.readouterr().err


def test_a_size_has_the_rounds_that_are_marked_that_decide_claims_or_all():
    found = {
        size: rounds(compose([f"size={size}"], name="rivals"))
        for size in ("mini", "claims", "full")
    }
    assert [one["candidate"] for one in found["mini"]][:2] == ["un0", "dense-optimised"]
    decided = [claim for one in found["claims"] for claim in one["claims"]]
    assert sorted(set(decided)) == sorted(claim_ids())
    assert len(found["mini"]) < len(found["claims"]) < len(found["full"])


def test_verify_names_a_round_or_a_page_that_was_changed(series, tmp_path, capsys):
    there = shutil.copytree(series, tmp_path / "s")
    page = there / "rivals.md"
    page.write_text(page.read_text().replace("renderer", "Renderer", 1))
    path = there / "null-vs-renderer" / "verdicts.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert cli.main(["verify", str(there)]) == 1
    told = capsys.readouterr().out
    assert "rivals.md: differs" in told and "null-vs-renderer: verdicts.json" in told


def test_verify_names_a_round_that_was_left_out_or_put_in_anothers_place(series, tmp_path, capsys):
    there = shutil.copytree(series, tmp_path / "s")
    one, two = "null-vs-renderer", "redrawn-cosine-vs-renderer"
    (there / one).rename(there / "aside")
    shutil.copytree(there / two, there / one)
    shutil.rmtree(there / two)
    (there / "rivals.html").unlink()
    assert cli.main(["verify", str(there), "--digest", "0" * 64]) == 1
    told = capsys.readouterr().out
    for words in (
        "aside: a bundle that rivals.json does not list",
        f"{one}: not the bundle that rivals.json lists",
        f"{one}: its audit has another candidate",
        f"{two}: cannot be read",
        "rivals.html: missing",
        "rivals.json: its SHA-256 is",
    ):
        assert words in told
    assert cli.main(["verify", str(there), "--signed-by", "k.pem"]) == 2
