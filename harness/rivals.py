"""A series of audits, a round each: every candidate against a baseline, in one table.

Each round is an audit with a bundle of its own, so whatever holds for one holds here. A round that
fails is told and left; the same command under the same name goes on where it was broken off.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import bundle
from harness.audit import audit
from harness.compose import compose
from harness.errors import AuditStopped, ConfigError, Interrupted, Un0BenchError
from harness.verify import verify
from reports import rivals as report

__all__ = ["differences", "finished", "rivals", "rounds"]

KEYS = ("candidate", "baseline", "claims", "mini", "audit")


def rivals(config: Mapping[str, Any]) -> Path:
    """Audits what is left of a series and draws its table; returns its folder.

    Raises AuditStopped where rounds failed: the table then has the others.
    """
    chosen = rounds(config)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    root = Path(config["out"]) / str(config["name"] or f"rivals-{config['size']}-{now}")
    kept = root / report.SERIES
    if kept.is_file() and (known := bundle.read_json(kept)["rounds"]) != chosen:
        raise ConfigError(
            f"{root} holds a series of {len(known)} other rounds. Choose another name=..., or ask "
            "for the same ones to go on."
        )
    root.mkdir(parents=True, exist_ok=True)
    bundle.write_json(kept, {"size": config["size"], "rounds": chosen})
    failed: list[str] = []
    for number, one in enumerate(chosen, 1):
        run = root / one["folder"]
        if (run / "manifest.json").is_file():
            continue
        print(f"round {number} of {len(chosen)}: {one['candidate']} against {one['baseline']}")
        try:
            settings = compose([*_overrides(one, config), f"out={root}", f"name={one['folder']}"])
            audit(settings, run, resume=(run / "config.yaml").is_file())
        except Interrupted:
            raise
        except Un0BenchError as error:
            failed.append(one["folder"])
            print(f"  failed: {error}")
        report.write(root)
    report.write(root)
    if failed:
        raise AuditStopped(
            f"{len(failed)} of {len(chosen)} rounds failed ({', '.join(failed)}); the others are "
            f"in {root}. Go on with: un0bench rivals name={root.name} out={root.parent}"
        )
    return root


def finished(root: Path) -> list[str]:
    """Folders of the rounds whose bundles are closed."""
    folders = [one["folder"] for one in bundle.read_json(root / report.SERIES)["rounds"]]
    return [name for name in folders if (root / name / "manifest.json").is_file()]


def differences(root: Path) -> Iterator[str]:
    """What of a series does not follow from its rounds' rows."""
    for name in finished(root):
        for difference in verify(root / name):
            yield f"{name}: {difference}"
    for page in report.PAGES:
        if (root / page).read_bytes() != report.render(root, page).encode():
            yield f"{page}: differs from the one drawn from these bundles"


def rounds(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rounds of a size. Raises ConfigError for an unknown size, a round that is none, or none.

    Each has its folder, so no two may compare the same systems.
    """
    sizes = config["sizes"]
    if config["size"] not in sizes:
        raise ConfigError(f"size={config['size']} is unknown; choose one of {', '.join(sizes)}.")
    found = []
    for one in config["rounds"]:
        if not isinstance(one, Mapping) or "candidate" not in one or set(one) - set(KEYS):
            raise ConfigError(f"rounds: {one!r} is no round; it has {', '.join(KEYS)}.")
        if not sizes[config["size"]]["every"] and not one.get("mini"):
            continue
        baseline = one.get("baseline") or config["baseline"]
        found.append(
            {
                "folder": f"{one['candidate']}-vs-{baseline}",
                "candidate": one["candidate"],
                "baseline": baseline,
                "claims": list(one.get("claims") or ["no-quality-loss"]),
                "audit": list(one.get("audit") or ()),
            }
        )
    folders = [one["folder"] for one in found]
    if twice := next((name for name in folders if folders.count(name) > 1), ""):
        raise ConfigError(f"rounds: {twice} stands twice. Ask all its claims in one round.")
    if not found:
        raise ConfigError("rounds: none is of this size. Mark some with mini: true, or size=every.")
    return found


def _overrides(one: Mapping[str, Any], config: Mapping[str, Any]) -> Sequence[str]:
    """Of one audit: what the size asks, then the series, then the round."""
    return [
        f'system=["{one["candidate"]}","{one["baseline"]}"]',
        f"candidate={one['candidate']}",
        f"baseline={one['baseline']}",
        f"claims=[{','.join(one['claims'])}]",
        *config["sizes"][config["size"]]["audit"],
        *config["audit"],
        *one["audit"],
    ]
