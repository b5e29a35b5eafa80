"""The directory an audit leaves: its tables, its manifest of SHA-256, writing and reading both.

Every table is Parquet with one schema, declared here once and documented in docs/bundle.md.
Files are written beside their place, synced and renamed, so a killed audit leaves whole files.
`report.html` and `report.md` print the manifest's digest and so stand outside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from harness import assets
from harness.errors import AuditStopped, InputError
from harness.plain_yaml import PlainLoader, dumped
from harness.records import SCHEMA_VERSION, Prompt, Score, Verdict

__all__ = [
    "OUTSIDE",
    "PAGES",
    "READ",
    "REFERENCE",
    "SCHEMAS",
    "disk",
    "features_name",
    "file_hashes",
    "hashes_as",
    "image_path",
    "left_out",
    "kept_file",
    "left_to_package",
    "manifest_digest",
    "read_image",
    "read_json",
    "read_manifest",
    "read_prompts",
    "read_table",
    "read_yaml",
    "resume_command",
    "schema_of",
    "score_rows",
    "sha256_file",
    "unchanged",
    "verdict_rows",
    "write_bytes",
    "write_features",
    "write_image",
    "write_json",
    "write_manifest",
    "write_table",
    "write_yaml",
]

PAGES = (
    "report.html",
    "report.md",
    "stress.html",
    "stress.md",
    "blind.html",
)  # drawn from the rest
OUTSIDE = ("manifest.json", "manifest.sig", *PAGES)  # not in the manifest
REFERENCE, PROMPTS = "features/reference.npy", "prompts.jsonl"
THUMBNAILS = "report-images/"  # drawn as the pages are, JPEG
IMAGES = "images/"  # one entry of the manifest, which no file can be named as
PACKAGED = {  # what a bundle may leave to this package, whose copy has the manifest's hash
    REFERENCE: ("reference/features.npy",),
    PROMPTS: ("sets/test.jsonl", "sets/val.jsonl"),
}
MAX_ROWS, MAX_BYTES, MAX_PIXELS = 5_000_000, 1 << 30, 1 << 26  # of a table, a table, a picture
ROWS_AT_ONCE = 1000
READ = range(2, SCHEMA_VERSION + 1)  # versions


ADDED = {("windows", "node"): 4, ("traces", "node"): 4}  # columns, by the version they came with


def _schema(text: str) -> pa.Schema:
    """Reads "name:type" fields; a trailing ? allows null."""
    kinds = {"s": pa.string(), "i": pa.int64(), "f": pa.float64(), "b": pa.bool_()}
    fields = []
    for part in text.split():
        name, kind = part.split(":")
        fields.append(pa.field(name, kinds[kind[0]], nullable=kind.endswith("?")))
    return pa.schema(fields)


SCHEMAS: Mapping[str, pa.Schema] = {
    "windows": _schema(
        "window:s kind:s system:s pair:i? order:s batch:i requests:i failures:i "
        "duration_s:f cpu_s:f? start_ns:i end_ns:i domain:s energy_j:f? method:s? accuracy:f? "
        "resolution_j:f? idle_w:f? void:b reason:s "
        "cpu_mhz:f? steal_share:f? foreign_cpu_s:f? temperature_c:f? throttled:b? node:s?"
    ),
    "requests": _schema(
        "request:i window:s system:s prompt_id:s seed:i core:b latency_ns:i? "
        "image_sha256:s failure:s?"
    ),
    "batches": _schema("window:s first_index:i count:i sha256:s"),
    "items": _schema("request:i system:s metric:s value:f"),
    "traces": _schema("t_ns:i meter:s domain:s quantity:s value:f node:s?"),
    "scores": _schema("system:s metric:s category:s value:f? low:f? high:f? n:i"),
}


def schema_of(name: str, version: int) -> pa.Schema:
    """A table's schema in bundles of that version."""
    fields = [f for f in SCHEMAS[name] if version >= ADDED.get((name, f.name), 0)]
    return pa.schema(fields)


def resume_command(run: Path) -> str:
    """What a user types to go on with a run."""
    out = "" if run.parent == Path("runs") else f" {shlex.quote(f'out={run.parent}')}"
    return f"un0bench audit --resume {shlex.quote(f'name={run.name}')}{out}"


