"""Reference features are the ones that were published, or the audit says so."""

import hashlib
import io
import json

import numpy as np
import pytest

from harness.errors import AssetError
from harness.metrics.reference import extractor_sha256, load_reference


@pytest.fixture
def folders(tmp_path):
    judge, reference = tmp_path / "judge", tmp_path / "reference"
    judge.mkdir()
    reference.mkdir()
    (judge / "open_clip_config.json").write_text("{}")
    rows = np.arange(12, dtype=np.float16).reshape(6, 2)
    sink = io.BytesIO()
    np.save(sink, rows)
    (reference / "features.npy").write_bytes(sink.getvalue())
    statistics = {
        "n": 6,
        "features_sha256": hashlib.sha256(sink.getvalue()).hexdigest(),
        "extractor_sha256": extractor_sha256(judge),
        "matched_clip": 0.7,
    }
    (reference / "statistics.json").write_text(json.dumps(statistics))
    return judge, reference


def test_features_come_back_in_float32_with_their_statistics(folders):
    found = load_reference(folders[1], folders[0])
    assert found.features.dtype == np.float32
    np.testing.assert_array_equal(found.features[5], [10, 11])
    assert found.statistics["matched_clip"] == 0.7


def test_one_changed_bit_is_refused(folders):
    path = folders[1] / "features.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(AssetError, match="SHA-256"):
        load_reference(folders[1])


def test_another_judge_network_is_refused(folders):
    (folders[0] / "open_clip_config.json").write_text("{ }")
    with pytest.raises(AssetError, match="extractor_sha256 differs"):
        load_reference(folders[1], folders[0])
    load_reference(folders[1])  # without a judge to compare, the features alone are checked


def test_missing_and_miscounted_files_are_named(folders, tmp_path):
    with pytest.raises(AssetError, match="not readable"):
        load_reference(tmp_path / "nowhere")
    with pytest.raises(AssetError, match="No judge network"):
        extractor_sha256(tmp_path / "nowhere")
    statistics = json.loads((folders[1] / "statistics.json").read_text())
    (folders[1] / "statistics.json").write_text(json.dumps({**statistics, "n": 7}))
    with pytest.raises(AssetError, match="n = 7"):
        load_reference(folders[1])
