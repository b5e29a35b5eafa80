"""A stress test: two systems on prompts that somebody brought, told before it starts and after.

An audit like any other, of the suite `own`; its bundle has a page more. The prompts as they were
read, and what the judge saw in a reference folder, lie beside the bundle under its name.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy import stats

from harness import assets, bundle, errors, inputs
from harness.audit import audit
from harness.compose import compose, run_folder
from harness.errors import AssetError, ConfigError
from harness.metrics.precision_recall import K
from harness.paired import FEWEST
from harness.plan import Plan, SystemPlan
from harness.records import Prompt, Request
from harness.stats import ALPHA
from harness.worker import Worker
from suites.own import Own, read_own
from suites.proc.sets import to_jsonl
from suites.proc.words import VOCABULARY
from suites.published import is_manifest, read_published

__all__ = ["Asked", "stress"]

SHIPPED = {"judge": "package:suites/proc/judge", "reference": "package:suites/proc/reference"}
CLIP = "hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # as the hub has it; its hash is kept
DISAGREE = 0.25  # of prompts, where two systems' pictures are checked: a guess, and said as one
POWER = 0.9
OURS = "package:un0_model/weights"  # models that know the suite's words alone
LATENCY_S = 10.0  # single requests of the candidate
SAMPLED = 4  # categories whose own sensitivity is told, and words that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user named on the command line."""

    prompts: Path
    candidate: str
    baseline: str
    columns: Mapping[str, str] = field(default_factory=dict)
    reference: Path | None = None
    judge: str | None = None
    images: int = 1
    overrides: tuple[str, ...] = ()


def stress(asked: Asked, say: Callable[[str], object], *, only_say: bool = False) -> Path | None:
    """Says what was read, how long it will take and what it can show; then audits.

    Returns the bundle, or None with `only_say`. Raises InputError for anything that is wrong.
    """
    if asked.images < 1:
        raise ConfigError(f"--images {asked.images}; it is at least 1.")
    pair = [f"candidate={asked.candidate}", f"baseline={asked.baseline}"]
    if not any(override.startswith("system=") for override in asked.overrides):
        defined = (re.match(r"\++systems\.([^.=]+)(\._target_)?=", o) for o in asked.overrides)
        made = [match[1] for match in defined if match]
        shipped = [n for n in (asked.candidate, asked.baseline) if n not in made]
        pair.append(f"system=[{','.join(json.dumps(name) for name in shipped or ['null'])}]")
    config = compose([*pair, *asked.overrides], name="stress")
    own = _own(asked, config["suite"].pop("sha256"))
    for remark in own.remarks:
        say(remark)
    unknown = _unknown(own.prompts, {name: config["systems"][name] for name in inputs.pair(config)})
    for remark in unknown:
        say(remark)
    run = run_folder(config)
    if run.exists() and not only_say:
        raise ConfigError(f"{run} exists. Choose another name=..., or delete the folder.")
    suite = config["suite"]
    size = suite["sizes"][inputs.known(suite["size"], suite["sizes"], "suite.size")]
    if any(text.split("=")[0].endswith(".core") for text in asked.overrides):
        raise ConfigError("core follows from the number of prompts; ask for more with --images.")
    pairs = inputs.plan(suite, config["seed"]).pairs
    size["core"] = max(1, math.ceil(len(own.prompts) * asked.images / (2 * pairs)))
    judge = _judge(own, asked)
    pictures = asked.reference or (asked.prompts if len(own.pictures) > K and judge else None)
    if pictures is not None and not pictures.is_dir():
        raise AssetError(f"There is no folder {pictures}. Name one that holds pictures.")
    if judge is not None:
        try:
            _resolved(judge)
        except AssetError as error:
            if not only_say:
                raise
            say(f"The audit itself would stop here: {error}")
    systems = [inputs.system(name, config["systems"][name]) for name in inputs.pair(config)]
    for line in _sensitivity(own, judged=judge is not None):
        say(line)
    plan = inputs.plan(suite, config["seed"])
    say("Both systems draw a few of them once, to tell how long it will take ...")
    seconds = sum(_lasts(_probe(system, own.prompts), system, plan) for system in systems)
    say(f"It will take about {_minutes(seconds + 2 * plan.idle_s)}, and some for the scores.")
    if only_say:
        return None
    beside = run.with_name(f"{run.name}.prompts.jsonl")
    bundle.write_bytes(beside, to_jsonl(own.prompts))
    suite["prompts"] = str(beside.resolve())
    suite["judge"] = judge
    if pictures is not None and judge is not None:
        beside = run.with_name(f"{run.name}.reference").resolve()
        suite["reference"] = str(_reference(pictures, judge, beside))
    elif judge == SHIPPED["judge"]:
        suite["reference"] = SHIPPED["reference"]
    config["own"] = {"file": asked.prompts.name, "remarks": [*own.remarks, *unknown]}
    config["own"]["reference"] = pictures.name if pictures is not None else None
    return audit(config, run)


def _own(asked: Asked, sha256: str | None) -> Own:
    """What was brought: a published set by its name, or prompts of one's own."""
    name = str(asked.prompts)
    if not is_manifest(name):
        return read_own(asked.prompts, asked.columns)
    if asked.columns:
        raise ConfigError(f"--column with {name}; its manifest names the columns. Leave it out.")
    found = read_published(name, sha256)
    told = f"{len(found.prompts)} prompts of {name} ({found.source['licence']}), "
    told += f"from {found.source['url']} with SHA-256 {found.source['sha256']}."
    return Own(prompts=found.prompts, remarks=(told,))


