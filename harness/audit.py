"""One audit: the stages in order, with what is told of each, and resume.

prepare   prompts, claims and configuration are read, hashed and copied into the run
measure   the main loop of measure.py; every finished window is on disk before the next opens
score     a process of its own reads the images of metered windows
judge     statistics and verdicts, from the files alone
report    the manifest is closed, and the reports are drawn from the bundle

From `score` on, every stage can be run again without the earlier ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import assets, bundle, environment, errors, inputs
from harness.boundaries import boundaries_of
from harness.child import build
from harness.cluster import Cluster
from harness.errors import AuditStopped, InputError, Interrupted
from harness.evidence import read_evidence
from harness.footprint import tariff
from harness.here import Here, Order
from harness.journal import Journal
from harness.judge import derive
from harness.metering import Step
from harness.progress import Progress, Stage, so_far
from harness.protocols import Prepared
from harness.records import PromptSet
from harness.schedule import Schedule
from reports import thumbnails
from reports.pages import rendered
from suites.claims import load_claims_file
from suites.proc.sets import to_jsonl

__all__ = ["STAGES", "audit"]

OWN = (  # systems whose own word may support a claim
    "harness.systems.un0.Un0System",
    "harness.systems.gated_pipeline.GatedPipeline",
    "harness.systems.diffusers_pipeline.DiffusersSystem",
)
TECHNIQUES = (  # theirs
    "un0_model.sparsify.Sparsified",
    "harness.techniques.early_exit.EarlyExit",
    "harness.techniques.experts.Experts",
    "harness.techniques.exported.Exported",
    "harness.techniques.quantised.Quantised",
    "harness.techniques.replaced.Replaced",
    "harness.techniques.step_cache.StepCache",
)
STAGES = ("measure", "score", "judge", "report")
NEEDS = {"score": "requests.parquet", "judge": "items.parquet", "report": "verdicts.json"}
NULL = {"_target_": "harness.systems.null.NullSystem", "batch": 16}


def audit(
    config: Mapping[str, Any],
    run: Path,
    *,
    resume: bool = False,
    stage: str = "",
    progress: str = "line",
) -> Path:
    """Runs the stages from `stage` on (all when empty) and returns the bundle.

    `progress` says what is told meanwhile: progress.MODES.

    Raises InputError where the input is wrong, AuditStopped where the audit could not finish.
    """
    told = Progress(progress)
    if resume:
        if not (run / "config.yaml").is_file():
            raise InputError(f"Nothing to resume at {run}. Start it without --resume.")
        config = bundle.read_yaml(run / "config.yaml")
    elif run.exists():
        raise InputError(
            f"{run} exists. Choose another name=..., delete the folder, or continue it with: "
            f"{bundle.resume_command(run)}"
        )
    else:
        config = inputs.pinned(inputs.sealed(config))
    finished = (run / "manifest.json").is_file()
    if finished and (left_out := bundle.left_out(run)):
        raise InputError(
            f"{left_out} was left out of {run}, so its manifest cannot be written again. "
            "Work on the whole bundle, or draw its reports alone: un0bench report."
        )
    first = stage or ("report" if finished else "measure")
    todo = STAGES[STAGES.index(inputs.known(first, STAGES, "stage")) :]
    if first == "measure" and finished:
        raise InputError(f"{run} is finished; stages that can run again: {', '.join(STAGES[1:])}.")
    if first in NEEDS and not (run / NEEDS[first]).is_file():
        raise InputError(
            f"{run} has no {NEEDS[first]} to {first} from; go on with: {bundle.resume_command(run)}"
        )
    with bundle.disk(run), _interruptible(run):
        if "measure" in todo:
            _measure(config, run, told)
        if "score" in todo:
            _score(run, told)
        if "judge" in todo:
            _judge(run, told)
        _close(config, run, told)
    return run


# Measure ---------------------------------------------------------------------------------------


def _measure(config: Mapping[str, Any], run: Path, told: Progress) -> None:
    suite = config["suite"]
    names = inputs.pair(config)
    systems = {name: inputs.system(name, config["systems"][name]) for name in names}
    systems.setdefault("null", inputs.system("null", config["systems"].get("null") or NULL))
    published = inputs.prompt_set(suite)
    prompts = inputs.challenged(published, config.get("challenge"))
    order = Order(
        plan=inputs.plan(suite, config["seed"]),
        candidate=systems[names[0]],
        baseline=systems[names[1]],
        null_system=systems["null"],
        published=published.prompts,
        unpublished=prompts.prompts[len(published.prompts) :],
        rated=inputs.switch("load", config["load"]),
        counted=inputs.switch("work", config["work"]),
    )
    claims = inputs.claims(config["claims"], config["suite"]["extractors"])
    pue, price = inputs.pue(config["pue"]), tariff(config)
    for part in ("judge", "reference"):
        if suite.get(part):
            assets.resolve(suite[part])  # before minutes of measuring, not after
    for extractor in suite["extractors"].values():
        if str(extractor.get("_target_")).startswith("harness.metrics."):  # torch comes later
            _ready(build(extractor))
    with _executor(config, run) as bench:
        machine = _prepare(config, run, prompts, claims, bench.machine())
        boards = [d for d in machine["meter"]["domains"] if d["domain"].startswith("gpu:")]
        asked = load_claims_file(run / "claims.yaml")
        order = dataclasses.replace(
            order,
            salt=_salt(run),
            accelerated=bool(machine["accelerators"] or boards),
            gated=any(claim.quantity == "gate_share" for claim in asked),
        )
        journal = Journal(run, order.devices)
        with told.stage("measure", 2 * order.plan.pairs) as stage:
            machine |= bench.measure(order, journal, _step(stage, journal, names))
            stage.say(done=stage.total)
        metering_share = bench.metering_share()
        most = bench.ceilings() if order.counted else {}
    devices = [systems[name].device for name in names]
    boundaries = boundaries_of(devices=devices, pue=pue, accelerated=order.accelerated)
    machine["boundaries"] = [dataclasses.asdict(boundary) for boundary in boundaries]
    bundle.write_json(run / "environment.json", machine)
    own = [name for name in names if _own(systems[name].config)]
    schedule = Schedule(plan=order.plan, candidate=names[0], baseline=names[1], journal=journal)
    settings = _settings(suite, machine, schedule.pairs()) | {"own_systems": own, "tariff": price}
    settings["metering_share"] = metering_share
    settings["challenge"] = prompts is not published
    settings["devices"] = dict(zip(names, devices, strict=True))
    settings["ceilings"] = most
    bundle.write_json(run / "settings.json", settings)
    journal.compact()


def _executor(config: Mapping[str, Any], run: Path) -> Here | Cluster:
    executor = inputs.executor(config.get("executor"))
    if executor["name"] == "ray":
        return Cluster(executor, config["meter"], run)
    return Here(config["meter"], run)


def _step(stage: Stage, journal: Journal, names: tuple[str, str]) -> Step:
    """What is said between windows."""
    began_s, here = time.monotonic(), len(journal.windows("block"))

    def step(what: str, done: int, total: int) -> None:
        blocks = journal.windows("block")
        share = (len(blocks) - here) / max(2 * stage.total - here, 1)
        facts = so_far(blocks, *names, began_s, share)
        if what == "blocks":
            stage.say(done=done, total=total, facts=facts)
        else:
            stage.say(what, facts=facts)

    return step


def _ready(extractor: Any) -> None:
    if isinstance(extractor, Prepared):
        extractor.ready()


def _own(config: Mapping[str, Any]) -> bool:
    """Whether a system is this repository's code and nothing else, down to its techniques."""
    return config.get("_target_") in OWN and all(map(_plain, config.values()))


