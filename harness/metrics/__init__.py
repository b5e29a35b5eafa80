"""Measures of images: one file a measure; only extractors may use torch, and only once loaded."""

__all__: list[str] = []