def _judge(own: Own, asked: Asked) -> str | None:
    """The network that scores: the one named, the suite's own for its own captions, or CLIP."""
    if asked.judge == "none":
        if asked.reference is not None:
            raise ConfigError("--reference without a judge; what compares pictures is the judge.")
        return None
    return asked.judge or (SHIPPED["judge"] if own.checkable else CLIP)


def _resolved(judge: str) -> None:
    """Raises AssetError where there is no such network, which scoring would find out too late."""
    try:
        folder = assets.resolve(judge)
    except AssetError as error:
        raise AssetError(f"{error} Or leave pictures unscored with --judge none.") from None
    if not (folder / "open_clip_model.safetensors").is_file():
        raise AssetError(
            f"No open_clip_model.safetensors in {folder}. Name a folder as open_clip saves one, or "
            "leave pictures unscored with --judge none."
        )


def _unknown(
    prompts: Sequence[Prompt], systems: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """A remark where prompts hold words that systems of this repository do not know."""
    names = [name for name, config in systems.items() if str(config.get("model")).startswith(OURS)]
    told = [set(prompt.text.lower().split()) - set(VOCABULARY) for prompt in prompts]
    words = Counter(word for some in told for word in sorted(some))
    if not names or not words:
        return ()
    shown = ", ".join(word for word, _ in words.most_common(SAMPLED))
    return (
        f"{' and '.join(names)}: trained here on the words of un0bench's own suite and no others; "
        f"{sum(map(bool, told))} of {len(prompts)} prompts hold words that are passed over ({shown}"
        f"{', ...' if len(words) > SAMPLED else ''}). Name other systems for such prompts.",
    )


# Before it starts --------------------------------------------------------------------------------


def _sensitivity(own: Own, *, judged: bool) -> list[str]:
    """What difference so many prompts can show, over all and in a category."""
    if not own.checkable and not judged:
        return ["Pictures are not scored: time and energy alone are compared."]
    counts = Counter(prompt.category for prompt in own.prompts)
    tested = [name for name in sorted(counts, key=counts.__getitem__) if counts[name] >= FEWEST]
    shown = [("all of them", len(own.prompts), ALPHA)] if len(own.prompts) >= FEWEST else []
    if len(counts) > 1:
        shown += [(name, counts[name], ALPHA / len(tested)) for name in tested[:SAMPLED]]
    least = {f"{name} ({n})": _least(n, alpha, own.checkable) for name, n, alpha in shown}
    few = f"Of fewer than {FEWEST} prompts nothing is said."
    texts = [few] if not shown or min(counts.values()) < FEWEST else []
    if blind := [name for name, points in least.items() if points is None]:
        texts.insert(0, f"Over {', '.join(blind)} hardly any difference will be seen.")
    told = ", ".join(f"{points} over {name}" for name, points in least.items() if points)
    if not told:
        return texts
    if own.checkable:
        return [
            f"A difference in right pictures is seen nine times in ten from {told} on, if the two "
            f"disagree in {DISAGREE:.0%} of prompts, or in as many as they differ.",
            *texts,
        ]
    return [
        f"A difference in CLIP is seen nine times in ten from {told} on, in parts of how much that "
        "difference varies from prompt to prompt.",
        *texts,
    ]


def _least(prompts: int, alpha: float, shares: bool) -> str | None:
    """The least difference that is seen in POWER of all tries, two-sided at 2 alpha, if any is."""
    z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(POWER))
    if not shares:
        return f"{z / math.sqrt(prompts):.2f}"
    least = z * math.sqrt(DISAGREE / prompts)
    least = least if least <= DISAGREE else z * z / prompts  # then all that disagree differ
    return f"{100 * least:.0f} points" if least <= 1 else None


def _probe(system: SystemPlan, prompts: tuple[Prompt, ...]) -> tuple[float, float]:
    """Seconds that a system takes to load, and for a picture in its batch, the second time."""
    some = [prompts[i % len(prompts)] for i in range(system.batch)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        worker = Worker(
            system.name,
            system.config,
            log=Path(folder) / "worker.log",
            timeout_s=system.timeout_s,
            network=system.network,
            scratch=scratch,
        )
        try:
            load_s = worker.load()
            for turn in range(2):
                began = time.perf_counter()
                worker.generate([Request(id=i, prompt=p, seed=turn) for i, p in enumerate(some)])
                each = (time.perf_counter() - began) / len(some)
        finally:
            worker.close()
    return load_s, each


def _lasts(probed: tuple[float, float], system: SystemPlan, plan: Plan) -> float:
    """Seconds of an audit that one system takes: starts, warm-ups and windows."""
    load_s, each = probed
    window_s = max(plan.min_window_s, math.ceil(plan.core / system.batch) * system.batch * each)
    return plan.pairs * (load_s + plan.warmup_s / 2 + 2 * window_s) + LATENCY_S


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _reference(pictures: Path, judge: str, out: Path) -> Path:
    """What the judge sees in a folder of pictures, by a process of its own, which has torch."""
    command = [sys.executable, "-m", "harness.own_reference"]
    command += [str(pictures), str(assets.resolve(judge)), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        try:
            said = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            raise AssetError(f"{pictures} could not be embedded: {done.stderr[-300:]}") from None
        raise getattr(errors, said["class"])(said["message"])
    return out
