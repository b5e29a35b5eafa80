"""Whatever a file holds, its reader answers with rows or with one clear error, never otherwise."""

import itertools
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import bundle
from harness.compare import compared, read_audit
from harness.errors import AssetError, InputError
from harness.gate import read_limits
from harness.meters.power_log import read_power_log
from harness.meters.replay import read_trace
from harness.verify import verify
from suites.prompts import read_prompt_file
from un0_model.pipeline import Un0

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "measured" / "capacity"
WEIGHTS = ROOT / "un0_model" / "weights" / "un0"
QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEW = settings(QUICK, max_examples=12)


def near(*lines):
    """Text that looks like what is read, and bytes that do not."""
    odd = st.sampled_from(
        ["", "nan", "inf", "-1", "1e400", "\x00", "\x1b[31m", "💡", "../../x", '"']
    )
    line = st.lists(st.one_of(st.sampled_from(lines), odd, st.text(max_size=8)), max_size=6)
    whole = st.lists(line.map(",".join), max_size=6).map("\n".join)
    head = st.sampled_from([*(f"{one}\n" for one in lines), ""])
    return st.one_of(st.binary(max_size=60), st.tuples(head, whole).map("".join).map(str.encode))


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
@QUICK
@given(data=near("text", "id,text,category", '{"text": "a"}', '{"text": "a", "spec": {}}', "a"))
def test_prompts(tmp_path, suffix, data):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(data)
    try:
        prompts = read_prompt_file(path).prompts
    except InputError:
        return
    assert prompts and all(prompt.text.strip() for prompt in prompts)


@QUICK
@given(data=near("time,watts", "1700000000,5", "Time,11-22-2026 10:00:00.000,Watts,5.0", "7"))
def test_power_logs(tmp_path, data):
    path = tmp_path / "log.csv"
    path.write_bytes(data)
    try:
        rows = read_power_log(path)
    except InputError:
        return
    assert all(watts >= 0 for _, watts in rows)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@QUICK
@given(data=near("t_ns,domain,quantity,value", "5,cpu,power_w,7", "5,cpu,counter_j,7", "5"))
def test_traces(tmp_path, suffix, data):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(data)
    try:
        rows = read_trace(path)
    except InputError:
        return
    assert rows == sorted(rows, key=lambda row: row.t_ns)


@QUICK
@given(
    data=near("time: 1.1", "!!python/object:os.system {}", "a: &a [*a]", "2001-99-99", "{", "- x")
)
def test_limits(tmp_path, data):
    path = tmp_path / "limits.yaml"
    path.write_bytes(data)
    try:
        assert "undecided" in read_limits(path)
    except InputError:
        return


@FEW
@given(data=st.one_of(st.binary(max_size=200), st.just(b"\x80\x04cos\nsystem\n")))
def test_weights(tmp_path, data):
    shutil.copy(WEIGHTS / "config.json", tmp_path)
    (tmp_path / "un0.safetensors").write_bytes(data)
    with pytest.raises(AssetError):
        Un0.from_pretrained(tmp_path)


@FEW
@given(
    name=st.sampled_from(
        ["windows.parquet", "requests.parquet", "settings.json", "environment.json", "config.yaml"]
        + ["manifest.json", "prompts.jsonl", "cards/un0.json", "items.parquet"]
    ),
    place=st.floats(0, 1),
    put=st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from([b"null", b"[]", b"", b"9"])),
    cut=st.integers(0, 40),
)
def test_bundles(tmp_path, name, place, put, cut):
    copy = Path(shutil.copytree(KEPT, tmp_path / "copy", dirs_exist_ok=True))
    shutil.copy(ROOT / "suites/proc/sets/test.jsonl", copy / "prompts.jsonl")  # left out of it
    data = (copy / name).read_bytes()
    at = int(place * len(data))
    (copy / name).write_bytes(data[:at] + put + data[at + cut :])
    try:
        if name != "manifest.json":  # hashed again, as somebody would who wants it to pass
            manifest = json.loads((copy / "manifest.json").read_text())
            bundle.write_manifest(copy, {k: v for k, v in manifest.items() if k != "files"})
        assert compared(read_audit(KEPT), read_audit(copy))
    except InputError:
        return


# Small files that would unpack to large ones ------------------------------------------------------


def test_a_table_that_unpacks_to_too_much_is_refused(tmp_path):
    row = pa.table({"window": pa.array(["w"] * 1000)})
    with pq.ParquetWriter(tmp_path / "windows.parquet", row.schema, compression="zstd") as sink:
        for _ in range(3):
            sink.write_table(row)
    assert len(bundle.read_table(tmp_path, "windows")) == 3000
    for limit in ("MAX_ROWS", "MAX_BYTES"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bundle, limit, 50)
            with pytest.raises(InputError, match="would unpack to 3,000 rows"):
                bundle.read_table(tmp_path, "windows")


@pytest.mark.parametrize("side", [9_000, 40_000])
def test_a_picture_that_unpacks_to_too_much_is_refused(tmp_path, side):
    path = tmp_path / "bomb.png"
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    with pytest.raises(InputError, match="would unpack to more than"):
        bundle.read_image(path)


def test_features_that_promise_more_than_they_hold_are_a_difference(tmp_path):
    copy = Path(shutil.copytree(KEPT.parent / "first", tmp_path / "copy"))
    head = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 64)}
    for system in ("un0", "dense"):
        with (copy / "features" / f"{system}.npy").open("wb") as sink:
            np.lib.format.write_array_header_1_0(sink, head)
    assert any("cannot be recomputed" in line for line in verify(copy))


def test_yaml_that_grows_by_aliases_is_refused(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in itertools.pairwise("abcdefghi")]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match="an alias"):
        bundle.read_yaml(tmp_path / "config.yaml")
    same = ["twice"]
    bundle.write_yaml(tmp_path / "own.yaml", {"a": same, "b": same})
    assert bundle.read_yaml(tmp_path / "own.yaml") == {"a": same, "b": same}
