"""Says how far below the start a descent came: log10 of the valley's height at the point it left. Frozen."""

import json
import math
import os

with open(os.path.join(os.environ["AUTORESEARCH_OUT"], "point.json")) as file:
    x, y = json.load(file)
height = (1 - x) ** 2 + 100 * (y - x * x) ** 2
print(f"METRIC log_height={math.log10(height + 1e-12):.6f}")
