"""
All that may go wrong in a night at once: 35 peers as real processes, in halves of 18 and 17 that cannot reach each other, five of them
killed and started again, one who joins late; on a transport that also loses, doubles and reorders a fifth of what passes.

    python -m benchmarks.swarm_faults --write

The peers are those of the tests (tests/swarm_node.py). In the end all digests must be equal, and all that was ever said be known.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import markdown, report

TITLE = "A swarm in which all goes wrong"
TESTS = Path(__file__).resolve().parent.parent / "tests"
PATIENCE_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--peers", type=int, default=35)
    parser.add_argument("--each", type=int, default=8, help="findings that each says while there are two halves")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    import swarm_node

    swarm_node.PATIENCE_S = PATIENCE_S
    rows, parts = [], list[str]()
    for way in ("zenoh", "git"):
        with tempfile.TemporaryDirectory() as name:
            receipts, took = swarm_node.faults(Path(name), way, options.peers, options.each)
        parts = list(took)
        rows.append(
            [way, f"{options.peers} and 1", f"{receipts:,}", "0", *(f"{seconds:.0f} s" for seconds in took.values())]
        )
        print(markdown(["", "peers", "receipts that all know", "lost", *parts], rows), flush=True)
    about = (
        f"Halves of {(options.peers + 1) // 2} and {options.peers // 2}; 20 % of messages lost, 20 % doubled, 30 % late; five killed with kill -9 in the "
        "middle of what they say. Lost: said by anybody and not known to all in the end, or refused by anybody; the run fails unless it is 0."
    )
    header = ["", "peers", "receipts that all know", "lost", *parts]
    report("swarm_faults", TITLE, f"{about}\n\n{markdown(header, rows)}", options.write)


if __name__ == "__main__":
    main()
