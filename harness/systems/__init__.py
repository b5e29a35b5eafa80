"""Systems: one file a kind. A new one is a class with load, generate and card, and a YAML."""

__all__: list[str] = []
