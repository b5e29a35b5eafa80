"""The factor in processor time from a bundle's rows, by pandas alone: nothing of un0bench is used.

python examples/recompute.py docs/measured/first
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats


def factor(bundle: Path) -> tuple[float, float, float]:
    """Baseline over candidate, processor time an image: geometric mean over pairs, and 95%."""
    facts = json.loads((bundle / "manifest.json").read_text())
    windows = pd.read_parquet(bundle / "windows.parquet")
    blocks = windows[(windows.kind == "block") & ~windows.void].drop_duplicates("window")
    each = blocks.assign(s=blocks.cpu_s / (blocks.requests - blocks.failures))
    table = each.pivot_table(index="pair", columns="system", values="s", aggfunc="sum").dropna()
    logs = np.log(table[facts["baseline"]] / table[facts["candidate"]])
    pilot = logs[:6]  # whose spread says how many pairs are run, so that later ones may not
    half = stats.t.ppf(0.975, len(pilot) - 1) * pilot.std() / np.sqrt(len(logs))
    low, found, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    return float(found), float(low), float(high)


if __name__ == "__main__":
    print("{:.1f} times [{:.1f}, {:.1f}]".format(*factor(Path(sys.argv[1]))))
