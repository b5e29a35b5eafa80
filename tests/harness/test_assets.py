import hashlib

import pytest

from harness.assets import fetch, resolve
from harness.errors import AssetError


def test_a_packaged_folder_is_found():
    assert (resolve("package:suites/proc/sets") / "test.jsonl").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/nowhere/weights", "No file or folder at /nowhere/weights"),
        ("package:suites/nothing", "un0bench train"),
        ("package:nopackage/x", "no package 'nopackage'"),
        ("https://host.invalid/x", "has no hash"),
    ],
)
def test_what_is_missing_is_said_with_a_remedy(name, said):
    with pytest.raises(AssetError, match=said):
        resolve(name)


def test_a_file_is_fetched_once_and_checked(tmp_path):
    source = tmp_path / "weights.bin"
    source.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    cache = tmp_path / "cache"
    first = fetch(source.as_uri(), digest, cache=cache)
    source.unlink()
    assert fetch(source.as_uri(), digest, cache=cache) == first
    assert first.read_bytes() == b"abc"


def test_a_file_that_changed_is_refused_and_not_kept(tmp_path):
    source = tmp_path / "weights.bin"
    source.write_bytes(b"changed")
    digest = hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(AssetError, match="do not use it"):
        fetch(source.as_uri(), digest, cache=tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_offline_says_where_to_put_the_file(tmp_path):
    gone = (tmp_path / "gone.bin").as_uri()
    with pytest.raises(AssetError, match=r"Offline\? Put the file at .*gone.bin"):
        fetch(gone, "0" * 64, cache=tmp_path)
