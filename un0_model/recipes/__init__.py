"""Recipes: each trains one shipped thing from nothing, resumes, and records what it cost.

`un0bench train dense|un0|judge budget=cpu|gpu out=DIR` runs them; a recipe is a list of stages,
and a stage that is finished is not run again.
"""
