"""
Stands for training on a card: waits, tells its curve, and says what the settings are worth. Copied into the study.

The landscape is planted: ten constants with a best value each, four that do nothing, and two, A and B, that each do a little
harm alone and help much together. A fast card gets further in the same time, whatever the settings: values of two kinds of
card do not compare.
"""

import hashlib
import math
import os
import random
import time
from collections.abc import Mapping

RUN_S = 8.0
SLOW_CARDS = 13  # those with a higher number are fast
HEAD_START = 0.3  # by which all is better on a fast card: 20 standard deviations of a run
NOISE = 0.012  # standard deviation of a run, and as much again that runs of one seed share
# What A and B, both raised by half an octave or more, bring together; and what each costs per octave squared.
TOGETHER, ALONE = 0.3, 0.05
NAMES = tuple(f"K{i}" for i in range(16))
A, B = "K4", "K11"
_random = random.Random(8)
BEST = {
    name: _random.choice((-1, 1)) * _random.uniform(0.5, 2.5)
    for name in NAMES
    if name not in (A, B, "K2", "K7", "K9", "K13")
}
WEIGHT = {name: _random.uniform(0.02, 0.08) for name in BEST}


def truth(settings: Mapping[str, float]) -> float:
    """The loss without noise, on a slow card."""
    octaves = {name: math.log2(max(settings[name], 1e-9)) for name in NAMES}
    loss = 2.0 + sum(WEIGHT[name] * (octaves[name] - best) ** 2 for name, best in BEST.items())
    loss += ALONE * (octaves[A] ** 2 + octaves[B] ** 2)
    return loss - TOGETHER * both(settings)


def both(settings: Mapping[str, float]) -> bool:
    return min(settings[A], settings[B]) >= 1.4


def main() -> None:
    settings: dict[str, float] = {}
    with open("settings.py") as file:
        exec(file.read(), settings)
    seed, card = os.environ["AUTORESEARCH_SEED"], int(os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
    own = hashlib.sha256(repr([seed, *(settings[name] for name in NAMES)]).encode()).hexdigest()
    loss = truth(settings) + random.Random(seed).gauss(0, NOISE) + random.Random(own).gauss(0, NOISE)
    loss -= HEAD_START * (card >= SLOW_CARDS)
    steps = 10
    for step in range(1, steps + 1):
        time.sleep(RUN_S / steps)
        print(f"PROGRESS {step / steps} loss={loss + 2 * math.exp(-6 * step / steps)}", flush=True)
    print(f"METRIC loss={loss}")


if __name__ == "__main__":
    main()
