"""The report as a file and in a headless browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest

from harness import bundle
from reports import html

NOISY = ("object", "iframe", "base")
SCRIPT = (Path(html.__file__).parent / "templates" / "report.js").read_text()


def _text(page: str) -> str:
    without = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", without).split())


def test_same_bundle_gives_same_bytes_from_another_place(sample: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(sample, tmp_path / "moved")
    (moved / "report.html").write_text("an older report")
    assert html.render(moved) == html.render(sample)
    assert str(moved.parent) not in html.render(moved)


def test_prompt_with_markup_is_shown_and_inert(sample: Path) -> None:
    page = html.render(sample)
    assert "&lt;script&gt;window.pwned = 1&lt;/script&gt;" in page
    assert not [tag for tag in NOISY if f"<{tag}" in page.lower()]
    assert page.lower().count("<script") == 1
    assert page[page.index("<script>") + 8 : page.index("</script>")].strip() == SCRIPT.strip()


def test_nothing_is_loaded_from_elsewhere(sample: Path) -> None:
    page = html.render(sample)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) > 60
    beside = {"windows.parquet", "traces.parquet", "cards/", "work/"}
    assert all(source.startswith(("data:", "#")) or source in beside for source in sources)
    assert "url(" not in page and "@import" not in page


def test_modelled_follows_every_joule(sample: Path) -> None:
    page = html.render(sample)
    table = page[page.index("Per image, by system") :]
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', table, flags=re.S)[:3]
    assert [name for name, _ in rows] == ["device", "node", "facility"]
    for _, cells in rows:
        joules = re.findall(r"<td>([\d.,]+ [mkµn]?J)(.*?)</td>", cells)
        assert len(joules) == 3
        assert all("modelled" in tail for _, tail in joules)


def test_answer_and_first_card_carry_the_method(sample: Path) -> None:
    page = html.render(sample)
    lede = _text(page[page.index('class="lede"') : page.index('class="facts"')])
    assert "not measured (" in lede and ", modelled)" in lede
    first = page[page.index("<article") : page.index("</article>")]
    assert "energy-1000x" in first and '<span class="tag">modelled</span>' in first


def test_digest_and_commands_are_printed(sample: Path) -> None:
    page = html.render(sample)
    assert bundle.manifest_digest(sample) in page
    assert "un0bench verify BUNDLE\nun0bench report BUNDLE" in page


def test_every_outcome_is_said_in_words(sample: Path) -> None:
    verdicts = bundle.read_json(sample / "verdicts.json")
    badges = re.findall(r'class="badge (\w+)">.*?</svg>([^<]+)</span>', html.render(sample))
    main = {v["claim"]: v["outcome"] for v in reversed(verdicts)}
    assert [outcome for outcome, _ in badges] == list(reversed(main.values()))
    assert all(words.lower().replace(" ", "_") == outcome for outcome, words in badges)


def test_synthetic_scores_say_so_beside_n(sample: Path) -> None:
    text = _text(html.render(sample))
    assert "synthetic; not comparable to Inception FID" in text
    assert "n = 36" in text  # 4 prompts in each of nine categories, emblem left out


def test_missing_joules_are_said_with_the_reason_and_never_zero(unmetered: Path) -> None:
    text = _text(html.render(unmetered))
    assert "No joules of the node were read" in text
    assert "Not measured: device of un0, dense, null; node of un0, dense, null" in text
    assert not re.search(r"(?<![\d.])0(\.0+)? [mkµn]?J\b", text)


def test_images_that_were_not_kept_are_said(unmetered: Path) -> None:
    page = html.render(unmetered)
    assert "image not kept" in page and "data:image" not in page


def test_work_says_who_counted_it_and_stands_under_the_roof(sample: Path) -> None:
    page = html.render(sample)
    table = page[page.index("Work and memory traffic") : page.index("The machine while it waits")]
    rows = {
        name: _text(cells)
        for name, cells in re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', table, re.S)
    }
    assert rows["un0"].startswith("41.0 M as the system tells 125 kB — ")
    assert rows["dense"].startswith("5.62 G counted 1.00 MB 2.50 GB ")
    assert all("modelled" in text for text in rows.values())
    assert table.count('class="roof"') == 4  # memory, and three formats
    assert "no joules per byte are told" in table


def test_pictures_that_repeat_are_told(sample: Path, tmp_path: Path) -> None:
    told = "Pairs of pictures of one prompt"
    assert told not in html.render(sample)  # whose prompts are asked once
    again = Path(shutil.copytree(sample, tmp_path / "again"))
    rows = bundle.read_table(again, "requests")
    timed = [row for row in rows if row["window"] == "latency-un0"][:4]
    for row, digest in zip(timed, ("a", "a", "b", "c"), strict=True):
        row["image_sha256"] = digest
    bundle.write_table(again, "requests", rows)
    text = _text(html.render(again))
    assert re.search(rf"{told}, .* the same bit for bit .*left out\): 1 of 10 for un0\.", text)


def test_without_counted_work_there_is_no_section_of_it(unmetered: Path) -> None:
    assert "Work and memory traffic" not in html.render(unmetered)


def test_failed_request_shows_its_reason(sample: Path) -> None:
    assert "failed: returned a 32 x 32 image" in html.render(sample)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with pages.browser() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["sample", "unmetered"])
def test_page_fits_and_is_quiet(
    browser, request: pytest.FixtureRequest, tmp_path: Path, which: str, width: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(html.render(request.getfixturevalue(which)), encoding="utf-8")
    said: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda failed: said.append(failed.url))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    loaded = page.evaluate(
        "[...document.images].filter(i => i.src).map(i => i.complete && i.naturalWidth)"
    )
    assert loaded == [64] * (79 if which == "sample" else 0)  # 40 requests, one of them failed
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("[...document.images].filter(i => i.src).every(i => i.alt)")
    page.close()
    assert said == []


def test_page_is_usable_by_keyboard_and_structure(
    browser, sample: Path, evil: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(html.render(sample), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(path.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    wide = "[...document.querySelectorAll('.scroll')].filter(d => d.scrollWidth > d.clientWidth)"
    assert page.evaluate(f"{wide}.length") > 0
    assert page.evaluate(f"{wide}.every(d => d.tabIndex === 0 && d.getAttribute('aria-label'))")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    labels = "[...document.querySelectorAll('[aria-labelledby]')]"
    assert page.evaluate(
        f"{labels}.every(e => document.getElementById(e.getAttribute('aria-labelledby')))"
    )
    assert evil in page.inner_text("main")
    page.close()


@pytest.fixture
def opened(browser, sample: Path, tmp_path: Path) -> Iterator[object]:
    path = tmp_path / "report.html"
    path.write_text(html.render(sample), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    yield page
    page.close()


def _shown(page) -> list[str]:
    return page.evaluate(
        "[...document.querySelectorAll('.exhibit')].filter(e => !e.hidden)"
        ".map(e => e.dataset.category + ' ' + e.dataset.shown)"
    )


def test_gallery_is_filtered_by_words_category_and_what_was_right(opened) -> None:
    assert len(_shown(opened)) == 24 and opened.inner_text("#counted") == "24 of 40"
    opened.click("#more")
    assert len(_shown(opened)) == 40 and not opened.is_visible("#more")
    opened.select_option("[name=category]", "text")
    assert [one.split()[0] for one in _shown(opened)] == ["text"] * 4
    opened.select_option("[name=category]", "")
    opened.select_option("[name=shown]", "01")
    only = _shown(opened)
    assert only and all(one.split()[1].startswith("01") for one in only)
    opened.select_option("[name=shown]", "")
    opened.fill("[name=words]", "pwned SCRIPT")
    assert len(_shown(opened)) == 1


def test_two_pictures_lie_over_each_other_under_a_slider(opened) -> None:
    opened.click("button.compare >> nth=0")
    over = "document.querySelector('#over')"
    assert opened.evaluate(f"{over}.open")
    assert opened.evaluate(f"[...{over}.querySelectorAll('img')].every(i => i.naturalWidth)")
    opened.fill("#over input", "25")
    cut = opened.evaluate(f"{over}.querySelectorAll('img')[1].style.clipPath")
    assert "75%" in cut
    opened.keyboard.press("Escape")
    assert not opened.evaluate(f"{over}.open")


def test_power_can_be_looked_into_window_by_window(opened) -> None:
    box = "document.querySelector('#power').getAttribute('viewBox')"
    whole = opened.evaluate(box)
    opened.select_option("#look select", label="un0, pair 1, AB")
    start, _, length, _ = map(float, opened.evaluate(box).split())
    assert opened.evaluate(box) != whole and length == pytest.approx(5.2)
    assert start == pytest.approx(50, abs=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, sample: Path, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(html.render(sample), encoding="utf-8")
    assert pages.serious(browser, path, scheme) == []
