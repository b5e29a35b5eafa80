"""Files a system or metric needs, named by where they are: a path, package data, a hub, a url.

folder/of/weights                    a path
package:un0_model/weights/dense      data of an installed package
https://host/file.bin#sha256=<hex>   fetched once, checked, kept in the user's cache
hub:owner/model@revision             a repository of the Hugging Face hub, kept in its own cache
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import urllib.request
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from harness.errors import AssetError

__all__ = ["cache_folder", "fetch", "fetch_unchecked", "resolve"]

TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
HUB_FILES = ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer*", "*.txt"]


def resolve(name_or_path: str | Path, hub_files: Sequence[str] = HUB_FILES) -> Path:
    """The existing file or folder of a name. Raises AssetError: what is missing, and the remedy.

    `hub_files`: of a repository of the hub what is fetched; an open_clip network unless given.
    """
    name = str(name_or_path)
    if name.startswith(("https://", "http://", "file://")):
        url, mark, digest = name.partition("#sha256=")
        if not mark or not re.fullmatch("[0-9a-f]{64}", digest):
            raise AssetError(f"{name} has no hash. Name it as URL#sha256=<64 hex digits>.")
        return fetch(url, digest)
    if name.startswith("package:"):
        return _package(name)
    if name.startswith("hub:"):
        return _hub(name, hub_files)
    path = Path(name).expanduser()
    if not path.exists():
        raise AssetError(
            f"No file or folder at {path.absolute()}. Check the path (it is read from the folder "
            "the command runs in), or name package data as package:<package>/<path>."
        )
    return path


def fetch(url: str, sha256: str, *, cache: Path | None = None) -> Path:
    """Downloads a file once and checks its SHA-256; a cached file is checked again."""
    path = (cache or cache_folder()) / sha256[:16] / _file_name(url)
    if path.is_file():
        if _sha256(path) == sha256:
            return path
        path.unlink()
    remedy = f"Put the file at {path} (its hash is checked) and run again."
    beside = _downloaded(url, path, remedy)
    try:
        found = _sha256(beside)
        if found != sha256:
            raise AssetError(
                f"{url} has SHA-256 {found}, but {sha256} was named. The file changed at its "
                "source, or something on the way changed it; do not use it."
            )
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def fetch_unchecked(url: str, *, cache: Path | None = None) -> tuple[Path, str]:
    """Downloads a file of which no hash is known; where it is kept, and its SHA-256.

    It lies where `fetch` looks for it under that hash. For showing a file, not for using it.
    """
    folder = cache or cache_folder()
    remedy = "Fetch it elsewhere, say its hash (sha256sum), and be told where to put it."
    beside = _downloaded(url, folder / "unchecked" / _file_name(url), remedy)
    try:
        found = _sha256(beside)
        path = folder / found[:16] / _file_name(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path, found


def _file_name(url: str) -> str:
    return re.sub(r"[^\w.-]", "_", url.rsplit("/", 1)[-1]) or "file"


def _downloaded(url: str, path: Path, remedy: str) -> Path:
    """The file beside the place where it is to lie. Raises AssetError: offline, or no such one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source, beside.open("wb") as sink:
            while chunk := source.read(CHUNK_BYTES):
                sink.write(chunk)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if not isinstance(error, OSError | http.client.HTTPException | ValueError):
            raise
        raise AssetError(f"{url} cannot be fetched ({error}). Offline? {remedy}") from error
    return beside


def cache_folder() -> Path:
    """Where fetched files are kept, after the XDG convention."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "un0bench"


def _package(name: str) -> Path:
    package, _, inside = name.removeprefix("package:").partition("/")
    try:
        path = Path(str(resources.files(package))) / inside
    except ModuleNotFoundError:
        raise AssetError(f"{name}: no package '{package}' is installed.") from None
    if not path.exists():
        raise AssetError(
            f"{name} is not there ({path}). Reinstall un0bench, or make it again with "
            "`un0bench train` (dense, un0 or judge)."
        )
    return path


def _hub(name: str, files: Sequence[str]) -> Path:
    """The folder of a repository: weights as safetensors, and what describes them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = name.removeprefix("hub:").partition("@")
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(files)
        )
    except GatedRepoError:
        raise AssetError(
            f"{name} asks for its terms to be accepted. Accept them on its page, log in with `hf "
            "auth login`, and run again."
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise AssetError(
            f"{name} cannot be had from the hub ({told}). Check the name; offline, download it "
            "elsewhere and name its folder."
        ) from error
    return Path(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
