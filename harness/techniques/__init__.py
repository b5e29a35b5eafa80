"""Ways to make a pipeline of diffusers cheaper: one file a kind, each a Technique.

A system names them under `techniques`; they are applied in order when it is loaded, and what that
takes is told with its load. Nothing derived is kept from one audit to the next (ADR 0032).
"""

__all__: list[str] = []
