"""
How far a swarm goes: 1,000 peers with 100,000 receipts in one process, and 100 real ones over Zenoh.

    python -m benchmarks.swarm_scale --write

The exchange is played with the real books, receipts and signatures (benchmarks/swarm_crowd.py); what one peer's book of so many
receipts takes is measured in a process of its own; the real peers are processes (benchmarks/swarm_mesh.py). With --folder what was
measured is kept, and the same command goes on with it.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import msgspec
from msgspec import Struct

from autoresearch.share import board, identity, node, receipt, settings, tables, trust, verify
from autoresearch.share.book import Book
from autoresearch.share.exchange import ANSWER, MOST_HEADS, Exchange
from autoresearch.share.identity import Identity
from autoresearch.workspace import HOME
from benchmarks.swarm_crowd import BUDGET, HEARD, STUDY, Spread, as_they_come, at_once, made_up, memory, one_process
from benchmarks.swarm_mesh import Mesh, mesh
from benchmarks.tables import markdown, report

TITLE = "How far a swarm goes"
AT_ONCE = ((100, 100), (300, 100), (1000, 10), (1000, 100))  # peers, receipts of each
THEY_COME = ((100, 10), (300, 10))
EVERY, SHOWN = 3, 8  # rounds from one receipt of a peer to the next, and others whom it is shown to
BOOKS = ((100, 100), (1000, 10), (1000, 100))
MESHES = ((10,), (30,), (100,))
OF_EACH, OVER_S = 10, 30.0  # receipts that a real peer says, and seconds in which all of them are said
FORM, SIGNATURE = "a receipt: its form, and that it is canonical", "a receipt: its signature"
MORE = "one receipt more, and the digest after it"
LOOKS = ("status", "board", "findings", "verify")
STUDY_FILE = """
name = "scale"
asset = ["train.py"]
[metric]
name = "loss"
[measure]
run = "echo METRIC loss=1"
"""
T = TypeVar("T")


class Took(Struct, frozen=True):
    """One thing that was done: processor seconds, and MiB that it added to the process, or -1 where that says nothing."""

    what: str
    took_s: float
    added: float = -1


class OneBook(Struct, frozen=True):
    """What a book of so many receipts takes, alone in a process."""

    peers: int
    receipts: int
    file: int  # bytes
    question: int
    rows: list[Took]


def one_book(peers: int, each: int, folder: Path) -> OneBook:
    """Everything that is done with a book, once, in this process."""
    said, rows = made_up(peers, each), list[Took]()
    lines = said.lines()
    most, last = lines[:-100], lines[-100:]
    path = folder / "receipts.jsonl"

    def timed(what: str, do: Callable[[], T], per: int = 0) -> T:
        before, began = memory(), time.process_time()
        found = do()
        rows.append(Took(what, (time.process_time() - began) / (per or 1), -1 if per else memory() - before))
        return found

    def take() -> None:
        taker = Book(folder / "taken.jsonl")
        for line in lines:
            taker.take(line)
        taker.close()

    def check() -> None:
        for entry in entries:
            identity.check(entry.receipt.peer, entry.stub)

    path.write_bytes(b"".join(line + b"\n" for line in most))
    book = timed("opening the file", lambda: Book(path))
    me = Identity(bytes(32))
    exchange, other = Exchange(book, me, 1, time.monotonic), Exchange(book, said.peers[0], 1, time.monotonic)
    question = exchange.question()

    def digests() -> None:
        for line in last:
            book.take(line)
            book.digest()

    timed(MORE, digests, len(last))
    timed("answering who lacks nothing", lambda: [exchange.answer(question) for _ in range(20)], 20)
    timed(f"answering who lacks all, {ANSWER >> 20} MiB", lambda: exchange.answer(b"{}"))
    beacons = [other.beacon() for _ in range(200)]
    timed("hearing a beacon", lambda: [exchange.hear(beacon) for beacon in beacons], len(beacons))
    swarm = timed("board: folding the receipts", lambda: board.read_book(book))
    seen = timed("trust: what each is worth, seen from one peer", lambda: trust.view(swarm, said.peers[0].peer))
    place = STUDY, swarm.members[said.peers[0].peer].tier, BUDGET
    all_there = set(swarm.members)
    timed("the claim to measure next", lambda: next(trust.candidates(swarm, seen, place, all_there, ()), None))
    timed("boards by study, tier and budget", lambda: list(tables.boards(swarm)))
    timed("who took up what from whom", lambda: list(tables.adoptions(swarm)))
    timed("transfer from tier to tier, with intervals", lambda: list(tables.carried(swarm)))
    timed("all tables, as `verify` compares them", lambda: tables.tables(swarm, book.digest()))
    timed("the list of findings", lambda: tables.findings(swarm))
    book.close()
    some = lines[:: max(1, len(lines) // 1000)]
    entries = [receipt.read(line) for line in some]
    timed(FORM, lambda: [receipt.read(line) for line in some], len(some))
    timed(SIGNATURE, check, len(some))
    timed("taking all of them from strangers, into a file", take, 1)
    wrong = timed("`verify`: every signature and number again", lambda: verify.differences(path)[1])
    assert not wrong, wrong[:3]
    study = folder / "study"
    study.mkdir()
    (study / "study.toml").write_text(STUDY_FILE)
    (study / "train.py").write_text("")
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start"],
    ):
        subprocess.run(["git", *words], cwd=study, check=True)
    settings.save(study / HOME, settings.Settings("ada"))
    (settings.folder(study / HOME) / node.BOOK).write_bytes(path.read_bytes())
    rows += [_looked(study, word) for word in LOOKS]
    return OneBook(peers, len(lines), path.stat().st_size, len(question), rows)


def _looked(study: Path, word: str) -> Took:
    """A command's processor seconds, and the most that it held."""
    code = f"import time; from autoresearch.cli import main; main(['swarm', {word!r}], standalone_mode=False); "
    # Not ru_maxrss: a process that is started takes over its parent's.
    code += "most = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]; "
    code += "print(); print(time.process_time(), int(most[0]) / 1024)"
    done = subprocess.run([sys.executable, "-c", code], cwd=study, check=True, capture_output=True, text=True).stdout
    took_s, most = done.split()[-2:]
    return Took(f"`autoresearch swarm {word}`, and MiB at most", float(took_s), float(most))


