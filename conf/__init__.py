"""Hydra groups: suite, system, meter, claim."""

__all__: list[str] = []
