"""The blind page, and what its answers come to."""

import re

import pages
import pytest
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
    digest = bundle.manifest_digest(run)
    rows = [f"{pair},{choice},{digest}" for pair, choice in choices]
    path.write_text("\n".join(["pair,choice,bundle", *rows]) + "\n")
    return path


def test_the_page_names_no_system_and_shows_each_prompt_once(run, capsys):
    assert cli.main(["human", str(run), "--pairs", "5"]) == 0
    page = (run / "blind.html").read_text()
    assert page.count('class="pair"') == 5 and page.count("data:image/png") == 10
    body = page[page.index("<body>") :]
    assert not re.search(r"candidate|baseline|images/[ab]/", body)
    assert cli.main(["verify", str(run)]) == 0


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
    assert lines[0] == "pair,choice,bundle" and [x.split(",")[1] for x in lines[1:]] == [
        "0",
        "1",
        "0",
    ]
    assert blind.read(run, [tmp_path / "answers.csv"]).chosen.n == 3


def test_whose_picture_was_chosen_is_known_by_the_digest_alone(run, tmp_path, capsys):
    evidence = read_evidence(run)
    pairs = blind._pairs(run, evidence, bundle.manifest_digest(run))
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
    assert "a was chosen over b in 50.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pair,choice\n1,0\n", "has no columns pair, choice, bundle"),
        ("pair,choice,bundle\n0,0,abc\n", "1.csv:2: an answer to another bundle's page"),
        ("pair,choice,bundle\n0,2,{digest}\n", "1.csv:2: no answer"),
        ("pair,choice,bundle\n999,0,{digest}\n", "1.csv:2: no answer"),
        ("pair,choice,bundle\n", "no answers in them"),
    ],
)
def test_answers_that_are_none_are_refused(run, tmp_path, text, said):
    path = tmp_path / "1.csv"
    path.write_text(text.replace("{digest}", bundle.manifest_digest(run)))
    with pytest.raises(InputError, match=said):
        blind.read(run, [path])