# -- what is told -----------------------------------------------------------------------------------------------------


def told_of_spread(found: Sequence[Spread]) -> str:
    rows = [
        [
            f"{one.peers:,}",
            f"{one.receipts:,}",
            f"{one.rounds}",
            *(f"{_mebi(one.came, kind)}" for kind in ("receipts", "questions", "beacons")),
            f"{max(sent.all for sent in one.sent) / 2**20:.1f}",
            f"{one.asked / one.peers:.0f}, {100 * one.in_vain / one.asked:.0f} %",
            f"{one.took_s:.0f}",
            f"{one.took_s / one.taken * 1e6:.1f}",
            f"{one.memory:,.0f}",
        ]
        for one in found
    ]
    header = ["peers", "receipts", "rounds until all have all", "MiB of receipts that came to each"]
    header += ["of questions", "of beacons", "MiB that one sent, at most", "questions of each, in vain"]
    return markdown([*header, "processor s", "us a receipt and book", "MiB, all books"], rows)


def told_of_coming(found: Sequence[Spread]) -> str:
    rows = [
        [
            f"{one.peers:,}",
            f"{one.receipts:,}",
            f"{one.rounds}",
            f"{median(one.delays):.0f} ({max(one.delays)})",
            *(f"{_mebi(one.came, kind)}" for kind in ("receipts", "questions", "beacons")),
            f"{one.receipts / one.peers * _size(one):.1f}",
            f"{one.asked / one.peers:.0f}, {100 * one.in_vain / one.asked:.0f} %",
        ]
        for one in found
    ]
    header = ["peers", "receipts", "rounds in all", "rounds until a receipt is with everybody, median (most)"]
    header += ["MiB of receipts that came to each", "of questions", "of beacons", "MiB of all receipts"]
    return markdown([*header, "questions of each, in vain"], rows)


def _size(one: Spread) -> float:
    return one.bytes / 2**20 / one.receipts * one.peers


def _mebi(sizes: Sequence[object], kind: str) -> str:
    """Median and most."""
    found = [getattr(one, kind) / 2**20 for one in sizes]
    return f"{median(found):.2f} ({max(found):.2f})"


def told_of_books(found: Sequence[OneBook]) -> str:
    rows = [[row.what, *(_cell(one.rows[place]) for one in found)] for place, row in enumerate(found[0].rows)]
    sizes = [f"{one.file / 2**20:.0f} MiB" for one in found]
    rows.insert(0, ["the file", *sizes])
    rows.insert(1, ["a question", *(f"{one.question / 2**10:.0f} KiB" for one in found)])
    return markdown(["", *(f"{one.peers:,} peers, {one.receipts:,} receipts" for one in found)], rows)


def _cell(row: Took) -> str:
    took = f"{row.took_s:.2f} s" if row.took_s >= 0.1 else f"{row.took_s * 1e3:.3g} ms"
    return f"{took}, {row.added:.0f} MiB" if row.added >= 1 else took


def told_of_mesh(found: Sequence[Mesh]) -> str:
    rows = [
        [
            f"{one.peers}",
            f"{one.receipts:,}",
            f"{one.met_s:.1f}",
            f"{one.median_s * 1e3:.0f}",
            f"{one.all_median_s * 1e3:.0f}",
            f"{one.most_s:.1f}",
            f"{one.equal_s:.1f}",
            f"{one.late_s:.2f}",
            f"{one.met_questions:.0f}, {one.questions:.1f}",
            f"{one.idle_heard:.1f}",
            f"{1e3 * one.idle / one.peers:.1f}",
            f"{1e3 * one.busy / one.peers:.1f}",
            f"{one.rss:.0f}, {one.pss:.0f}",
        ]
        for one in found
    ]
    header = ["peers", "receipts", "s from nothing until all know all", "ms until one other peer has a receipt, median"]
    header += ["ms until the last has it, median", "s, most of all", "s from the last receipt until all are equal"]
    header += [
        "s until a late joiner has all",
        "questions of each: until all knew all, then",
        "beacons a second that each hears",
        "a peer that says nothing, ms of a core a second",
    ]
    return markdown([*header, "while receipts are said", "MiB of one peer, and its own part"], rows)


