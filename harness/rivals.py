"""A series of audits, a round each: every candidate against a baseline, in one table.

Each round is an audit with a bundle of its own, so whatever holds for one holds here. A round that
fails is told and left; the same command under the same name goes on where it was broken off.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import bundle
from harness.audit import audit
from harness.compose import compose
from harness.errors import AuditStopped, ConfigError, Interrupted, Un0BenchError
from harness.verify import verify
from reports import rivals as report
from suites.claims import claims_bytes, load_claims

__all__ = ["differences", "rivals", "rounds"]

KEYS = ("candidate", "baseline", "claims", "mini", "audit")
DEFAULT = ["no-quality-loss"]  # what a round asks that names no claim
WHICH: dict[str, Callable[[Mapping[str, Any]], bool]] = {  # rounds a size has
    "mini": lambda one: bool(one.get("mini")),
    "claims": lambda one: list(one.get("claims") or DEFAULT) != DEFAULT,
    "every": lambda one: True,
}


def rivals(config: Mapping[str, Any]) -> Path:
    """Audits what is left of a series and draws its table; returns its folder.

    Raises AuditStopped where rounds failed: the table then has the others.
    """
    chosen, size = rounds(config), config["size"]
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    root = Path(config["out"]) / str(config["name"] or f"rivals-{size}-{now}")
    asked = {
        "size": size,
        "rounds": chosen,
        "audit": [*config["sizes"][size]["audit"], *config["audit"]],
    }
    kept = root / report.SERIES
    if kept.is_file():
        known = report.series(root)
        if differing := next((key for key in asked if known.get(key) != asked[key]), ""):
            raise ConfigError(
                f"{root} holds another series ({differing} differs). Choose another name=..., or "
                "ask for the same to go on."
            )
    else:
        root.mkdir(parents=True, exist_ok=True)
        statements = {claim.id: claim.statement for claim in load_claims()}
        bundle.write_json(kept, {**asked, "claims": statements, "digests": {}})
    failed: list[str] = []
    for number, one in enumerate(chosen, 1):
        run = root / one["folder"]
        if (run / "manifest.json").is_file():
            continue
        print(f"round {number} of {len(chosen)}: {one['candidate']} against {one['baseline']}")
        try:
            settings = compose([*_overrides(one, asked), f"out={root}", f"name={one['folder']}"])
            audit(settings, run, resume=(run / "config.yaml").is_file())
        except Interrupted:
            raise
        except Un0BenchError as error:
            failed.append(one["folder"])
            print(f"  failed: {error}")
            continue
        told = report.series(root)
        told["digests"][one["folder"]] = bundle.manifest_digest(run)
        bundle.write_json(kept, told)
        report.write(root)
    report.write(root)
    if failed:
        raise AuditStopped(
            f"{len(failed)} of {len(chosen)} rounds failed ({', '.join(failed)}); the others are "
            f"in {root}. Go on with the same command and name={root.name}"
        )
    return root


def differences(root: Path) -> Iterator[str]:
    """What of a series is not as it was recorded, or does not follow from its rounds' rows."""
    told = report.series(root)
    listed = {one["folder"]: one for one in told["rounds"]}
    for path in sorted(root.glob("*/manifest.json")):
        name = path.parent.name
        if name not in listed or name not in told["digests"]:
            yield f"{name}: a bundle that {report.SERIES} does not list"
    for name, digest in told["digests"].items():
        yield from (f"{name}: {text}" for text in _of_round(root / name, listed[name], digest))
    for page in report.PAGES:
        path = root / page
        if not path.is_file():
            yield f"{page}: missing"
            continue
        try:
            if path.read_bytes() != report.render(root, page).encode():
                yield f"{page}: differs from the one drawn from these bundles"
        except (Un0BenchError, OSError) as error:
            yield f"{page}: cannot be drawn ({error})"


def _of_round(run: Path, one: Mapping[str, Any], digest: str) -> Iterator[str]:
    try:
        if bundle.manifest_digest(run) != digest:
            yield f"not the bundle that {report.SERIES} lists"
        config = bundle.read_yaml(run / "config.yaml")
        for key in ("candidate", "baseline", "claims"):
            if config.get(key) != one[key]:
                yield f"its audit has another {key} than its round"
        if (run / "claims.yaml").read_bytes() != claims_bytes(one["claims"]):
            yield "claims.yaml: not the claims that un0bench ships under these names"
        yield from verify(run)
    except (Un0BenchError, OSError) as error:
        yield f"cannot be read ({error})"


def rounds(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rounds of a size. Raises ConfigError for an unknown size, a round that is none, or none.

    Each has its folder, so no two may compare the same systems.
    """
    sizes = config["sizes"]
    if config["size"] not in sizes:
        raise ConfigError(f"size={config['size']} is unknown; choose one of {', '.join(sizes)}.")
    which = sizes[config["size"]].get("which")
    if which not in WHICH:
        names = ", ".join(WHICH)
        raise ConfigError(f"sizes.{config['size']}.which={which}; it is one of {names}.")
    found = []
    for one in config["rounds"]:
        if not isinstance(one, Mapping) or "candidate" not in one or set(one) - set(KEYS):
            raise ConfigError(f"rounds: {one!r} is no round; it has {', '.join(KEYS)}.")
        if not WHICH[which](one):
            continue
        baseline = one.get("baseline") or config["baseline"]
        found.append(
            {
                "folder": f"{one['candidate']}-vs-{baseline}",
                "candidate": one["candidate"],
                "baseline": baseline,
                "claims": list(one.get("claims") or DEFAULT),
                "audit": list(one.get("audit") or ()),
            }
        )
    folders = [one["folder"] for one in found]
    if twice := next((name for name in folders if folders.count(name) > 1), ""):
        raise ConfigError(f"rounds: {twice} stands twice. Ask all its claims in one round.")
    if not found:
        raise ConfigError("rounds: none is of this size. Mark some with mini: true, or size=every.")
    return found


def _overrides(one: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Of one audit: what the size asks, then the series, then the round."""
    return [
        f'system=["{one["candidate"]}","{one["baseline"]}"]',
        f"candidate={one['candidate']}",
        f"baseline={one['baseline']}",
        f"claims=[{','.join(one['claims'])}]",
        *asked["audit"],
        *one["audit"],
    ]
