"""Whatever a file holds, its reader answers with rows or with one clear error, never otherwise."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import bundle
from harness.compare import compared, read_audit
from harness.errors import AssetError, InputError
from harness.gate import read_limits
from harness.meters.power_log import read_power_log
from harness.meters.replay import read_trace
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
