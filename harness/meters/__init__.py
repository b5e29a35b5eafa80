"""Meters: one file a source of energy figures. `all` tries each and says what is missing."""
