"""Pictures beyond a page's room: beside it, asked for when they are seen, known to verify."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest
from PIL import Image

from harness import bundle, verify
from reports import html, thumbnails

TIMES = 125  # 40 prompts of the sample, 125 times, by two systems: 10,000 pictures


@pytest.fixture(scope="module")
def many(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with each request asked TIMES times; its pictures are links to the same."""
    root = Path(shutil.copytree(sample, tmp_path_factory.mktemp("many") / "many"))
    requests, items = bundle.read_table(root, "requests"), bundle.read_table(root, "items")
    core = [row for row in requests if row["core"]]
    verified = [row for row in items if row["metric"] == "verified"]
    for turn in range(1, TIMES):
        for row in core:
            other = row["request"] + 1000 * turn
            requests.append({**row, "request": other, "seed": row["seed"] + 1000 * turn})
            here = bundle.image_path(root, row["system"], row["request"])
            if here.is_file():
                os.link(here, bundle.image_path(root, row["system"], other))
        items += [{**row, "request": row["request"] + 1000 * turn} for row in verified]
    bundle.write_table(root, "requests", requests)
    bundle.write_table(root, "items", items)
    shutil.rmtree(root / "features")  # which have a row for each picture, and no page shows
    (root / "report.html").write_text(html.render(root), encoding="utf-8")
    return root


@pytest.fixture
def large(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample with the baseline's pictures at 512 px, and room for few in its page."""
    monkeypatch.setattr(thumbnails, "ROOM_BYTES", 300_000)
    root = Path(shutil.copytree(sample, tmp_path / "large"))
    for path in (root / "images" / "dense").glob("*.png"):
        with Image.open(path) as image:
            image.resize((512, 512)).save(path)
    (root / "report.html").write_text(html.render(root), encoding="utf-8")
    (root / "report.md").write_text(verify.rendered(root)["report.md"](root), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with pages.browser() as started:
        yield started


def _beyond(root: Path) -> list[list]:
    page = (root / "report.html").read_text("utf-8")
    start = page.index('id="beyond">') + len('id="beyond">')
    return json.loads(page[start : page.index("</script>", start)])


def _reports(root: Path) -> list[str]:
    return list(verify._reports(root, bundle.read_manifest(root)))


def test_a_page_of_ten_thousand_pictures_stays_small_and_holds_the_first(many: Path) -> None:
    page = (many / "report.html").read_text("utf-8")
    held = page.count('src="data:image/png')
    assert len(page) < 10_000_000 and held > 100
    files = [picture[1] for row in _beyond(many) for picture in row[3] if picture[1]]
    assert held + len(files) == 2 * 40 * TIMES - TIMES  # one request of un0 failed
    assert all((many / name).is_file() for name in files)
    assert "lie beside it, in the folders <code>images/</code>" in page


def test_ten_thousand_pictures_are_filtered_and_few_are_asked_for(browser, many: Path) -> None:
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda one: asked.append(one.url) if one.url.endswith(".png") else None)
    page.goto((many / "report.html").as_uri())
    assert page.inner_text("#counted") == "24 of 5000"
    assert asked == []
    page.fill("[name=words]", "pwned")
    page.select_option("[name=category]", "single")
    assert page.inner_text("#counted") == f"24 of {TIMES}"
    page.click("#more")
    shown = "[...document.querySelectorAll('.exhibit')].filter(one => !one.hidden)"
    assert page.evaluate(f"{shown}.length") == 48
    assert page.evaluate(f"{shown}.every(one => one.textContent.includes('window.pwned'))")
    assert page.evaluate("window.pwned") is None
    page.evaluate(f"{shown}.at(-1).scrollIntoView()")
    page.wait_for_function(f"{shown}.at(-1).querySelector('img').naturalWidth === 64")
    assert 0 < len(asked) < 200
    page.evaluate(f"{shown}.at(-1).querySelector('button').click()")
    page.wait_for_function("document.querySelector('#over img').naturalWidth === 64")
    page.close()
    assert said == []


def test_what_is_not_beside_the_page_is_said(browser, many: Path, tmp_path: Path) -> None:
    moved = tmp_path / "report.html"
    shutil.copy(many / "report.html", moved)
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(moved.as_uri())
    page.fill("[name=words]", "pwned")
    for _ in range(4):
        page.click("#more")
    last = "[...document.querySelectorAll('.exhibit')].filter(one => !one.hidden).at(-1)"
    page.evaluate(f"{last}.scrollIntoView()")
    page.wait_for_function(f"{last}.textContent.includes('not beside this page')")
    page.close()


def test_large_pictures_beyond_the_room_have_thumbnails_that_verify_knows(large: Path) -> None:
    first = _reports(large)
    assert first and all(": missing; draw it with" in text for text in first)
    count = thumbnails.write(large)
    assert 0 < count < 40 and _reports(large) == []
    files = {picture[1] for row in _beyond(large) for picture in row[3] if picture[0] == "dense"}
    assert len(files) == count and all(name.startswith("report-images/dense/") for name in files)
    with Image.open(large / min(files)) as image:
        assert image.format == "JPEG" and image.size == (256, 256)
    assert not [name for name in bundle.file_hashes(large) if name.startswith("report-images/")]


def test_a_thumbnail_that_was_changed_or_added_is_found(large: Path) -> None:
    thumbnails.write(large)
    name = min(thumbnails.drawn(large))
    shutil.copy(large / max(thumbnails.drawn(large)), large / name)
    (large / "report-images" / "dense" / "9999.jpg").write_bytes(b"")
    (large / "report-images" / "notes.txt").write_text("")
    assert _reports(large) == [
        "report-images/dense/9999.jpg: no picture of the report",
        f"{name}: differs from the one drawn from this bundle",
    ]
    assert "report-images/notes.txt" in bundle.file_hashes(large)  # as any other file
    thumbnails.write(large)
    assert _reports(large) == []
