"""Verified content: does the picture show what its prompt states?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.records import Request
from suites.proc.verify import verify

__all__ = ["Verified"]


class Verified:
    """Reads each prompt's spec back from the pixels of its image."""

    name = "verified"

    def rows(self, images: Sequence[np.ndarray], requests: Sequence[Request]) -> np.ndarray:
        """Returns float64 [n, 1]: 1 shown, 0 not shown, NaN where the prompt has no spec."""
        found = [
            np.nan if request.prompt.spec is None else float(verify(request.prompt.spec, image))
            for image, request in zip(images, requests, strict=True)
        ]
        return np.array(found, np.float64).reshape(-1, 1)