def _plain(value: Any) -> bool:
    """Whether a setting names no code, or only this repository's own techniques."""
    if isinstance(value, Mapping):
        named = "_target_" not in value or value["_target_"] in TECHNIQUES
        return named and all(map(_plain, value.values()))
    return not isinstance(value, list) or all(map(_plain, value))


def _salt(run: Path) -> str:
    """What orders and seeds of this run's requests hang on; the manifest tells it afterwards."""
    return str(bundle.read_json(run / "partial" / "plan.json")["salt"])


def _settings(
    suite: Mapping[str, Any], machine: Mapping[str, Any], pairs: tuple[int, int]
) -> dict[str, Any]:
    planned, wanted = pairs
    return {
        "suite": suite["name"],
        "size": suite["size"],
        "machine": f"{machine['cpu_model']} x {machine['cpu_logical']}",
        "processors": machine["cpu_logical"],
        "pairs_planned": planned,
        "pairs_wanted": wanted,
        "resolution": "verified at 64 x 64; other sizes by the mean over boxes of pixels",
    }


def _prepare(
    config: Mapping[str, Any],
    run: Path,
    prompts: PromptSet,
    claims: bytes,
    machine: dict[str, Any],
) -> dict[str, Any]:
    """Copies what was asked into the run before anything is measured; returns the machine.

    Of a run that goes on it is the one that it began on, which this one must be like.
    """
    if (run / "environment.json").is_file():
        first = bundle.read_json(run / "environment.json")
        if differing := environment.unlike(first, machine, environment.MUST_STAY):
            raise InputError(
                f"{run} was begun on another machine or with other software "
                f"({'; '.join(differing)}). Resume it there, or start a new one."
            )
        kept = (run / "prompts.jsonl").read_bytes()
        if kept != to_jsonl(prompts.prompts):
            raise InputError(f"The prompts are no longer those of {run}. Restore them.")
        return first
    plan = {
        "salt": str(config["salt"] or secrets.token_hex(16)),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "prompt_set": {
            "name": prompts.name,
            "version": prompts.version,
            "sha256": prompts.sha256,
            "prompts": len(prompts.prompts),
            **({"source": dict(prompts.source)} if prompts.source else {}),
        },
    }
    bundle.write_yaml(run / "config.yaml", dict(config))  # first: a killed run goes on from it
    bundle.write_bytes(run / "prompts.jsonl", to_jsonl(prompts.prompts))
    bundle.write_bytes(run / "claims.yaml", claims)
    bundle.write_json(run / "partial" / "plan.json", plan)
    bundle.write_json(run / "environment.json", machine)
    return machine


