"""Captions for a technique that learns by looking on while a pipeline draws."""

from __future__ import annotations

from harness.assets import resolve
from suites.prompts import read_prompt_file

__all__ = ["captions"]


def captions(path: str = "package:suites/proc/sets/val.jsonl", count: int = 64) -> list[str]:
    """`count` texts of a prompt file, or all it has, evenly over its categories.

    Raises AssetError or InputError where the file is missing or no prompt file.
    """
    prompts = sorted(read_prompt_file(resolve(path)).prompts, key=lambda prompt: prompt.category)
    count = min(count, len(prompts))
    return [prompts[i * len(prompts) // count].text for i in range(count)]
