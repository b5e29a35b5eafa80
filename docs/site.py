"""Hooks of mkdocs: what pages link to outside docs/ goes into the site; bundles open as reports."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?P<up>(?:\.\./)+)(?P<path>[\w./-]+?)(?P<rest>/?(?:#[\w-]+)?)\)")
BUNDLE = re.compile(r"\]\((?P<folder>(?:\.\./)*measured/[\w-]+)\)")
SHOWN = ("report.html", "rivals.html", "manifest.json")  # of a bundle, the first that is there
linked: set[str] = set()


def on_page_markdown(markdown, page, **_):
    """Links that leave docs/ are turned to copies under files/."""
    depth = page.file.src_uri.count("/")

    def turned(match):
        if match["up"].count("..") <= depth or not (ROOT / match["path"]).exists():
            return match[0]
        linked.add(match["path"])
        return f"]({'../' * depth}files/{match['path']}{match['rest']})"

    def opened(match):
        folder = Path(page.file.abs_src_path).parent / match["folder"]
        shown = (name for name in SHOWN if (folder / name).is_file())
        return f"]({match['folder']}/{next(shown, SHOWN[-1])})"

    markdown = BUNDLE.sub(opened, markdown)
    return LINK.sub(turned, markdown)


def on_post_build(config, **_):
    """Copies what was linked."""
    for path in sorted(linked):
        target = Path(config["site_dir"]) / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_file():
            shutil.copyfile(ROOT / path, target)
        else:
            shutil.copytree(ROOT / path, target, dirs_exist_ok=True)