# Writing ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk(run: Path) -> Iterator[None]:
    """Turns a full disk into AuditStopped: what is kept, and how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        kept = len(list((run / "partial").glob("w*.json")))
        raise AuditStopped(
            f"The disk is full: {error.filename or run}. {kept} finished windows are kept in "
            f"{run}. Free some space, then go on with: {resume_command(run)}"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing: beside its place, synced, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def write_yaml(path: Path, value: Any) -> None:
    write_bytes(path, dumped(value).encode())


def write_table(run: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes `name`.parquet; a missing column is null, a wrong type or an unknown column raises."""
    schema = SCHEMAS[name]
    rows = list(rows)
    for row in rows:
        if unknown := set(row) - set(schema.names):
            raise ValueError(f"{name}.parquet has no column {sorted(unknown)}")
    columns = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in schema]
    for field, column in zip(schema, columns, strict=True):
        if not field.nullable and column.null_count:
            raise ValueError(f"{name}.parquet: column {field.name} cannot be empty")
    whole = [field.name for field in schema if field.type == pa.int64()]
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(columns, schema=schema),
        sink,
        compression="zstd",
        use_dictionary=[field.name for field in schema if field.type == pa.string()],
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),  # most of them count up
    )
    write_bytes(run / f"{name}.parquet", sink.getvalue())


def write_features(run: Path, system: str, rows: np.ndarray | None) -> None:
    """Writes features/<system>.npy, float16 [images of that system that were scored, d].

    Where none were (None), one of an earlier scoring goes.
    """
    path = run / "features" / f"{features_name(system)}.npy"
    if rows is None:
        path.unlink(missing_ok=True)
        return
    sink = io.BytesIO()
    np.save(sink, rows.astype(np.float16), allow_pickle=False)
    write_bytes(path, sink.getvalue())


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] as lossless PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG", compress_level=1)


def write_manifest(run: Path, facts: Mapping[str, Any]) -> None:
    """Closes the bundle: the facts of the audit, and the SHA-256 of every file."""
    write_json(
        run / "manifest.json",
        {**facts, "schema_version": SCHEMA_VERSION, "files": file_hashes(run)},
    )


def file_hashes(run: Path, *, each: bool = False) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of every file that belongs in the manifest, by relative path.

    Of pictures there is one entry: how many, their bytes, and the SHA-256 of the JSON of pairs of
    name and SHA-256, by name. With `each` they have one each, as in manifests of version 2.
    """
    files: dict[str, dict[str, Any]] = {}
    for folder, folders, names in os.walk(run):
        if Path(folder) == run and "partial" in folders:
            folders.remove("partial")
        for path in (Path(folder) / name for name in names):
            name = path.relative_to(run).as_posix()
            if path.is_file() and not _outside(name):
                files[name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    drawn = sorted(n for n in files if n.startswith(IMAGES) and n.endswith(".png"))
    if drawn and not each:
        found = [(name, files.pop(name)) for name in drawn]
        pairs = json.dumps([[name, one["sha256"]] for name, one in found])
        files[IMAGES] = {
            "sha256": hashlib.sha256(pairs.encode()).hexdigest(),
            "bytes": sum(one["bytes"] for _, one in found),
            "files": len(found),
        }
    return dict(sorted(files.items()))


def _outside(name: str) -> bool:
    """Whether the manifest leaves a file out: itself, and what is drawn from the rest."""
    return name in OUTSIDE or (name.startswith(THUMBNAILS) and name.endswith(".jpg"))


def hashes_as(run: Path, stated: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `file_hashes` finds, in the form that a manifest's `files` have."""
    return file_hashes(run, each=any(name.startswith(IMAGES) and name != IMAGES for name in stated))


# Names -----------------------------------------------------------------------------------------


