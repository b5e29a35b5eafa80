"""What each command of `un0bench` does, from its parsed arguments to its exit code.

Modules are imported by the command that needs them, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import CheckFailed, InputError, one_line, plain

__all__ = [
    "audit",
    "bench",
    "claims",
    "compare",
    "convert",
    "export",
    "factors",
    "fetch",
    "gate",
    "human",
    "meters",
    "report",
    "reproduce",
    "rivals",
    "sign",
    "stress",
    "train",
    "verify",
]

SHOWN = 5  # prompts of a published set


def audit(arguments: argparse.Namespace) -> int:
    compose = importlib.import_module("harness.compose")
    if arguments.multirun:
        if arguments.resume or arguments.stage:
            raise InputError("--resume and --from name one run; leave out --multirun.")
        one = partial(_run_one, progress=arguments.progress)
        return int(compose.sweep(arguments.overrides, one))
    config = compose.compose(arguments.overrides, arguments.resume)
    asked = {"resume": arguments.resume, "stage": arguments.stage}
    return _run_one(config, progress=arguments.progress, **asked)


def _run_one(
    config: dict[str, Any], *, resume: bool = False, stage: str = "", progress: str = "line"
) -> int:
    compose = importlib.import_module("harness.compose")
    audit = importlib.import_module("harness.audit")
    folder = compose.run_folder(config)
    run = audit.audit(config, folder, resume=resume, stage=stage, progress=progress)
    told: set[str] = set()
    for verdict in importlib.import_module("harness.bundle").read_json(run / "verdicts.json"):
        again = verdict["claim"] in told
        told.add(verdict["claim"])
        name = f"  in {verdict['scope']}:" if again else verdict["claim"]
        print(f"{name:<18} {verdict['outcome']:<13} {_line(verdict)}")
    print(f"report: {run / 'report.html'}")
    return 0


def _line(verdict: dict[str, Any]) -> str:
    """The estimate with its interval where there is one, else the first reason."""
    reasons = verdict.get("reasons") or [""]
    if verdict.get("estimate") is None:
        return str(reasons[0])
    ends = (verdict.get("low"), verdict.get("high"))
    interval = "" if None in ends else f" (95% {ends[0]:.4g} to {ends[1]:.4g})"
    return f"{verdict['estimate']:.4g}{interval}  {reasons[0]}"


def report(arguments: argparse.Namespace) -> int:
    bundle = importlib.import_module("harness.bundle")
    bundle.unchanged(arguments.bundle)
    pages = importlib.import_module("reports.pages").rendered(arguments.bundle)
    for name, render in pages.items():
        bundle.write_bytes(arguments.bundle / name, render(arguments.bundle).encode())
        print(arguments.bundle / name)
    if beside := importlib.import_module("reports.thumbnails").write(arguments.bundle):
        print(f"{arguments.bundle / bundle.THUMBNAILS}: {beside:,} thumbnails")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    if (arguments.bundle / "rivals.json").is_file():
        return _verify_series(arguments)
    found = importlib.import_module("harness.bundle")
    differences = importlib.import_module("harness.verify").verify(arguments.bundle)
    digest = found.manifest_digest(arguments.bundle)
    differences[:0] = _another(digest, arguments.digest) + _unsigned(arguments.bundle, arguments)
    for difference in differences:
        print(difference)
    if differences:
        raise CheckFailed(f"{arguments.bundle}: {len(differences)} differences.")
    if (arguments.bundle / "images").is_dir():
        print(f"{arguments.bundle}: every file, score, verdict and report is as recorded.")
    else:
        print(f"{arguments.bundle}: every file, score and verdict is as recorded.")
        print("The images were left out: pixels were not scored again, reports NOT compared.")
    for name in found.PACKAGED:
        if found.left_to_package(arguments.bundle, name):
            print(f"{name} was left out: this package's copy has its SHA-256.")
    print(f"bundle {digest}")
    return 0


def _verify_series(arguments: argparse.Namespace) -> int:
    root = arguments.bundle
    if arguments.signed_by is not None:
        raise InputError("--signed-by is of a bundle; name a round's folder in the series.")
    digest = importlib.import_module("harness.bundle").sha256_file(root / "rivals.json")
    differences = list(importlib.import_module("harness.rivals").differences(root))
    if arguments.digest is not None and arguments.digest.lower() != digest:
        differences.insert(0, f"rivals.json: its SHA-256 is {digest}, not {arguments.digest}")
    for difference in differences:
        print(difference)
    if differences:
        raise CheckFailed(f"{root}: {len(differences)} differences.")
    told = importlib.import_module("reports.rivals").series(root)
    print(f"{root}: {len(told['digests'])} of {len(told['rounds'])} rounds are as recorded.")
    print("Rounds whose images were left out were verified without them.")
    print(f"series {digest}")
    return 0


def _another(digest: str, told: str | None) -> list[str]:
    """That a bundle is not the one whose digest was told; [] where it is, or none was."""
    if told is None or told.lower() == digest:
        return []
    return [f"manifest.json: its SHA-256 is {digest}, not {told}"]


def _unsigned(run: Path, arguments: argparse.Namespace) -> list[str]:
    """That a bundle is not signed by the key that was given; [] where it is, or none was."""
    if arguments.signed_by is None:
        return []
    told = importlib.import_module("harness.signature").unsigned(run, arguments.signed_by)
    return [told] if told else []


def sign(arguments: argparse.Namespace) -> int:
    print(importlib.import_module("harness.signature").sign(arguments.bundle, arguments.key))
    return 0


def factors(arguments: argparse.Namespace) -> int:
    steps = importlib.import_module("harness.factors").factors(arguments.bundles)
    print(f"{'step':<36} {'times less':>10}  {'95% interval':<18} verified content")
    for at, step in enumerate(steps):
        name = f"{step.here} -> {step.there}"
        interval = f"{step.low:.3g} to {step.high:.3g}"
        shares = " -> ".join(_share(ends) for ends in (step.before, step.after))
        if at == len(steps) - 1:
            print("-" * 36)
        print(f"{name:<36} {step.factor:>10.3g}  {interval:<18} {shares}")
    print("Intervals hold what varies within audits, not from one audit's hour to the next's.")
    return 0


def _share(ends: tuple[float, float, float] | None) -> str:
    return "not scored" if ends is None else "{:.1%} [{:.1%}, {:.1%}]".format(*ends)


def fetch(arguments: argparse.Namespace) -> int:
    """Shows what came of a published set whose hash is not known, and how it is trusted."""
    published = importlib.import_module("suites.published")
    assets = importlib.import_module("harness.assets")
    told = published.manifest(arguments.set)
    print(f"{told.title}: {told.source}. Licence: {told.licence}.")
    path, sha256 = assets.fetch_unchecked(told.url)
    found = published.read_set(told, path, sha256)
    print(f"{len(found.prompts)} prompts from {told.url}, the first:")
    for prompt in found.prompts[:SHOWN]:
        print(f"  {one_line(prompt.text)}")
    print(f"SHA-256 {sha256}")
    if told.sha256 not in (None, sha256):
        raise CheckFailed(f"{told.url} is not what the manifest names, {told.sha256}.")
    if told.sha256 is None:
        print("No hash was published with it. If this is what you expect, say so from now on:")
    print(f"un0bench audit suite=published suite.prompts={arguments.set} suite.sha256={sha256}")
    return 0


def convert(arguments: argparse.Namespace) -> int:
    bundle = importlib.import_module("harness.bundle")
    machine = bundle.read_json(bundle.unchanged(arguments.bundle) / "environment.json")
    evidence = importlib.import_module("harness.evidence").read_evidence(arguments.bundle)
    rows = importlib.import_module("harness.convert").convert(evidence, machine, arguments.schema)
    print(json.dumps(rows, indent=1))
    return 0


def compare(arguments: argparse.Namespace) -> int:
    compare = importlib.import_module("harness.compare")
    lines = importlib.import_module("reports.gate").figure_lines
    first = compare.read_audit(arguments.bundles[0])
    if len(arguments.bundles) < 2:
        raise InputError("Name at least two bundles, the one to compare with first.")
    for path in arguments.bundles[1:]:
        other = compare.read_audit(path)
        print(f"{first.path} before, {path} after")
        for line in lines(compare.compared(first, other)):
            print(line)
    return 0


def gate(arguments: argparse.Namespace) -> int:
    gates, written = (importlib.import_module(name) for name in ("harness.gate", "reports.gate"))
    read = importlib.import_module("harness.compare").read_audit
    limits = gates.read_limits(arguments.limits or gates.DEFAULT)
    files = [arguments.junit, arguments.markdown, arguments.benchmark]
    for path in filter(None, files):
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(f"{path} cannot be written. Name a file in a folder that is there.")
    before, after = read(arguments.baseline), read(arguments.bundle)
    digest = importlib.import_module("harness.bundle").manifest_digest(arguments.baseline)
    if told := _another(digest, arguments.digest) + _unsigned(arguments.baseline, arguments):
        raise CheckFailed(f"{arguments.baseline}: {told[0]}.")
    result = gates.gate(before, after, limits)
    texts = (
        written.junit(result, after, lenient=limits["undecided"] == "pass"),
        written.markdown(result, after),
        written.benchmark(result, after),
    )
    for path, text in zip(files, texts, strict=True):
        if path:
            path.write_text(text, encoding="utf-8")
    for line in written.lines(result):
        print(line)
    if not result.passed:
        raise CheckFailed(
            f"{arguments.bundle} does not pass the gate against {arguments.baseline}."
        )
    print("passed")
    return 0


def reproduce(arguments: argparse.Namespace) -> int:
    run = arguments.bundle
    again = arguments.out or Path("runs") / f"{run.resolve().name}-again"
    reproduce = importlib.import_module("harness.reproduce").reproduce
    lines = reproduce(run, again, trust=arguments.trust)
    written = importlib.import_module("reports.gate")
    for line in lines:
        known = line.figure and line.figure.change is not None
        told = f"{written.change(line.figure)}  " if known else ""
        print(written.kept(f"{line.outcome:<15} {line.name:<24} {told}{line.reason}"))
    different = sum(line.outcome == "different" for line in lines)
    if different:
        raise CheckFailed(f"{again} differs from {run} in {different} figures or verdicts.")
    return 0


def meters(arguments: argparse.Namespace) -> int:
    meter = importlib.import_module("harness.meters.all").All()
    for line in importlib.import_module("harness.meters.survey").survey(meter).lines():
        print(line)
    return 0


def claims(arguments: argparse.Namespace) -> int:
    claims = importlib.import_module("suites.claims")
    for claim in claims.load_claims(arguments.ids or None):
        if not arguments.ids:
            print(f"{claim.id:<20} {claim.statement}")
            continue
        explained = importlib.import_module("reports.claims").explained
        for line in explained(claim, claims.claims_bytes([claim.id]).removeprefix(b"---\n")):
            print(line)
    return 0


def rivals(arguments: argparse.Namespace) -> int:
    compose = importlib.import_module("harness.compose")
    config = compose.compose(arguments.overrides, name="rivals")
    root = importlib.import_module("harness.rivals").rivals(config)
    _print_markdown(root / "rivals.md")
    print(f"table: {root / 'rivals.html'}")
    return 0


def stress(arguments: argparse.Namespace) -> int:
    stress = importlib.import_module("harness.stress")
    asked = stress.Asked(
        prompts=arguments.prompts,
        candidate=arguments.candidate,
        baseline=arguments.baseline,
        columns=dict(_column(text) for text in arguments.column),
        reference=arguments.reference,
        judge=arguments.judge,
        images=arguments.images,
        overrides=tuple(arguments.overrides),
    )
    run = stress.stress(asked, print, only_say=arguments.dry_run)
    if run is not None:
        _print_markdown(run / "stress.md")
        print(f"page: {run / 'stress.html'}")
    return 0


def _print_markdown(page: Path) -> None:
    unescape = importlib.import_module("reports.markdown").unescape
    print(plain(unescape(page.read_text("utf-8"))))


def _column(text: str) -> tuple[str, str]:
    what, equals, name = text.partition("=")
    if not equals or not name:
        raise InputError(f"--column {text}: write what=name, as in --column text=Prompt")
    return what, name


def human(arguments: argparse.Namespace) -> int:
    blind = importlib.import_module("reports.blind")
    if not arguments.answers:
        bundle = importlib.import_module("harness.bundle")
        page = bundle.unchanged(arguments.bundle) / blind.PAGE
        bundle.write_bytes(page, blind.render(arguments.bundle, arguments.pairs).encode())
        print(page)
        return 0
    found = blind.read(arguments.bundle, arguments.answers)
    low, high = found.chosen.low, found.chosen.high
    ends = f"95% {low:.1%} to {high:.1%}" if low is not None and high is not None else "too few"
    print(
        f"{found.candidate} was chosen over {found.baseline} in {found.chosen.estimate:.1%} of "
        f"{found.answers} answers ({ends}, over {found.chosen.n} pairs; files: {found.files}). "
        "Pictures that cannot be told apart come to 50%."
    )
    if found.left_out:
        print(f"Left out: {found.left_out} prompts that one of both has no picture of.")
    return 0


def train(arguments: argparse.Namespace) -> int:
    compose = importlib.import_module("harness.compose")
    recipe = importlib.import_module(f"un0_model.recipes.{arguments.recipe}")
    start = importlib.import_module("un0_model.recipes.leg").start

    def run_one(config: dict[str, Any]) -> int:
        return int(start(recipe.main, recipe.BUDGETS, arguments.recipe, config))

    if arguments.multirun:
        return int(compose.sweep(arguments.overrides, run_one, name="train"))
    return run_one(compose.compose(arguments.overrides, name="train"))


def export(arguments: argparse.Namespace) -> int:
    pipeline = importlib.import_module("un0_model.pipeline")
    path = importlib.import_module("harness.assets").resolve(arguments.weights)
    model = pipeline.Un0.from_pretrained(path)
    importlib.import_module("un0_model.onnx").export(model, arguments.out)
    print(arguments.out)
    return 0


def bench(arguments: argparse.Namespace) -> int:
    print(f"{'kernel':<38} {'us a call':>10} {'times':>8}  beside")
    place = "harness.scoring_bench" if arguments.what == "scoring" else "un0_model.bench"
    for row in getattr(importlib.import_module(place), arguments.what)():
        note = f"; {row.note}" if row.note else ""
        print(
            f"{row.kernel:<38} {row.seconds * 1e6:>10.1f} {row.ratio:>8.2f}  {row.beside}{note}",
            flush=True,
        )
    return 0
