"""
Adds records from several threads until it is killed, and says which are on the disk: `python live_adder.py ADDRESS FIRST`.

A line is written when `add` has returned, and not before.
"""

import sys
import threading

from autoresearch.live.records import Exposure, Outcome
from autoresearch.live.store import Store, open_store

THREADS = 4


def work(store: Store, first: int) -> None:
    n = first
    while True:
        unit = f"{n:032x}"
        shown = Exposure(source="door", id=f"e{n}", at=1e9 + n, unit=unit, cell="a=b")
        clicked = Outcome(source="door", id=f"o{n}", at=1e9 + n + 5, unit=unit, kind="click")
        store.add([shown, clicked])
        sys.stdout.write(f"{n}\n")
        sys.stdout.flush()
        n += THREADS


def main() -> None:
    store = open_store(sys.argv[1], "s")
    first = int(sys.argv[2])
    for i in range(THREADS):
        threading.Thread(target=work, args=(store, first + i), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
