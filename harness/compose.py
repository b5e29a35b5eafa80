"""The configuration of one audit, composed by Hydra; a mistake is told with the nearest known."""

from __future__ import annotations

import datetime
import difflib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from harness.errors import ConfigError, Interrupted, Un0BenchError

__all__ = ["compose", "run_folder", "sweep"]

GROUPS = ("suite", "system", "meter", "executor", "claim")


def compose(overrides: Sequence[str], resume: bool = False, name: str = "audit") -> dict[str, Any]:
    """The resolved configuration. Raises ConfigError for an unknown key, group or choice."""
    for override in overrides:
        if "=" not in override and not override.startswith("~"):
            raise ConfigError(f"'{override}' is no override; write key=value.")
    overrides = [_null_is_a_name(override) for override in overrides]
    if resume:
        _only_names_a_run(overrides)
    with hydra.initialize_config_module("conf", version_base="1.3"):
        try:
            return _plain(hydra.compose(name, overrides=list(overrides)))
        except MissingConfigException as error:
            raise _unknown_choice(error) from None
        except (HydraException, OmegaConfBaseException) as error:
            raise _explained(error, overrides, name) from None


def run_folder(config: dict[str, Any]) -> Path:
    """Where the run lies; without a name, one that says suite, systems and time."""
    out = Path(config["out"])
    if config["name"]:
        name = str(config["name"])
        if "/" in name or name in (".", ".."):
            raise ConfigError(f"name={name} is no folder name; choose the folder with out=...")
        return out / name
    suite = config["suite"]
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{suite['name']}-{suite['size']}-{config['candidate']}-vs-{config['baseline']}-{now}"
    folder, copies = out / name, 1
    while folder.exists():
        copies += 1
        folder = out / f"{name}-{copies}"
    return folder


def sweep(
    overrides: Sequence[str], run_one: Callable[[dict[str, Any]], int], name: str = "audit"
) -> int:
    """Runs every combination of comma-separated values; the worst exit code; Ctrl-C ends it.

    Any launcher of Hydra runs them (hydra/launcher=...), in processes of its own too, so each
    combination's code is what its job returns.
    """
    broken_off = 0

    def one(config: DictConfig) -> int:
        nonlocal broken_off
        if broken_off:
            return broken_off
        try:
            return run_one(_plain(config))
        except Un0BenchError as error:  # one outcome of many: the sweep goes on
            print(f"un0bench: {error}", file=sys.stderr)
            broken_off = error.exit_code if isinstance(error, Interrupted) else 0
            return error.exit_code

    asked = [_null_is_a_name(override) for override in overrides]
    with (
        tempfile.TemporaryDirectory() as scratch,  # hydra keeps a file of its own there
        hydra.initialize_config_module("conf", job_name="un0bench", version_base="1.3"),
    ):
        quiet = [f"hydra.sweep.dir={scratch}", "hydra.sweep.subdir=.", "hydra.output_subdir=null"]
        quiet += ["hydra/job_logging=disabled", "hydra/hydra_logging=disabled"]
        hydras = GlobalHydra.instance().hydra
        assert hydras is not None
        try:
            batches = hydras.multirun(name, one, [*quiet, *asked])
        except MissingConfigException as error:
            raise _unknown_choice(error) from None
        except (HydraException, OmegaConfBaseException) as error:
            raise _explained(error, asked, name) from None
    return max(job.return_value for batch in batches for job in batch)


def _null_is_a_name(override: str) -> str:
    """In `system=[un0,null]` null is the system of that name, not YAML's nothing."""
    key, equals, value = override.partition("=")
    if key not in ("system", "candidate", "baseline"):
        return override
    return key + equals + re.sub(r"(?<![\w\"'])null(?![\w\"'])", '"null"', value)


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key or "a key"
        raise ConfigError(f"{key} has no value; give it as {key}=...") from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _only_names_a_run(overrides: Sequence[str]) -> None:
    others = [item for item in overrides if item.partition("=")[0] not in ("name", "out")]
    if others:
        raise ConfigError(
            f"--resume goes on with the run's own configuration; leave out {others[0]}."
        )
    if not any(item.startswith("name=") for item in overrides):
        raise ConfigError("--resume needs the run: name=<folder under runs/>.")


def _unknown_choice(error: MissingConfigException) -> ConfigError:
    missing = str(error.missing_cfg_file or "")
    group, _, choice = missing.rpartition("/")
    options = sorted(error.options or _choices(group))
    return ConfigError(f"Unknown {group or 'config'} '{choice}'.{_near(choice, options)}")


def _explained(error: Exception, overrides: Sequence[str], name: str) -> ConfigError:
    """Finds the override that names no key, and the key nearest to it."""
    groups = [item for item in overrides if item.partition("=")[0].lstrip("+~") in GROUPS]
    try:
        keys = sorted(_keys(hydra.compose(name, overrides=groups)))
    except (HydraException, OmegaConfBaseException):
        keys = []
    for override in overrides:
        key = override.partition("=")[0]
        if keys and not key.startswith(("+", "hydra")) and key.lstrip("~") not in {*keys, *GROUPS}:
            return ConfigError(f"Unknown key '{key}'.{_near(key, [*keys, *GROUPS], listed=False)}")
    return ConfigError(" ".join(str(error).split())[:400])


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    if OmegaConf.is_dict(config):
        for key in config:
            name = f"{prefix}{key}"
            yield name
            yield from _keys(config._get_node(key), f"{name}.")


def _choices(group: str) -> list[str]:
    folder = resources.files("conf") / group
    if not group or not folder.is_dir():
        return []
    return [item.name.removesuffix(".yaml") for item in folder.iterdir() if "yaml" in item.name]


def _near(name: str, known: Sequence[str], *, listed: bool = True) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return hint + (f" Known: {', '.join(known)}." if listed and known else "")