def page(spread: list[Spread], coming: list[Spread], books: list[OneBook], meshes: list[Mesh]) -> str:
    largest, book = max(spread, key=lambda one: one.taken), max(books, key=lambda one: (one.peers, one.receipts))
    rows = {row.what: row for row in book.rows}
    head = book.question / book.peers
    check = rows[SIGNATURE].took_s
    return f"""
## The exchange, all at once

Each peer knows its own receipts and nobody else's, as after a long partition. In a round each hears the beacons of {HEARD} others, drawn anew, and
asks one question; nothing is shown unasked. {largest.peers:,} books of {largest.receipts:,} receipts are in one process: it reads
each receipt once, looks at its signature once, and shares the record between the books. By itself a peer takes {check * 1e6:.0f} us more for each
signature, so {check * largest.receipts:.0f} s for all of them. Median (most) over peers.

{told_of_spread(spread)}
Each receipt comes to each peer once; the rounds are as many as answers of {ANSWER >> 20} MiB that it takes.

## The exchange, as they come

Each says a receipt every {EVERY} rounds and shows it to {SHOWN} others; the rest is found by beacons and questions as above.

{told_of_coming(coming)}
## One peer's book

Processor time of one process; MiB that were added to it.

{told_of_books(books)}
## Real peers over Zenoh

Processes on one machine, each with a book in a file, a key and the real transport, all connected to all; each says {OF_EACH} receipts, at random
moments within {OVER_S:.0f} s. Delays are by the machine's own clock, from before a receipt is signed until another peer has it in its book. All
peers share the cores named below, with whatever else ran on them.

{told_of_mesh(meshes)}
## What gives out first

**The question.** It names every peer with its last receipt: {head:.0f} bytes each, {book.question / 2**10:.0f} KiB for {book.peers:,} peers, whether
one receipt is missing or all. From about {MOST_HEADS / head:,.0f} peers on it is longer than the {MOST_HEADS >> 20} MiB that are
answered, and then nobody is answered any more. Each receipt that comes also has a digest of {book.question / 2**10:.0f} KiB worked out anew
({rows[MORE].took_s * 1e3:.2f} ms with the receipt). Receipts themselves cost one signature each, {check * 1e6:.0f} us, whoever brings them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where what was measured is kept")
    parser.add_argument("--kept", action="store_true", help="tell only what the folder has")
    parser.add_argument("--write", action="store_true", help="write the tables to benchmarks/results")
    parser.add_argument("--book", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.book:
        with tempfile.TemporaryDirectory() as name:
            peers, each = options.book
            print(msgspec.json.encode(one_book(peers, each, Path(name))).decode())
        return
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)

        def all_of(kind: type[T], name: str, cells: Sequence[tuple[int, ...]], measure: Callable[..., T]) -> list[T]:
            paths = {cell: folder / f"{name}-{'-'.join(map(str, cell))}.json" for cell in cells}
            wanted = [cell for cell in cells if not options.kept or paths[cell].exists()]
            return [kept(paths[cell], kind, partial(measure, *cell)) for cell in wanted]

        books = all_of(OneBook, "book", BOOKS, _alone)
        meshes = all_of(Mesh, "mesh", MESHES, lambda peers: mesh(folder / f"mesh-{peers}", peers, OF_EACH, OVER_S))
        coming = all_of(Spread, "coming", THEY_COME, _coming)
        spread = all_of(Spread, "at_once", AT_ONCE, _at_once)
        report("swarm_scale", TITLE, page(spread, coming, books, meshes), options.write)


def kept(path: Path, kind: type[T], measure: Callable[[], T]) -> T:
    """What was measured, once."""
    if not path.exists():
        print(f"measuring {path.stem}", file=sys.stderr, flush=True)
        path.write_bytes(msgspec.json.encode(measure()))
    return msgspec.json.decode(path.read_bytes(), type=kind)


def _alone(peers: int, each: int) -> OneBook:
    command = [sys.executable, "-m", "benchmarks.swarm_scale", "--book", str(peers), str(each)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return msgspec.json.decode(done.splitlines()[-1], type=OneBook)


def _at_once(peers: int, each: int) -> Spread:
    with one_process():
        return at_once(made_up(peers, each), random.Random(1))


def _coming(peers: int, each: int) -> Spread:
    with one_process():
        return as_they_come(made_up(peers, each), random.Random(1), EVERY, SHOWN)


if __name__ == "__main__":
    main()
