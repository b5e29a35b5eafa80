"""Recomputes everything of a bundle that can be recomputed, and says what differs.

Files against the manifest; scores and verdicts from the rows, to 1e-9; images against the hashes in
the rows, verified content again from pixels, and both reports byte for byte, where the images
are there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness import bundle
from harness.errors import InputError
from harness.evidence import read_evidence
from harness.judge import derive
from harness.metrics.verified import Verified
from harness.records import Request
from reports import thumbnails
from reports.pages import rendered
from suites.claims import load_claims_file
from suites.proc.sets import load_set, sealed_set, to_jsonl, unpublished

__all__ = ["TOLERANCE", "verify"]

TOLERANCE = 1e-9
DAMAGE = (
    InputError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    OSError,
)
SHOWN = 20  # differences of one kind that are listed before they are only counted


def verify(run: Path) -> list[str]:
    """Differences between a bundle and what follows from it; empty when there are none.

    Raises InputError where the folder is no finished bundle.
    """
    manifest = bundle.read_manifest(run)
    found: list[str] = []
    for check in (_files, _schemas, _prompts, _derived, _images, _reports):
        found += _listed(check, run, manifest)
    return found


def _listed(check: Callable[..., Iterator[str]], run: Path, manifest: dict[str, Any]) -> list[str]:
    """A check's differences; one that cannot be made on a damaged bundle is itself a difference."""
    lines: list[str] = []
    try:
        lines += check(run, manifest)
    except (*DAMAGE, pa.ArrowException) as error:
        name = check.__name__.strip("_")
        lines.append(f"{name}: cannot be recomputed ({type(error).__name__}: {error})")
    more = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"and {more} more of this kind"] if more > 0 else [])


