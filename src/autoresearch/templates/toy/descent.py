"""
A short descent into a curved valley. Everything in this file may change.

Reads how many steps it may take and where it starts (by seed) from its environment, and leaves the point it
reached in $AUTORESEARCH_OUT/point.json. How good that point is, is not for this file to say: see score.py.
"""

import json
import os
import random

LEARNING_RATE = 2e-4
MOMENTUM = 0.5
DECAY = 0.0  # of the learning rate, over the whole descent
NESTEROV = False
CLIP = 50.0  # longest gradient that is followed as it is


def gradient(x, y):
    """Of the valley (1 - x)^2 + 100 (y - x^2)^2 (Rosenbrock 1960)."""
    return -2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)


def descend(x, y, steps):
    vx = vy = 0.0
    for step in range(steps):
        ahead = MOMENTUM if NESTEROV else 0.0
        gx, gy = gradient(x + ahead * vx, y + ahead * vy)
        length = (gx * gx + gy * gy) ** 0.5
        scale = min(1.0, CLIP / length) if length > 0 else 1.0
        rate = LEARNING_RATE * (1 - DECAY * step / steps)
        vx, vy = MOMENTUM * vx - rate * scale * gx, MOMENTUM * vy - rate * scale * gy
        x, y = x + vx, y + vy
        if step % 50 == 0:
            print(f"PROGRESS {step / steps:.2f} loss={(1 - x) ** 2 + 100 * (y - x * x) ** 2:.4g}")
    return x, y


if __name__ == "__main__":
    start = random.Random(int(os.environ["AUTORESEARCH_SEED"]))
    x, y = descend(start.uniform(-1.5, -0.5), start.uniform(0.5, 1.5), int(os.environ["AUTORESEARCH_BUDGET"]))
    with open(os.path.join(os.environ["AUTORESEARCH_OUT"], "point.json"), "w") as file:
        json.dump([x, y], file)
