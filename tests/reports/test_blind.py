"""The blind page, and what its answers come to."""

import base64
import dataclasses
import io
import re

import pages
import pytest
from PIL import Image
from toy_audits import toys

from harness import bundle, cli
from harness.errors import InputError
from harness.evidence import read_evidence
from reports import blind


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("blind")
    assert cli.main(toys(out, more=["name=s"])) == 0
    return out / "s"


def answers(path, run, choices):
    page = blind._page(bundle.manifest_digest(run))
    rows = [f"{pair},{choice},{page}" for pair, choice in choices]
    path.write_text("\n".join(["pair,choice,page", *rows]) + "\n")
    return path


def test_the_page_names_no_system_and_shows_each_prompt_once(run, capsys):
    assert cli.main(["human", str(run), "--pairs", "5"]) == 0
    page = (run / "blind.html").read_text()
    assert page.count('class="pair"') == 5 and page.count("data:image/png") == 10
    body = page[page.index("<body>") :]
    assert not re.search(r"candidate|baseline|images/[ab]/", body)
    assert cli.main(["verify", str(run)]) == 0
    (run / "blind.html").write_text(page.replace("1: left", "1: right"))
    assert cli.main(["verify", str(run)]) == 1
    (run / "blind.html").write_text("choose a")
    assert cli.main(["verify", str(run)]) == 1
    (run / "blind.html").unlink()
    (run / "stress.html").write_text("all is well")
    assert cli.main(["verify", str(run)]) == 1
    assert "stress.html: no page of this bundle" in capsys.readouterr().out
    (run / "stress.html").unlink()


def test_a_person_answers_by_keyboard_and_takes_a_file_away(run, tmp_path):
    assert cli.main(["human", str(run), "--pairs", "3"]) == 0
    with pages.browser() as browser:
        assert pages.serious(browser, run / "blind.html") == []
        page = browser.new_page()
        page.goto((run / "blind.html").as_uri())
        assert page.evaluate("document.querySelectorAll('.pair:not([hidden])').length") == 1
        page.keyboard.press("1")
        page.keyboard.press("2")
        page.click(".pair:not([hidden]) button >> nth=0")
        assert page.inner_text("#at") == "3 answers"
        with page.expect_download() as taken:
            page.click("#file")
        taken.value.save_as(tmp_path / "answers.csv")
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0] == "pair,choice,page" and [x.split(",")[1] for x in lines[1:]] == [
        "0",
        "1",
        "0",
    ]
    assert blind.read(run, [tmp_path / "answers.csv"]).chosen.n == 3


def test_whose_picture_was_chosen_is_known_by_the_digest_alone(run, tmp_path, capsys):
    evidence = read_evidence(run)
    pairs, left_out = blind._pairs(run, evidence, bundle.manifest_digest(run))
    assert left_out == 0
    ours = [
        (pair.number, next(i for i, side in enumerate(pair.sides) if side.system == "a"))
        for pair in pairs
    ]
    assert {choice for _, choice in ours} == {0, 1}  # both sides
    theirs = [(pair, 1 - choice) for pair, choice in ours]
    found = blind.read(run, [answers(tmp_path / "1.csv", run, ours)])
    assert found.chosen.estimate == 1.0 and found.chosen.n == len(pairs)
    both = [tmp_path / "1.csv", answers(tmp_path / "2.csv", run, theirs)]
    assert cli.main(["human", str(run), *map(str, both)]) == 0
    told = capsys.readouterr().out
    assert "a was chosen over b in 50.0%" in told and "too few" in told


def test_a_page_does_not_hold_what_tells_the_sides(run):
    digest, page = bundle.manifest_digest(run), blind.render(run)
    assert digest not in page
    pairs, _ = blind._pairs(run, read_evidence(run), digest)
    turned = [blind._turned(digest, pair.number) for pair in pairs]
    names = set(re.findall(r"[0-9a-f]{64}", page))
    assert names and all([blind._turned(n, p.number) for p in pairs] != turned for n in names)


def test_unlike_sizes_are_shown_alike(run, tmp_path):
    evidence, digest = read_evidence(run), bundle.manifest_digest(run)
    pair = blind._pairs(run, evidence, digest)[0][0]
    large = tmp_path / "large.png"
    Image.new("RGB", (700, 300)).save(large)
    sides = (pair.sides[0], dataclasses.replace(pair.sides[1], path=large))
    unlike = dataclasses.replace(pair, sides=sides)
    assert unlike.size == min(blind._size(pair.sides[0]))
    drawn = base64.b64decode(blind._data_uri(sides[1], unlike.size).split(",")[1])
    assert min(Image.open(io.BytesIO(drawn)).size) == unlike.size


def test_fewer_than_one_pair_is_refused(run, capsys):
    assert cli.main(["human", str(run), "--pairs", "0"]) == 2
    assert "it is at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pair,choice\n1,0\n", "has no columns pair, choice, page"),
        ("pair,choice,page\n0,0,abc\n", "1.csv:2: an answer to another bundle's page"),
        ("pair,choice,page\n0,2,{page}\n", "1.csv:2: no answer"),
        ("pair,choice,page\n999,0,{page}\n", "1.csv:2: no answer"),
        ("pair,choice,page\n", "no answers in them"),
    ],
)
def test_answers_that_are_none_are_refused(run, tmp_path, text, said):
    path = tmp_path / "1.csv"
    path.write_text(text.replace("{page}", blind._page(bundle.manifest_digest(run))))
    with pytest.raises(InputError, match=said):
        blind.read(run, [path])
