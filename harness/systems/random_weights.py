"""Published architectures with random weights: what a picture costs, and not what it shows.

An architecture is a JSON file of facts: the pipeline's class of diffusers, and class and
configuration of each of its parts. Captions are numbered by a made-up tokenizer and padded to the
published length, so encoders work as they would.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
import transformers

from harness import assets
from harness.errors import AssetError
from harness.systems.diffusers_pipeline import DiffusersSystem
from suites.proc.words import VOCABULARY
from un0_model.dense import tokenizer

__all__ = ["RandomWeights"]

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
SEED = 0


class RandomWeights(DiffusersSystem):
    """As DiffusersSystem, of an architecture in place of a folder of weights.

    Weights are drawn where they will work, in the precision that is asked for.
    """

    def _read(self, dtype: torch.dtype) -> tuple[Any, dict[str, str]]:
        """Raises AssetError for a file that describes no pipeline."""
        path = assets.resolve(self.model)
        before = torch.get_default_dtype()
        try:
            text = path.read_bytes()
            described = json.loads(text)
            torch.set_default_dtype(dtype)
            torch.manual_seed(SEED)
            with torch.device(self.device):
                parts = {name: _part(one) for name, one in described["components"].items()}
            pipeline = getattr(diffusers, described["pipeline"])
            made = pipeline(**parts, **described["arguments"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise AssetError(
                f"{path} describes no pipeline ({told}). Begin with one of "
                "harness/systems/architectures."
            ) from error
        finally:
            torch.set_default_dtype(before)
        return made, {f"random weights of {path.name}": hashlib.sha256(text).hexdigest()}


def _part(described: Mapping[str, Any] | None) -> Any:
    """A module, a scheduler, a tokenizer of a length, or nothing."""
    if described is None:
        return None
    if "length" in described:
        numbered = tokenizer(VOCABULARY)
        numbered.model_max_length = described["length"]
        return numbered
    library, _, name = described["class"].partition(".")
    kind = getattr(LIBRARIES[library], name)
    config = described["config"]
    if library == "transformers":
        return kind(kind.config_class(**config)).eval()
    made = kind(**config)
    return made.eval() if isinstance(made, torch.nn.Module) else made
