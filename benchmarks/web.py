"""
The live page of a large study: first paint, interaction, memory; and the server's memory while readers follow it.

    python -m benchmarks.web --write

Needs the extra `web`, playwright and a Chromium. The page is a real one, in a headless Chromium, served by
`autoresearch web` in a process of its own.
"""

import argparse
import contextlib
import http.client
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from autoresearch.events import (
    Event,
    RunFinished,
    RunStarted,
    SessionStarted,
    StudyOpened,
    TrialDecided,
    TrialProposed,
    TrialStarted,
)
from autoresearch.trial import Machine, Measurement, Metric, Run, Verdict
from autoresearch.workspace import HOME
from benchmarks.replay import sha
from benchmarks.tables import markdown, report

SIZES = (100, 1_000, 10_000)
LOADS = 5  # of the page, of which the median is told
MACHINE = Machine("a processor, 1 core", 1, "a processor")
HOUR_TRIALS = 120  # in the hour that is simulated
COMPRESSED = 60  # times: how much faster than an hour it goes, the server's own clock too
BEFORE = 1_000  # trials before that hour
READERS = 4
# `autoresearch web`, looking at the log and at the machine so many times more often.
FASTER = (
    "import sys; from autoresearch.web import app; app.TICK_S /= float(sys.argv.pop(1)); "
    "from autoresearch.cli import main; main()"
)
STUDY = 'name = "s"\nasset = ["train.py"]\n[metric]\nname = "val_bpb"\n[measure]\nrun = "python train.py"\n'

