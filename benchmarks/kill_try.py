"""
Kills `autoresearch try` with SIGKILL right before each thing that it does outside of its own memory, one after the
other: every file opened for writing, renamed or removed, every folder made, every program started, every lock taken.
Then either the same command is typed again, or the study is run.

After that: the idea was tried exactly once if it had been left with the study or was typed again, its trial was
decided once, nothing waits in the inbox, no worktree is left, and the person's checkout is as it was.

    python -m benchmarks.kill_try --write
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from autoresearch import log
from benchmarks.kill import fingerprint, git
from benchmarks.tables import markdown, report

IDEA = "an idea of the person's"
STUDY = """
name = "kill"
asset = ["candidate.sh"]
[metric]
name = "score"
direction = "maximize"
max_step = 10.0
[measure]
run = "sh candidate.sh"
timeout_s = 20
[execute]
workers = 1
sandbox = "none"
[decide]
calibrate = 2
[propose]
with = ["script"]
script = "plan.jsonl"
"""
# Counts what the program does outside of its memory; dies right before the n-th. 0: lives, and prints how many.
KILLER = """
import os, signal, sys
at, seen = int(sys.argv.pop(1)), 0
named = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.posix_spawn", "os.fork", "fcntl.flock"}
def watch(event, args):
    global seen
    if event in named or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from autoresearch.cli import main
try:
    main()
finally:
    print(seen, file=sys.stderr)
"""


class Attempt:
    """One study, and one idea that is killed on its way into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.patch = folder.with_name("idea.patch")
        folder.mkdir(parents=True)
        files = {"study.toml": STUDY, "candidate.sh": "echo METRIC score=1\n"}
        files["plan.jsonl"] = json.dumps({"idea": "own", "files": {"candidate.sh": "echo METRIC score=2\n"}}) + "\n"
        for name, content in files.items():
            (folder / name).write_text(content)
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", "-A")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start")
        (folder / "candidate.sh").write_text("echo METRIC score=3\n")
        self.patch.write_text(git(folder, "diff") + "\n")
        git(folder, "checkout", "-q", ".")
        self.before = fingerprint(folder)

    def typed(self, kill_at: int) -> subprocess.CompletedProcess[str]:
        words = ["try", IDEA, "-C", str(self.folder), "--patch", str(self.patch)]
        command = [sys.executable, "-c", KILLER, str(kill_at), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def run(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "autoresearch", "run", "-C", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def survive(self, kill_at: int, again: bool) -> str:
        """Kill, go on, check; how far the idea had come."""
        killed = self.typed(kill_at)
        assert killed.returncode in (-9, 0), killed.stderr
        where = self._where() if killed.returncode else "lived"  # it does not do the same number of things each time
        done = self.typed(0) if again else self.run()
        if where in {"lived", "decided"}:  # typed again it is refused, since the best has the change already
            done = self.run()
        assert done.returncode == 0, f"killed at {kill_at} ({where}), then: {done.stderr}"
        self._check(expected=again or where != "nowhere")
        return where

    def _where(self) -> str:
        path = self.folder / ".autoresearch" / "events.jsonl"
        state = log.read(path)
        if state.wishes.asked:
            key = next(iter(state.wishes.asked))
            trial = state.trials.get(state.wishes.carried.get(key, -1))
            return "in the log" if trial is None else "decided" if trial.verdict else "in its trial"
        return "in the inbox" if list(path.parent.glob("inbox/idea-*")) else "nowhere"

    def _check(self, expected: bool) -> None:
        path = self.folder / ".autoresearch" / "events.jsonl"
        state = log.read(path)
        theirs = [trial for trial in state.trials.values() if trial.by == "person"]
        assert len(theirs) == expected, f"tried {len(theirs)} times"
        assert all(trial.word == "keep" and trial.idea == IDEA for trial in theirs), theirs
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        numbers = {trial.id for trial in theirs}
        kinds = Counter(line["event"] for line in lines if line.get("trial") in numbers)
        assert all(kinds[kind] == expected for kind in ("trial_started", "trial_proposed", "trial_decided")), kinds
        assert not state.wishes.pending, "it waits for ever"
        assert not list(path.parent.glob("inbox/idea-*")), "left in the inbox"
        worktrees = git(self.folder, "worktree", "list")
        assert worktrees.count("\n") == 0, f"a worktree was left: {worktrees}"
        assert fingerprint(self.folder) == self.before, "the person's checkout was touched"


def places() -> int:
    """Where it can be killed: so many things it does."""
    with tempfile.TemporaryDirectory() as name:
        return int(Attempt(Path(name) / "study").typed(0).stderr.splitlines()[-1])


def run(points: list[int]) -> Counter[str]:
    """Kill at each of these; how far the idea had come, and how often."""
    found: Counter[str] = Counter()
    for n, point in enumerate(points):
        with tempfile.TemporaryDirectory() as name:
            found[Attempt(Path(name) / "study").survive(point, again=n % 2 == 0)] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    started, all_of_them = time.monotonic(), places()
    found = run([*range(1, all_of_them + 1), *range(all_of_them, 0, -1)])  # each place, gone on with in both ways
    rows = [
        [where, str(found[where])] for where in ("nowhere", "in the inbox", "in the log", "in its trial", "decided")
    ]
    table = markdown(["when it was killed, the idea was", "kills"], [*rows, ["lost, or tried twice", "0"]])
    minutes = (time.monotonic() - started) / 60
    text = f"{table}\n{all_of_them} places. A violation ends the program with an error. Took {minutes:.0f} minutes."
    report("kill_try", "An idea, killed at every step", text, options.write)


if __name__ == "__main__":
    main()
