"""Stress tests on prompts that somebody brought, with toys and the shipped judge."""

import json
import shutil

import numpy as np
import pages
import pytest
from PIL import Image
from toy_audits import SMALL

from harness import bundle, cli
from harness.metrics.reference import load_reference
from suites.proc.sets import load_set

TINY = [text.replace(".mini.", ".stress.") for text in SMALL if not text.startswith("suite.judge")]
TINY = [t for t in TINY if not t.startswith("suite.reference") and ".core=" not in t]
TINY += ["suite.sizes.stress.pairs=3", "suite.sizes.stress.max_pairs=3"]
PAIR = ["--candidate", "redrawn-cosine", "--baseline", "renderer"]


def prompts(path, count=24):
    """Captions of the suite, with a category of their own."""
    rows = [p for p in load_set("val").prompts if p.category != "emblem"][:count]
    lines = [f'"{p.text}",{"flat" if i % 2 else "deep"}' for i, p in enumerate(rows)]
    path.write_text("\n".join(["prompt,topic", *lines, ',"flat"']))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stress")
    table = prompts(folder / "ours.csv")
    assert cli.main(["stress", str(table), *PAIR, f"out={folder}", "name=s", *TINY]) == 0
    return folder / "s"


def test_every_prompt_is_asked_and_the_page_says_what_came_of_it(run):
    asked = {r["prompt_id"] for r in bundle.read_table(run, "requests") if r["core"]}
    assert len(asked) == 24
    page = (run / "stress.html").read_text()
    told = (run / "stress.md").read_text()
    assert "24 prompts in 2 categories (text from prompt, category from topic)." in page
    assert "has no text and was left out" in page
    assert "the processor time of" in page
    assert "| flat |" in told and "| deep |" in told and "Drawn worse by redrawn-cosine" in told
    assert page.count("data:image/png") >= 2


def test_a_bundle_of_own_prompts_is_verified_with_its_pages(run, tmp_path, capsys):
    assert cli.main(["verify", str(run)]) == 0
    copy = shutil.copytree(run, tmp_path / "s")
    (copy / "stress.md").write_text("all is well")
    assert cli.main(["verify", str(copy)]) == 1
    assert "stress.md: differs" in capsys.readouterr().out
    assert cli.main(["report", str(copy)]) == 0
    assert (copy / "stress.md").read_text() == (run / "stress.md").read_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_can_be_read_aloud(run, width):
    with pages.browser() as browser:
        assert pages.serious(browser, run / "stress.html", width=width) == []


def test_it_says_before_it_starts_how_long_and_how_fine(tmp_path, capsys):
    table = prompts(tmp_path / "ours.csv", 100)
    assert cli.main(["stress", str(table), *PAIR, "--dry-run", f"out={tmp_path}", *TINY]) == 0
    told = capsys.readouterr().out
    # (1.96 + 1.28) sqrt(0.25 / 100) = 16%
    assert "from 16 points over all of them (100)" in told and "over deep (50)" in told
    assert "It will take about" in told
    assert [path.name for path in tmp_path.iterdir()] == ["ours.csv"]


def test_a_reference_is_what_the_judge_sees_in_a_folder(tmp_path, capsys):
    pictures = tmp_path / "real"
    pictures.mkdir()
    for i in range(12):
        noise = np.random.default_rng(i).integers(256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(pictures / f"{i}.png")
    table = prompts(tmp_path / "ours.csv", 4)
    command = ["stress", str(table), *PAIR, "--reference", str(pictures)]
    assert cli.main([*command, f"out={tmp_path}", "name=s", *TINY]) == 0
    assert load_reference(tmp_path / "s.reference").features.shape == (12, 64)
    assert "Kernel distance" in (tmp_path / "s" / "stress.md").read_text()
    (pictures / "0.png").write_bytes(b"none")
    assert cli.main([*command, f"out={tmp_path}", "name=t", *TINY]) == 2
    assert "cannot be read as a picture" in capsys.readouterr().err


def test_prompts_that_nothing_can_check_are_compared_by_cost_alone(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("ein Haus am See\na dragon made of glass 🐉\n")
    command = ["stress", str(tmp_path / "p.txt"), "--candidate", "null", "--baseline", "a"]
    toy = "+systems.a={_target_: toy_systems.Toy, batch: 2, seconds: 0.001}"
    both = [toy, "+systems.null.timeout_s=60"]
    assert cli.main([*command, "--judge", "none", f"out={tmp_path}", "name=s", *both, *TINY]) == 0
    told = capsys.readouterr().out
    assert "Pictures are not scored" in told
    assert "How well they draw could not be compared" in told
    kept = [
        json.loads(line) for line in (tmp_path / "s" / "prompts.jsonl").read_text().splitlines()
    ]
    assert kept[1]["text"] == "a dragon made of glass 🐉"


def test_words_that_a_system_does_not_know_are_told(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("a red circle\na pelican of glass\na pelican on white\n")
    systems = ["--candidate", "redrawn", "--baseline", "renderer", "--dry-run", "--judge", "none"]
    assert cli.main(["stress", str(tmp_path / "p.txt"), *systems, f"out={tmp_path}", *TINY]) == 0
    told = capsys.readouterr().out
    assert "redrawn: trained here" in told
    assert "2 of 3 prompts hold words that are passed over (pelican, glass)" in told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--judge", "/nowhere"], "leave pictures unscored with --judge none"),
        (["--images", "0"], "it is at least 1"),
        (["--column", "text"], "write what=name"),
        (["--judge", "none", "--reference", "/nowhere"], "without a judge"),
        (["--reference", "/nowhere"], "There is no folder /nowhere"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, capsys, more, said):
    table = prompts(tmp_path / "ours.csv", 4)
    command = ["stress", str(table), *PAIR, f"out={tmp_path}", "name=s", *TINY]
    assert cli.main([*command, *more]) == 2
    assert said in capsys.readouterr().err