# When the first row of the table is on screen: the picture was drawn in the same frame.
WATCH = """
new MutationObserver((_, observer) => {
  if (!document.querySelector('#view .row')) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""
FRAME = "const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));"
FILTER = f"""async () => {{ {FRAME}
  const input = document.querySelector('#search'), times = [];
  for (const words of ['1', '12', '123', '12', '1', '']) {{
    const begin = performance.now();
    input.value = words; input.dispatchEvent(new Event('input'));
    await frame();
    times.push(performance.now() - begin);
  }}
  return Math.max(...times); }}"""
SCROLL = f"""async () => {{ {FRAME}
  const view = document.querySelector('#view'), times = [];
  for (let i = 0; i < 60; i++) {{
    const begin = performance.now();
    view.scrollTop = (view.scrollHeight * ((i * 37) % 60)) / 60;
    await frame();
    times.push(performance.now() - begin);
  }}
  return Math.max(...times); }}"""
HOVER = f"""async () => {{ {FRAME}
  const over = document.querySelector('#plot .u-over'), box = over.getBoundingClientRect(), times = [];
  for (let i = 1; i < 40; i++) {{
    const begin = performance.now();
    over.dispatchEvent(new MouseEvent('mousemove', {{ clientX: box.left + (box.width * i) / 40, clientY: box.top + box.height / 2 }}));
    await frame();
    times.push(performance.now() - begin);
  }}
  return Math.max(...times); }}"""


def opening() -> list[Event]:
    metric = Metric("val_bpb", "minimize", "bits per byte")
    return [
        StudyOpened(study="s", start=sha(0), start_tree=sha(0), metric=metric, digest="d" * 16, seed=1),
        SessionStarted(pid=1, version="0", machine=MACHINE, workers=1),
    ]


class Best:
    """The value to beat, and the commit that has it."""

    def __init__(self) -> None:
        self.value, self.commit, self.tree = 1.2, sha(0), sha(0)


def trial(i: int, chance: random.Random, best: Best) -> list[Event]:
    """One trial with its run; about one in eighty is kept, and each gains a little."""
    commit, base = sha(i), (best.commit, best.tree, best.value)
    kept = i == 0 or chance.random() < 1 / 80
    value = best.value - chance.expovariate(300) if kept and i else best.value + chance.gauss(0.03, 0.02)
    if kept:
        best.value, best.commit, best.tree = value, commit, commit
    at = 1.7e9 + 30.0 * i
    run = Run(i, i, commit, commit, 0, 7, "d" * 16, at)
    extras = {"train_loss": 3.0, "tokens": 150000.0}
    curve = tuple((k / 50, round(value + 3 / (k + 1), 3)) for k in range(1, 50))
    measured = Measurement("ok", value, "d" * 16, MACHINE, extras, "", 9.0, 8.0, 300.0, 3.0, curve=curve)
    verdict = Verdict("keep" if kept else "discard", "over 1 run", value, base[2], base[2] - value, 0.005)
    proposed = TrialProposed(
        at=at,
        trial=i,
        idea=f"raise LEARNING_RATE 0.0006 -> {i}: not tried yet",
        by="search",
        commit=commit,
        tree=commit,
        lines=(1, 1),
    )
    return [
        TrialStarted(at=at, trial=i, base=base[0], base_tree=base[1], baseline=i == 0),
        *([proposed] if i else []),
        RunStarted(at=at, run=run),
        RunFinished(at=at, run=i, measurement=measured),
        TrialDecided(at=at, trial=i, verdict=verdict, kept_as=commit if kept else None),
    ]


def write(path: Path, events: list[Event], fresh: bool = False) -> None:
    with path.open("wb" if fresh else "ab") as file:
        file.write(b"".join(msgspec.json.encode(event) + b"\n" for event in events))


def study(folder: Path, n: int) -> Best:
    """A study of n trials; what is best at its end."""
    (folder / HOME).mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY)
    chance, best = random.Random(n), Best()
    events = opening()
    for i in range(n):
        events += trial(i, chance, best)
    write(folder / HOME / "events.jsonl", events, fresh=True)
    return best


@contextlib.contextmanager
def served(folder: Path, faster: int = 1) -> Iterator[tuple[str, int]]:
    """`autoresearch web` as a process of its own: its address and its pid."""
    command = [sys.executable, "-c", FASTER, str(faster), "web", "-C", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().partition(": ")[2].partition("#")[0].strip(), process.pid
        finally:
            process.terminate()


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def look(browser: Any, folder: Path, n: int) -> list[str]:
    """A row of the first table."""
    with served(folder) as (address, pid):
        first, painted, sent = [], [], 0.0
        for _ in range(LOADS):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.add_init_script(WATCH)
            tab.goto(address)
            tab.wait_for_selector("#view .row")
            while not tab.evaluate("window.painted"):
                time.sleep(0.01)
            painted.append(tab.evaluate("window.painted"))
            first.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            sizes = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
            sent = tab.evaluate(
                f"{sizes}.filter((one) => !one.name.includes('/api/')).reduce((n, one) => n + one.transferSize, 0)"
            )
            took = [tab.evaluate(script) for script in (FILTER, SCROLL, HOVER)]
            heap = tab.evaluate("performance.memory.usedJSHeapSize") / 2**20
            tab.close()
        nodes = f"{sent / 1000:.0f}"
        cells = [f"{n:,}", nodes, f"{median(first):.0f}", f"{median(painted):.0f}", f"{max(painted):.0f}"]
        return [*cells, *(f"{ms:.0f}" for ms in took), f"{heap:.0f}", f"{resident_mb(pid):.0f}"]


def read(address: str, mark: str, heard: list[int], ending: threading.Event) -> None:
    """One reader of the stream; counts the bytes."""
    host = address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("GET", f"/api/events?since={mark}")
    answer = connection.getresponse()
    while not ending.is_set() and (line := answer.readline()):
        heard[0] += len(line)
    connection.close()


def follow(folder: Path, readers: int, trials: int) -> list[str]:
    """A row of the second table: an hour with so many trials while so many readers follow."""
    best = study(folder, BEFORE)
    chance = random.Random(0)
    with served(folder, COMPRESSED) as (address, pid):
        host = address.removeprefix("http://").rstrip("/")
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", "/api/study")
        mark = json.loads(connection.getresponse().read())["mark"]
        connection.close()
        heard, ending = [0], threading.Event()
        threads = [threading.Thread(target=read, args=(address, mark, heard, ending)) for _ in range(readers)]
        for thread in threads:
            thread.start()
        time.sleep(3)
        seen = [resident_mb(pid)]
        written = BEFORE
        for quarter in range(1, 5):
            until = time.monotonic() + 900 / COMPRESSED
            while written < BEFORE + trials * quarter // 4:
                for event in trial(written, chance, best):
                    write(folder / HOME / "events.jsonl", [event])
                    time.sleep(3600 / COMPRESSED / trials / 5)
                written += 1
            time.sleep(max(0.0, until - time.monotonic()))
            seen.append(resident_mb(pid))
        ending.set()
        for thread in threads:
            thread.join()
    return [str(readers), str(trials), *(f"{mb:.1f}" for mb in seen), f"{heard[0] / 1000:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    looked, followed = [], []
    with tempfile.TemporaryDirectory() as name:
        with sync_playwright() as driver:
            arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--enable-precise-memory-info"]
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
            for n in SIZES:
                study(Path(name) / str(n), n)
                looked.append(look(browser, Path(name) / str(n), n))
            browser.close()
        hours = ((READERS, 0), (1, HOUR_TRIALS), (READERS, HOUR_TRIALS))
        followed = [follow(Path(name) / f"{readers}-{trials}", readers, trials) for readers, trials in hours]
    head = ["trials", "page, kB", "first paint, ms", "study painted, ms", "slowest load, ms"]
    head += ["filter, ms", "scroll, ms", "hover, ms", "page's heap, MiB", "server, MiB"]
    text = (
        f"The page in a headless Chromium without a GPU, 1280 x 900, median of {LOADS} loads. *Study painted*: the picture and the table are\n"
        "on screen. *Filter*, *scroll* and *hover*: the longest of several from the input to the frame that shows it.\n\n"
        f"{markdown(head, looked)}\n"
        f"An hour on top of {BEFORE:,} trials, {COMPRESSED} times as fast: events are written, and the server looks at the log "
        "and the machine, that\nmuch more often. Its resident memory in MiB.\n\n"
    )
    quarters = [
        "readers",
        "trials in the hour",
        "at the start",
        "after 15 min",
        "30 min",
        "45 min",
        "an hour",
        "kB sent",
    ]
    report("web", "The live page of a large study", text + markdown(quarters, followed), options.write)


if __name__ == "__main__":
    main()