# Score, judge, close ---------------------------------------------------------------------------


def _score(run: Path, told: Progress) -> None:
    systems = dict.fromkeys(row["system"] for row in bundle.read_table(run, "requests"))
    total = len([name for name in systems if not name.startswith("control:")]) + 5
    log = run / "logs" / "scoring.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as sink, told.stage("score", total) as stage:
        command = [sys.executable, "-m", "harness.scoring", str(run)]
        said: dict[str, Any] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True) as process:
            for line in process.stdout or ():
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                if "scored" in said:
                    stage.advance()
        if process.returncode == 0:
            stage.say(done=total)
            return
    kind = getattr(errors, str(said.get("class")), None)
    if kind is not None:
        raise kind(str(said["message"]))
    raise AuditStopped(
        f"Scoring ended with code {process.returncode}; see {log}. What was measured is kept; "
        f"score again with: {bundle.resume_command(run)} --from=score"
    )


def _judge(run: Path, told: Progress) -> None:
    with told.stage("judge", 1) as stage:
        claims = load_claims_file(run / "claims.yaml")
        scores, verdicts = derive(read_evidence(run), claims)
        bundle.write_table(run, "scores", bundle.score_rows(scores))
        bundle.write_json(run / "verdicts.json", bundle.verdict_rows(verdicts))
        stage.advance()


def _close(config: Mapping[str, Any], run: Path, told: Progress) -> None:
    """Closes the manifest over everything and draws the reports; partial files go last."""
    pages = rendered(run)
    with told.stage("report", 2 + len(pages)) as stage:
        bundle.write_manifest(run, _facts(config, run))
        stage.advance()
        for name, render in pages.items():
            bundle.write_bytes(run / name, render(run).encode())
            stage.advance()
        thumbnails.write(run)
        stage.advance()
    with contextlib.suppress(RecursionError):  # a system may nest its scratch as deep as it likes
        shutil.rmtree(run / "partial", ignore_errors=True)


def _facts(config: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """What the manifest says beside the files; a finished run keeps what its first one says."""
    if (run / "manifest.json").is_file():
        facts = bundle.read_manifest(run)
        return {key: value for key, value in facts.items() if key not in ("files",)}
    journal = Journal(run)
    records = {record.window.id: record for record in journal.records}
    blocks = []
    for block in journal.blocks:
        parts = [records[name] for name in block.windows if name in records]
        nonces = {part.window.id: part.facts.get("nonce") for part in parts}
        blocks.append({**dataclasses.asdict(block), "nonces": nonces})
    loads = [record for record in journal.records if record.window.kind == "load"]
    return {
        **bundle.read_json(run / "partial" / "plan.json"),
        "un0bench_version": _version(),
        "name": run.name,
        "suite": {key: config["suite"][key] for key in ("name", "size", "set")},
        "systems": sorted(path.stem for path in (run / "cards").glob("*.json")),
        "candidate": config["candidate"],
        "baseline": config["baseline"],
        "blocks": blocks,
        **{
            fact: {record.window.system: record.facts.get(fact) for record in loads}
            for fact in ("resident_bytes", "offline", "writes", "hides")
        },
    }


def _version() -> str:
    try:
        return metadata.version("un0bench")
    except metadata.PackageNotFoundError:
        return "0"


# Shared by the stages --------------------------------------------------------------------------


@contextlib.contextmanager
def _interruptible(run: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        kept = len(list((run / "partial").glob("w*.json")))
        raise Interrupted(
            f"Interrupted. {kept} finished windows are kept in {run}; go on with: "
            f"{bundle.resume_command(run)}"
        ) from None
