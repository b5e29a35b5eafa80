"""The command `un0bench`: composes the configuration and calls what does the work.

Modules are imported by the command that needs them, so that `--help` answers at once. Every
error of ours is one line and an exit code: 1 a check failed, 2 the input is wrong, 3 stopped. A
fault of the program itself is 70, with its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import CheckFailed, InputError, Un0BenchError, in_one_line

__all__ = ["main"]

RECIPES = ("dense", "un0", "judge", "distilled", "pruned")
SCHEMAS = ("ml-energy", "ai-energy-score", "sci")  # of harness.convert
PROGRESS = ("line", "json", "quiet")  # of harness.progress
EXIT_CODES = "exit codes: 0 done, 1 a check failed, 2 the input is wrong, 3 stopped (resumable)"
FAULT = 70  # as sysexits.h has it: neither a failed check nor something to resume


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if any(text.startswith("-") or "=" not in text for text in rest) or (
        rest and not hasattr(arguments, "overrides")
    ):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # KEY=VALUE behind options, which argparse leaves over
        arguments.overrides = [*arguments.overrides, *rest]
    try:
        return in_one_line(lambda: arguments.command(arguments))
    except BrokenPipeError:  # the reader has had enough: `un0bench claims | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            return _fault()
        print(
            f"un0bench: {error.filename} cannot be used ({error.strerror}). "
            "Choose a folder you may write to with out=...",
            file=sys.stderr,
        )
        return InputError.exit_code
    except KeyboardInterrupt:
        print("un0bench: interrupted.", file=sys.stderr)
        return Un0BenchError.exit_code
    except Exception:
        return _fault()


def _fault() -> int:
    """Prints the error of ours that is being handled; 1 and 3 tell of other things."""
    traceback.print_exc()
    print("un0bench: a fault of un0bench itself; please report the lines above.", file=sys.stderr)
    return FAULT


# Commands --------------------------------------------------------------------------------------


def _audit(arguments: argparse.Namespace) -> int:
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


def _report(arguments: argparse.Namespace) -> int:
    bundle = importlib.import_module("harness.bundle")
    bundle.unchanged(arguments.bundle)
    pages = importlib.import_module("reports.pages").rendered(arguments.bundle)
    for name, render in pages.items():
        bundle.write_bytes(arguments.bundle / name, render(arguments.bundle).encode())
        print(arguments.bundle / name)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
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


def _sign(arguments: argparse.Namespace) -> int:
    print(importlib.import_module("harness.signature").sign(arguments.bundle, arguments.key))
    return 0


def _factors(arguments: argparse.Namespace) -> int:
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


def _convert(arguments: argparse.Namespace) -> int:
    bundle = importlib.import_module("harness.bundle")
    machine = bundle.read_json(bundle.unchanged(arguments.bundle) / "environment.json")
    evidence = importlib.import_module("harness.evidence").read_evidence(arguments.bundle)
    rows = importlib.import_module("harness.convert").convert(evidence, machine, arguments.schema)
    print(json.dumps(rows, indent=1))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
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


def _gate(arguments: argparse.Namespace) -> int:
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


def _reproduce(arguments: argparse.Namespace) -> int:
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


def _meters(arguments: argparse.Namespace) -> int:
    meter = importlib.import_module("harness.meters.all").All()
    for line in importlib.import_module("harness.meters.survey").survey(meter).lines():
        print(line)
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    claims = importlib.import_module("suites.claims")
    for claim in claims.load_claims(arguments.ids or None):
        if not arguments.ids:
            print(f"{claim.id:<20} {claim.statement}")
            continue
        explained = importlib.import_module("reports.claims").explained
        for line in explained(claim, claims.claims_bytes([claim.id]).removeprefix(b"---\n")):
            print(line)
    return 0


def _rivals(arguments: argparse.Namespace) -> int:
    compose = importlib.import_module("harness.compose")
    config = compose.compose(arguments.overrides, name="rivals")
    root = importlib.import_module("harness.rivals").rivals(config)
    print((root / "rivals.md").read_text("utf-8"))
    print(f"table: {root / 'rivals.html'}")
    return 0


def _stress(arguments: argparse.Namespace) -> int:
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
        print((run / "stress.md").read_text("utf-8"))
        print(f"page: {run / 'stress.html'}")
    return 0


def _column(text: str) -> tuple[str, str]:
    what, equals, name = text.partition("=")
    if not equals or not name:
        raise InputError(f"--column {text}: write what=name, as in --column text=Prompt")
    return what, name


def _human(arguments: argparse.Namespace) -> int:
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


def _train(arguments: argparse.Namespace) -> int:
    compose = importlib.import_module("harness.compose")
    recipe = importlib.import_module(f"un0_model.recipes.{arguments.recipe}")
    start = importlib.import_module("un0_model.recipes.leg").start

    def run_one(config: dict[str, Any]) -> int:
        return int(start(recipe.main, recipe.BUDGETS, arguments.recipe, config))

    if arguments.multirun:
        return int(compose.sweep(arguments.overrides, run_one, name="train"))
    return run_one(compose.compose(arguments.overrides, name="train"))


def _export(arguments: argparse.Namespace) -> int:
    pipeline = importlib.import_module("un0_model.pipeline")
    path = importlib.import_module("harness.assets").resolve(arguments.weights)
    model = pipeline.Un0.from_pretrained(path)
    importlib.import_module("un0_model.onnx").export(model, arguments.out)
    print(arguments.out)
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    print(f"{'kernel':<38} {'us a call':>10} {'times':>8}  beside")
    for row in getattr(importlib.import_module("un0_model.bench"), arguments.what)():
        note = f"; {row.note}" if row.note else ""
        print(
            f"{row.kernel:<38} {row.seconds * 1e6:>10.1f} {row.ratio:>8.2f}  {row.beside}{note}",
            flush=True,
        )
    return 0


# The parser ------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="un0bench",
        description="Decides whether an efficiency claim about an image generator holds.",
        epilog=EXIT_CODES,
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[..., int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
        sub.set_defaults(command=command)
        return sub

    audit = add("audit", _audit, "measure, score and judge; prints where the report is")
    audit.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. suite.size=full")
    audit.add_argument("--resume", action="store_true", help="go on with the run named name=...")
    stages = "with --resume: score, judge or report again"
    audit.add_argument("--from", dest="stage", default="", metavar="STAGE", help=stages)
    meanwhile = "what is told on standard error: a line a stage, JSON lines, nothing"
    audit.add_argument("--progress", choices=PROGRESS, default="line", help=meanwhile)
    audit.add_argument("-m", "--multirun", action="store_true", help="sweep: candidate=a,b")
    report = add("report", _report, "draw report.html and report.md again from a bundle")
    report.add_argument("bundle", type=Path)
    verify = add("verify", _verify, "check every hash and recompute every figure of a bundle")
    verify.add_argument("bundle", type=Path)
    verify.add_argument("--digest", metavar="SHA256", help="of manifest.json, told elsewhere")
    verify.add_argument("--signed-by", type=Path, metavar="PEM", help="whose public key this is")
    signed = add("sign", _sign, "sign a bundle's manifest with a private key")
    signed.add_argument("bundle", type=Path)
    signed.add_argument("--key", type=Path, required=True, metavar="PEM", help="Ed25519, private")
    again = add("reproduce", _reproduce, "run a bundle's audit here, and say what comes out alike")
    again.add_argument("bundle", type=Path)
    again.add_argument("--out", type=Path, metavar="FOLDER", help="runs/<name>-again")
    again.add_argument("--trust", action="store_true", help="run classes that are not un0bench's")
    compared = add("compare", _compare, "compare audits of a candidate, figure by figure")
    compared.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    gate = add("gate", _gate, "fail where a candidate is worse than in an earlier bundle")
    gate.add_argument("bundle", type=Path)
    gate.add_argument("--baseline", type=Path, required=True, metavar="BUNDLE")
    gate.add_argument("--digest", metavar="SHA256", help="of the baseline's manifest.json")
    gate.add_argument("--signed-by", type=Path, metavar="PEM", help="who stands for the baseline")
    gate.add_argument("--limits", type=Path, metavar="YAML", help="as conf/gate.yaml")
    for form in ("junit", "markdown", "benchmark"):
        gate.add_argument(f"--{form}", type=Path, metavar="FILE")
    factors = add("factors", _factors, "take a factor apart along bundles that share a candidate")
    factors.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    converted = add("convert", _convert, "print a bundle's figures in another scheme's words")
    converted.add_argument("bundle", type=Path)
    converted.add_argument("schema", choices=SCHEMAS)
    add("meters", _meters, "list what can be metered here, and why the rest cannot")
    claims = add("claims", _claims, "list claims, or explain those named")
    claims.add_argument("ids", nargs="*", metavar="CLAIM")
    bench = add("bench", _bench, "time the model's kernels, or what its gate costs")
    bench.add_argument("what", choices=("kernels", "gate"))
    export = add("export", _export, "write Un0 as ONNX graphs")
    export.add_argument("model", choices=("un0",))
    export.add_argument("out", type=Path, metavar="FOLDER")
    shipped = "package:un0_model/weights/un0"
    export.add_argument("--weights", default=shipped, help=f"a folder of train un0; {shipped}")
    series = add("rivals", _rivals, "audit every technique against one baseline, in one table")
    series.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. size=full")
    stress = add("stress", _stress, "try two systems on prompts of your own")
    stress.add_argument("prompts", type=Path, help=".csv, .jsonl, .txt, or captioned pictures")
    stress.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. name=ours")
    stress.add_argument("--candidate", required=True, metavar="SYSTEM")
    stress.add_argument("--baseline", required=True, metavar="SYSTEM")
    stress.add_argument("--images", type=int, default=1, metavar="N", help="of a prompt; 1")
    stress.add_argument("--column", action="append", default=[], metavar="WHAT=NAME")
    stress.add_argument("--reference", type=Path, metavar="FOLDER", help="of real pictures")
    stress.add_argument("--judge", metavar="FOLDER", help="an open_clip network, or none")
    stress.add_argument("--dry-run", action="store_true", help="say how long it takes, and end")
    human = add("human", _human, "write a blind page of pairs, or read what people answered")
    human.add_argument("bundle", type=Path)
    human.add_argument("answers", type=Path, nargs="*", metavar="CSV", help="a file a person")
    human.add_argument("--pairs", type=int, default=60, metavar="N", help="on the page; 60")
    train = add("train", _train, "train a shipped weight again")
    train.add_argument("recipe", choices=RECIPES)
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. budget=gpu")
    train.add_argument("-m", "--multirun", action="store_true", help="sweep: shape.keep=3,27")
    return parser


if __name__ == "__main__":
    sys.exit(main())
