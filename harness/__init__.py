"""The instrument: meters a system, scores what it drew, and returns a verdict."""
