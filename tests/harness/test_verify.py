"""What `verify` finds: every change of a bundle, and nothing on an honest one."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from toy_audits import toys

from harness import assets, bundle, cli, inputs
from harness.bundle import REFERENCE
from harness.errors import ConfigError, InputError
from harness.evidence import read_evidence
from harness.verify import verify
from suites.proc.sets import sealed_set, to_jsonl


def test_a_flipped_bit_is_found(copy):
    path = copy / "items.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "items.parquet: SHA-256 differs from the manifest" in verify(copy)


def test_another_digest_than_the_one_told_is_found(copy, capsys):
    digest = bundle.manifest_digest(copy)
    assert cli.main(["verify", str(copy), "--digest", digest.upper()]) == 0
    assert cli.main(["verify", str(copy), "--digest", "0" * 64]) == 1
    assert f"its SHA-256 is {digest}" in capsys.readouterr().out


def test_a_missing_file_is_found(copy):
    (copy / "traces.parquet").unlink()
    assert "traces.parquet: missing" in verify(copy)


def test_an_extra_file_is_found(copy):
    (copy / "notes.txt").write_text("hello")
    assert verify(copy) == ["notes.txt: not in the manifest"]


def _rehash(run):
    manifest = bundle.read_manifest(run)
    manifest.pop("files")
    bundle.write_manifest(run, manifest)
    assert cli.main(["report", str(run)]) == 0


def test_an_edited_score_is_found_though_every_hash_was_made_again(copy):
    rows = bundle.read_table(copy, "scores")
    at = next(i for i, row in enumerate(rows) if row["metric"] == "verified" and row["value"] == 0)
    rows[at]["value"] = 0.9
    bundle.write_table(copy, "scores", rows)
    _rehash(copy)
    (line,) = verify(copy)
    assert line.startswith("scores.parquet: null verified") and "0.9" in line


def test_an_edited_item_is_found_from_pixels(copy):
    rows = bundle.read_table(copy, "items")
    at = next(i for i, r in enumerate(rows) if r["system"] == "null" and r["metric"] == "verified")
    rows[at]["value"] = 1.0
    bundle.write_table(copy, "items", rows)
    _rehash(copy)
    assert any("differs from its pixels" in line for line in verify(copy))


def test_an_exchanged_image_is_found(copy):
    first, second = sorted((copy / "images" / "renderer").glob("*.png"))[:2]
    first.write_bytes(second.read_bytes())
    _rehash(copy)
    assert any("not the image of its row" in line for line in verify(copy))


def _told(copy):
    """What `verify` says of a changed bundle; whoever reads it is to refuse it too."""
    with pytest.raises(InputError, match="is not as .*manifest.json has it"):
        bundle.unchanged(copy)
    return verify(copy)


def test_a_picture_that_was_changed_taken_added_or_renamed_is_found(copy):
    first, second, third, fourth = sorted((copy / "images" / "renderer").glob("*.png"))[:4]
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    told = _told(copy)
    name = first.relative_to(copy)
    assert "images/: SHA-256 differs from the manifest" in told
    assert f"{name}: not the image of its row in requests.parquet" in told
    first.unlink()
    assert f"{name}: missing" in _told(copy) and bundle.left_out(copy) == "images/"
    first.write_bytes(whole)
    assert verify(copy) == []
    extra = first.with_name("999999.png")
    extra.write_bytes(whole)
    assert "images/renderer/999999.png: no row in requests.parquet" in _told(copy)
    extra.unlink()
    (
        third.rename(first.with_name("swap")),
        fourth.rename(third),
        first.with_name("swap").rename(fourth),
    )
    assert any("not the image of its row" in line for line in _told(copy))


def test_notes_among_the_pictures_are_named_and_stand_in_nobodys_way(copy):
    (copy / "images" / ".DS_Store").write_text("hello")
    assert verify(copy) == ["images/.DS_Store: not in the manifest"]
    assert bundle.unchanged(copy) == copy


def test_a_file_named_images_is_no_pictures(copy):
    shutil.rmtree(copy / "images")
    (copy / "images").write_text("pictures")
    assert verify(copy) == ["images: not in the manifest"]


def test_bundles_of_the_first_version_that_is_read_still_verify(copy):
    """It listed every picture, and its tables named no node."""
    for name in ("windows", "traces"):
        table = pq.read_table(copy / f"{name}.parquet").drop_columns("node")
        pq.write_table(table.cast(bundle.schema_of(name, 2)), copy / f"{name}.parquet")
    manifest = bundle.read_manifest(copy)
    manifest |= {"files": bundle.file_hashes(copy, each=True), "schema_version": 2}
    bundle.write_json(copy / "manifest.json", manifest)
    assert cli.main(["report", str(copy)]) == 0
    assert verify(copy) == []
    first = min((copy / "images" / "renderer").glob("*.png"))
    first.write_bytes(b"none")
    assert f"{first.relative_to(copy)}: SHA-256 differs from the manifest" in _told(copy)


def test_a_claim_that_was_changed_after_the_run_no_longer_matches_it(copy):
    text = (copy / "claims.yaml").read_text()
    assert "threshold: 1000" in text
    (copy / "claims.yaml").write_text(text.replace("threshold: 1000", "threshold: 0.001"))
    assert any("claims.yaml" in line for line in verify(copy))
    _rehash(copy)
    assert any(line.startswith("verdicts.json") for line in verify(copy))


def test_an_edited_verdict_or_report_is_found(copy):
    verdicts = json.loads((copy / "verdicts.json").read_text())
    verdicts[0]["outcome"] = "supported"
    bundle.write_json(copy / "verdicts.json", verdicts)
    _rehash(copy)
    (copy / "report.md").write_text("all is well")
    found = verify(copy)
    assert any(line.startswith("verdicts.json: [0].outcome is supported") for line in found)
    assert "report.md: differs from the one drawn from this bundle" in found


def test_images_may_be_left_out_whole_which_is_said(copy, capsys):
    shutil.rmtree(copy / "images")
    assert verify(copy) == []
    assert cli.main(["verify", str(copy)]) == 0
    assert "reports NOT compared" in capsys.readouterr().out


def test_the_shipped_reference_may_be_left_out_and_no_other(copy):
    shutil.rmtree(copy / "images")
    shipped = np.load(assets.resolve("package:suites/proc/reference/features.npy"))
    for rows, found in ((shipped, []), (shipped[1:], [f"{REFERENCE}: missing"])):
        bundle.write_features(copy, "reference", rows)
        _rehash(copy)
        (copy / REFERENCE).unlink()
        assert verify(copy) == found


def test_features_have_a_row_for_every_image_that_was_scored(copy):
    asked = [r["request"] for r in bundle.read_table(copy, "requests") if r["system"] == "null"]
    items = bundle.read_table(copy, "items")
    for request in asked[1:3]:
        items.append({"request": request, "system": "null", "metric": "clip", "value": 0.5})
    bundle.write_table(copy, "items", items)
    bundle.write_features(copy, "null", np.eye(2, 8))
    spread = read_evidence(copy).features["null"]
    assert spread.shape == (len(asked), 8)
    assert (spread[1:3] == np.eye(2, 8)).all() and np.isnan(np.delete(spread, [1, 2], 0)).all()
    bundle.write_features(copy, "null", np.eye(3, 8))
    with pytest.raises(InputError, match="3 rows of features of null, 2 images scored"):
        read_evidence(copy)


def test_a_sealed_set_is_drawn_from_its_nonce_and_no_other_passes_for_it(tmp_path):
    sealed = ["suite.set=sealed", "suite.nonce=beacon-4711", "name=s"]
    assert cli.main(toys(tmp_path, more=sealed)) == 0
    run = tmp_path / "s"
    assert verify(run) == []
    assert (run / "prompts.jsonl").read_bytes() == to_jsonl(sealed_set("beacon-4711").prompts)
    config = bundle.read_yaml(run / "config.yaml")
    bundle.write_yaml(run / "config.yaml", config | {"suite": config["suite"] | {"nonce": "other"}})
    _rehash(run)
    assert verify(run) == ["prompts.jsonl: not the sealed set that the nonce of config.yaml draws"]


def test_a_sealed_set_without_a_nonce_gets_a_new_one():
    suite = {"set": "sealed", "nonce": None}
    first, second = (inputs.sealed({"suite": suite})["suite"]["nonce"] for _ in range(2))
    assert first != second and len(first) == 32
    assert sealed_set(first).sha256 != sealed_set(second).sha256
    with pytest.raises(ConfigError, match="Leave out one"):
        inputs.sealed({"suite": {"set": "sealed", "prompts": "mine.txt"}})
    with pytest.raises(ConfigError, match="nothing else"):
        inputs.sealed({"suite": {"set": "test", "nonce": "x"}})


def test_a_cut_feature_file_is_a_difference(copy):
    (copy / "features").mkdir(exist_ok=True)
    (copy / "features" / "null.npy").write_bytes(b"")
    assert any(line.startswith("derived: cannot be recomputed") for line in verify(copy))


def test_a_folder_that_is_no_bundle_is_an_input_error(tmp_path, capsys):
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "no finished bundle" in capsys.readouterr().err