def _files(run: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Every file is there with its hash, and no other is.

    Images may have been left out whole, and what this package has a copy of.
    """
    stated = manifest["files"]
    there = bundle.hashes_as(run, stated)
    without_images = not (run / bundle.IMAGES).is_dir()
    for name in sorted(set(stated) | set(there)):
        if name not in there:
            left_out = without_images and name.startswith(bundle.IMAGES)
            if not left_out and not bundle.left_to_package(run, name):
                yield f"{name}: missing"
        elif name not in stated:
            yield f"{name}: not in the manifest"
        elif there[name] != stated[name]:
            yield f"{name}: SHA-256 differs from the manifest"


def _schemas(run: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """A table may be of an earlier version than the manifest, which later stages write again."""
    versions = [version for version in bundle.READ if version <= manifest["schema_version"]]
    for name in bundle.SCHEMAS:
        path = run / f"{name}.parquet"
        known = [bundle.schema_of(name, version) for version in versions]
        if path.is_file() and not any(map(pq.read_schema(path).equals, known)):
            yield f"{name}.parquet: columns differ from the documented ones"


def _prompts(run: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """The prompts are those the manifest names; what nonces draw is drawn again."""
    config = bundle.read_yaml(run / "config.yaml")
    suite, challenge = config["suite"], config.get("challenge")
    stated = manifest["suite"]
    if {key: suite.get(key) for key in stated} != stated:
        yield f"manifest.json: suite is {stated}, config.yaml has another"
    prompts = bundle.kept_file(run, bundle.PROMPTS).read_bytes()
    if hashlib.sha256(prompts).hexdigest() != manifest["prompt_set"]["sha256"]:
        yield "prompts.jsonl: not the prompt set of manifest.json"
    if suite.get("set") == "sealed" and (
        suite.get("prompts") or prompts != to_jsonl(sealed_set(str(suite["nonce"])).prompts)
    ):
        yield "prompts.jsonl: not the sealed set that the nonce of config.yaml draws"
    if bool(challenge) != bool(bundle.read_json(run / "settings.json").get("challenge")):
        yield "settings.json: tells of a challenge, or of none, where config.yaml does not"
    if challenge:
        published, drawn = load_set(suite["set"]).prompts, unpublished(str(challenge))
        if prompts != to_jsonl((*published, *drawn)):
            yield "prompts.jsonl: not the prompts that the challenge of config.yaml asks"
        known = {prompt.id for prompt in published}
        for row in bundle.read_table(run, "requests"):
            if (row["prompt_id"] in known) != row["core"]:
                yield f"requests.parquet: request {row['request']} is not of the challenge's part"


def _derived(run: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Scores and verdicts from the rows."""
    scores, verdicts = derive(read_evidence(run), load_claims_file(run / "claims.yaml"))
    stated = {_key(row): row for row in bundle.read_table(run, "scores")}
    derived = {_key(row): row for row in bundle.score_rows(scores)}
    for key in sorted(set(stated) | set(derived)):
        name = " ".join(key)
        if key not in stated or key not in derived:
            yield f"scores.parquet: {name} is {'extra' if key in stated else 'missing'}"
            continue
        for path, mine, theirs in _unequal(derived[key], stated[key], ""):
            yield f"scores.parquet: {name} {path} is {theirs}, recomputed {mine}"
    rows = json.loads(json.dumps(bundle.verdict_rows(verdicts)))
    for path, mine, theirs in _unequal(rows, bundle.read_json(run / "verdicts.json"), ""):
        yield f"verdicts.json: {path} is {theirs}, recomputed {mine}"


def _images(run: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Pixels against the rows' hashes, and `verified` again."""
    if not (run / bundle.IMAGES).is_dir():
        return
    kinds = {row["window"]: row["kind"] for row in bundle.read_table(run, "windows")}
    prompts, verified = bundle.read_prompts(run), Verified()
    stated = {
        (row["system"], row["request"]): row["value"]
        for row in bundle.read_table(run, "items")
        if row["metric"] == verified.name
    }
    unclaimed = {path.relative_to(run).as_posix() for path in (run / bundle.IMAGES).rglob("*.png")}
    for row in bundle.read_table(run, "requests"):
        path = bundle.image_path(run, row["system"], row["request"])
        name = path.relative_to(run).as_posix()
        if name not in unclaimed:
            if kinds.get(row["window"]) == "block" and row["failure"] is None:
                yield f"{name}: missing"
            continue
        unclaimed.discard(name)
        image = bundle.read_image(path)
        if hashlib.sha256(image.tobytes()).hexdigest() != row["image_sha256"]:
            yield f"{name}: not the image of its row in requests.parquet"
        prompt = prompts[row["prompt_id"]]
        if prompt.spec is None or image.shape[:2] != (64, 64):
            continue
        request = Request(id=row["request"], prompt=prompt, seed=row["seed"])
        value = float(verified.rows([image], [request])[0, 0])
        if stated.get((row["system"], row["request"])) != value:
            yield f"items.parquet: verified of {name} differs from its pixels ({value:g})"
    yield from (f"{name}: no row in requests.parquet" for name in sorted(unclaimed))


def _reports(run: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Every page again; they show pictures, so not where the images were left out."""
    pages = rendered(run)
    for name in bundle.PAGES:
        if name not in pages and (run / name).exists():
            yield f"{name}: no page of this bundle; delete it"
    drawn = any(name.startswith(bundle.IMAGES) for name in manifest["files"])
    if drawn and not (run / bundle.IMAGES).is_dir():
        return
    beside = thumbnails.drawn(run)
    there = (path.relative_to(run).as_posix() for path in run.glob(f"{bundle.THUMBNAILS}**/*.jpg"))
    yield from (f"{name}: no picture of the report" for name in sorted(set(there) - set(beside)))
    draws: dict[str, Callable[[], bytes]] = {n: partial(_page, d, run) for n, d in pages.items()}
    for name, draw in {**draws, **beside}.items():
        path = run / name
        if not path.is_file():
            yield f"{name}: missing; draw it with: un0bench report {run}"
        elif path.read_bytes() != draw():
            yield f"{name}: differs from the one drawn from this bundle"


def _page(render: Callable[[Path], str], run: Path) -> bytes:
    return render(run).encode()


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["system"], row["metric"], row["category"]


def _unequal(mine: Any, theirs: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Leaves that differ: numbers by more than 1e-9 (relative above 1), all else exactly."""
    if dataclasses.is_dataclass(mine) and not isinstance(mine, type):
        mine = dataclasses.asdict(mine)
    if isinstance(mine, dict) and isinstance(theirs, dict) and set(mine) == set(theirs):
        for key in mine:
            yield from _unequal(mine[key], theirs[key], f"{path}.{key}" if path else str(key))
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for at, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            yield from _unequal(a, b, f"{path}[{at}]")
    elif isinstance(mine, float) and isinstance(theirs, int | float):
        if not math.isclose(mine, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield path, mine, theirs
    elif mine != theirs:
        yield path, mine, theirs
