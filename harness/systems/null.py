"""A constant image: what it costs is what the harness itself charges to every system."""

from collections.abc import Sequence

import numpy as np

from harness.records import Failure, Request, SystemCard

__all__ = ["NullSystem"]


class NullSystem:
    """Answers every request with the same grey image."""

    def __init__(self, *, height: int = 64, width: int = 64) -> None:
        self.height, self.width = height, width

    def load(self) -> None:
        self._image = np.full((self.height, self.width, 3), 128, dtype=np.uint8)

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates uint8 images [H, W, 3], sRGB: one grey, whatever is asked."""
        return [self._image for _ in requests]

    def card(self) -> SystemCard:
        return SystemCard(
            name="null",
            height=self.height,
            width=self.width,
            parameters=0,
            parameter_bytes=0,
            precision="none",
            steps=0,
            evaluations=0,
            notes={"what": "a constant image; its cost is the harness's own"},
        )