def sha256_file(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def features_name(system: str) -> str:
    """The file name of a system: `control:blur` is kept as `control-blur`."""
    return system.replace(":", "-")


def image_path(run: Path, system: str, request: int) -> Path:
    return run / "images" / features_name(system) / f"{request}.png"


def manifest_digest(run: Path) -> str:
    """SHA-256 of manifest.json: the name of the whole bundle."""
    return sha256_file(run / "manifest.json")


# Reading ---------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Is {path.parent} a finished bundle?") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}. The bundle was edited or cut.") from None


def read_yaml(path: Path) -> Any:
    """A YAML file; a stream of several documents (claims.yaml) as their list."""
    try:
        documents = list(yaml.load_all(path.read_text("utf-8"), Loader=PlainLoader))
        return documents[0] if len(documents) == 1 else documents
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Is {path.parent} a bundle?") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Name a file.") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise InputError(
            f"{path} is no plain YAML: {told}. Write it again, or take it whole."
        ) from None


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest; InputError where the folder is no finished bundle, or one of another format."""
    if not run.is_dir():
        raise InputError(f"There is no {run}. Name the folder an audit printed.")
    if not (run / "manifest.json").is_file():
        raise InputError(
            f"{run} is no finished bundle (no manifest.json). Name the folder an audit printed, "
            f"or finish it with: {resume_command(run)}"
        )
    manifest = read_json(run / "manifest.json")
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version not in READ:
        raise InputError(
            f"{run}/manifest.json states schema_version {version}; this un0bench reads "
            f"{READ[0]} to {READ[-1]}. Read it with the version that wrote it."
        )
    files = manifest.get("files")
    whole = isinstance(files, dict) and all(isinstance(one, dict) for one in files.values())
    if not whole or not all(isinstance(one.get("sha256"), str) for one in files.values()):
        raise InputError(f"{run}/manifest.json lists no files with their SHA-256. It was edited.")
    return manifest


def read_table(run: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a table as plain dicts, in file order."""
    path = run / f"{name}.parquet"
    try:
        with pq.ParquetFile(path) as table:
            rows: list[dict[str, Any]] = []
            size = 0
            for part in table.iter_batches(batch_size=ROWS_AT_ONCE):
                size += part.nbytes
                if table.metadata.num_rows > MAX_ROWS or size > MAX_BYTES:
                    raise InputError(
                        f"{path} would unpack to {table.metadata.num_rows:,} rows, in more than "
                        f"{size:,} bytes; at most {MAX_ROWS:,} in {MAX_BYTES:,} are read."
                    )
                rows += part.to_pylist()
            return rows
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Is {run} a finished bundle?") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}. The bundle was edited or cut.") from None


def read_image(path: Path) -> np.ndarray:
    """uint8 [H, W, 3]. Raises InputError where the file would unpack to more than a picture."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height <= MAX_PIXELS:
                return np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError:
        pass
    raise InputError(f"{path} would unpack to more than {MAX_PIXELS:,} pixels, which are not read.")


def unchanged(run: Path) -> Path:
    """The bundle itself; InputError, naming the file, where one is not as the manifest has it.

    Files that were left out are not missed here, nor pictures where all are; `verify` says which.
    """
    stated = read_manifest(run)["files"]
    for name, there in hashes_as(run, stated).items():
        if name in stated and there != stated[name]:
            raise InputError(
                f"{run / name} is not as {run}/manifest.json has it. Take the bundle as it was "
                f"audited; un0bench verify {run} names every difference."
            )
    return run


def left_out(run: Path) -> str:
    """The first file of a finished bundle's manifest that is not there; empty where all are."""
    if not (run / "manifest.json").is_file():
        return ""
    stated = read_manifest(run)["files"]
    there = hashes_as(run, stated)
    fewer = IMAGES in there and there[IMAGES]["files"] < stated.get(IMAGES, {}).get("files", 0)
    return next((name for name in stated if name not in there), IMAGES if fewer else "")


def kept_file(run: Path, name: str) -> Path:
    """A file of a bundle, or this package's own copy where the manifest's was left out."""
    return left_to_package(run, name) or run / name


def left_to_package(run: Path, name: str) -> Path | None:
    """This package's copy of a file that a finished bundle left out, with the manifest's hash.

    None where the file is there, or the package has no such one.
    """
    if name not in PACKAGED or (run / name).exists() or not (run / "manifest.json").is_file():
        return None
    stated = read_manifest(run)["files"].get(name, {}).get("sha256")
    copies = [assets.resolve(f"package:suites/proc/{part}") for part in PACKAGED[name]]
    return next((path for path in copies if sha256_file(path) == stated), None)


def read_prompts(run: Path) -> dict[str, Prompt]:
    """Prompts by id. Raises InputError where the file is not the one that was written."""
    path = kept_file(run, PROMPTS)
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return {row["id"]: Prompt(**{**row, "tags": tuple(row.get("tags", ()))}) for row in rows}
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Is {run} a finished bundle?") from None
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path} cannot be read: {error}. The bundle was edited or cut.") from None


def score_rows(scores: Iterable[Score]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(score) for score in scores]


def verdict_rows(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(verdict) for verdict in verdicts]
