"""The command `un0bench`: reads the command line and calls what does the work.

Every error of ours is one line and an exit code: 1 a check failed, 2 the input is wrong, 3 stopped.
A fault of the program itself is 70, with its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from harness import commands
from harness.errors import InputError, Un0BenchError, in_one_line

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


def _parser() -> argparse.ArgumentParser:
    """Every command is the function of its name in harness/commands.py."""
    parser = argparse.ArgumentParser(
        prog="un0bench",
        description="Decides whether an efficiency claim about an image generator holds.",
        epilog=EXIT_CODES,
    )
    parsers = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = parsers.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
        sub.set_defaults(command=getattr(commands, name))
        return sub

    audit = add("audit", "measure, score and judge; prints where the report is")
    audit.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. suite.size=full")
    audit.add_argument("--resume", action="store_true", help="go on with the run named name=...")
    stages = "with --resume: score, judge or report again"
    audit.add_argument("--from", dest="stage", default="", metavar="STAGE", help=stages)
    meanwhile = "what is told on standard error: a line a stage, JSON lines, nothing"
    audit.add_argument("--progress", choices=PROGRESS, default="line", help=meanwhile)
    audit.add_argument("-m", "--multirun", action="store_true", help="sweep: candidate=a,b")
    report = add("report", "draw report.html and report.md again from a bundle")
    report.add_argument("bundle", type=Path)
    verify = add("verify", "check every hash and recompute every figure of a bundle")
    verify.add_argument("bundle", type=Path)
    verify.add_argument("--digest", metavar="SHA256", help="of manifest.json, told elsewhere")
    verify.add_argument("--signed-by", type=Path, metavar="PEM", help="whose public key this is")
    signed = add("sign", "sign a bundle's manifest with a private key")
    signed.add_argument("bundle", type=Path)
    signed.add_argument("--key", type=Path, required=True, metavar="PEM", help="Ed25519, private")
    again = add("reproduce", "run a bundle's audit here, and say what comes out alike")
    again.add_argument("bundle", type=Path)
    again.add_argument("--out", type=Path, metavar="FOLDER", help="runs/<name>-again")
    again.add_argument("--trust", action="store_true", help="run classes that are not un0bench's")
    compared = add("compare", "compare audits of a candidate, figure by figure")
    compared.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    gate = add("gate", "fail where a candidate is worse than in an earlier bundle")
    gate.add_argument("bundle", type=Path)
    gate.add_argument("--baseline", type=Path, required=True, metavar="BUNDLE")
    gate.add_argument("--digest", metavar="SHA256", help="of the baseline's manifest.json")
    gate.add_argument("--signed-by", type=Path, metavar="PEM", help="who stands for the baseline")
    gate.add_argument("--limits", type=Path, metavar="YAML", help="as conf/gate.yaml")
    for form in ("junit", "markdown", "benchmark"):
        gate.add_argument(f"--{form}", type=Path, metavar="FILE")
    factors = add("factors", "take a factor apart along bundles that share a candidate")
    factors.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    converted = add("convert", "print a bundle's figures in another scheme's words")
    converted.add_argument("bundle", type=Path)
    converted.add_argument("schema", choices=SCHEMAS)
    fetched = add("fetch", "show a published prompt set, and the SHA-256 of what came")
    fetched.add_argument("set", help="parti, drawbench, geneval, coco, coco-mlperf, or a .yaml")
    add("meters", "list what can be metered here, and why the rest cannot")
    claims = add("claims", "list claims, or explain those named")
    claims.add_argument("ids", nargs="*", metavar="CLAIM")
    bench = add("bench", "time the model's kernels, what its gate costs, or scoring")
    bench.add_argument("what", choices=("kernels", "gate", "scoring"))
    export = add("export", "write Un0 as ONNX graphs")
    export.add_argument("model", choices=("un0",))
    export.add_argument("out", type=Path, metavar="FOLDER")
    shipped = "package:un0_model/weights/un0"
    export.add_argument("--weights", default=shipped, help=f"a folder of train un0; {shipped}")
    series = add("rivals", "audit every technique against one baseline, in one table")
    series.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. size=full")
    stress = add("stress", "try two systems on prompts of your own")
    stress.add_argument("prompts", type=Path, help=".csv, .jsonl, .txt, pictures, or a set")
    stress.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. name=ours")
    stress.add_argument("--candidate", required=True, metavar="SYSTEM")
    stress.add_argument("--baseline", required=True, metavar="SYSTEM")
    stress.add_argument("--images", type=int, default=1, metavar="N", help="of a prompt; 1")
    stress.add_argument("--column", action="append", default=[], metavar="WHAT=NAME")
    stress.add_argument("--reference", type=Path, metavar="FOLDER", help="of real pictures")
    stress.add_argument("--judge", metavar="FOLDER", help="an open_clip network, or none")
    stress.add_argument("--dry-run", action="store_true", help="say how long it takes, and end")
    human = add("human", "write a blind page of pairs, or read what people answered")
    human.add_argument("bundle", type=Path)
    human.add_argument("answers", type=Path, nargs="*", metavar="CSV", help="a file a person")
    human.add_argument("--pairs", type=int, default=60, metavar="N", help="on the page; 60")
    train = add("train", "train a shipped weight again")
    train.add_argument("recipe", choices=RECIPES)
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. budget=gpu")
    train.add_argument("-m", "--multirun", action="store_true", help="sweep: shape.keep=3,27")
    return parser


if __name__ == "__main__":
    sys.exit(main())
