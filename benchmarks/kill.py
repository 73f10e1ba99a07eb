"""
Kills the program with SIGKILL at random instants, lets it go on, and looks for anything lost or done twice.

A round starts `autoresearch run`, waits for a random instant (a time, or the moment right after some write to
the log), and kills it; now and then the log is left with a torn line, as a crash in the middle of a write
leaves it. After every round: no process of the study is alive and the old log is a prefix of the new one.
After every study: each trial decided exactly once, no run started twice, each proposal tried exactly once, the
best branch where the fold of the log says, the person's checkout byte-identical.

    python -m benchmarks.kill --rounds 2000 --write
"""

import argparse
import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from autoresearch import log
from autoresearch.state import State
from benchmarks.tables import markdown, report

STEPS = 60  # proposals in one study
LONGEST_S = 1.2  # a round is killed at the latest after this, from the start or from the first write on
BEGINS_S = 30.0  # within which the program has written something, on however busy a machine
STUDY = """
name = "kill"
asset = ["candidate.sh"]
[metric]
name = "score"
direction = "maximize"
[measure]
run = "sh measure.sh"
timeout_s = 20
[execute]
cores = 1
[decide]
calibrate = 2
repeats = 2
[propose]
with = ["script"]
script = "plan.jsonl"
"""
MEASURE = '. ./candidate.sh\necho "METRIC score=$VALUE"\n'


class Rounds:
    """One study, killed again and again until its script is done."""

    def __init__(self, folder: Path, seed: int, workers: int) -> None:
        self.random = random.Random(seed)
        self.folder, self.workers = folder, workers
        self.rounds = self.torn = 0
        self.log = folder / ".autoresearch" / "events.jsonl"
        self._make(folder)
        self.before = fingerprint(folder)

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        files = {"study.toml": STUDY, "measure.sh": MEASURE, "candidate.sh": "VALUE=0\n"}
        plan = [{"idea": f"step {i}", "files": self._step(i)} for i in range(STEPS)]
        files["plan.jsonl"] = "".join(json.dumps(step) + "\n" for step in plan)
        for name, content in files.items():
            (folder / name).write_text(content)
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", "-A")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start")
        (folder / "notes.txt").write_text("an untracked file of the person's\n")

    def _step(self, i: int) -> dict[str, str]:
        """A better one, a worse one, a slow one, one that leaves a process behind, a crash, a forbidden one."""
        value = i + self.random.choice([-3, 0, 5])
        more = self.random.choice(["", "", "sleep 0.2\n", "setsid sleep 300 &\n", "exit 3\n", "touched"])
        if more == "touched":
            return {"measure.sh": f"echo METRIC score={1000 + i}\n"}
        return {"candidate.sh": f"# {i}\nVALUE={value}\n{more}"}

    def command(self) -> list[str]:
        run = [sys.executable, "-m", "autoresearch", "run", "-C", str(self.folder)]
        return [*run, "--workers", str(self.workers)]

    def round(self) -> bool:
        """Start, kill, check. True when the script is done."""
        self.rounds += 1
        written = self.log.read_bytes() if self.log.exists() else b""
        process = subprocess.Popen(
            self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        self._wait(process, len(written))
        process.kill()
        said = process.communicate()[1].decode()
        assert process.returncode in (0, -signal.SIGKILL), f"ended with {process.returncode}: {said}"
        self._no_survivor()
        now = self.log.read_bytes() if self.log.exists() else b""
        whole = written[: written.rfind(b"\n") + 1]
        assert now.startswith(whole), "the log was rewritten"
        check(log.read(self.log))
        if process.returncode == 0:
            return True
        if now and self.random.random() < 0.3:
            self.torn += 1
            line = b'{"event":"run_started","run":{"id":7,"trial":3,"tree":"' + b"ab" * 20
            with self.log.open("ab") as file:
                file.write(line[: self.random.randrange(1, len(line))])
        return False

    def _wait(self, process: subprocess.Popen[bytes], size: int) -> None:
        """Until a random instant from the start on; or from the first write to the log on, or right after the n-th."""
        longest = self.random.uniform(0.15, LONGEST_S)
        by_writes = self.random.random() < 0.5
        left = self.random.randrange(1, 40) if by_writes else math.inf
        # On a busy machine the program may need longer than that to begin: a round that waits for writes waits for the first.
        deadline = time.monotonic() + (BEGINS_S if by_writes else longest)
        written = False
        while time.monotonic() < deadline and left > 0 and process.poll() is None:
            now = self.log.stat().st_size if self.log.exists() else 0
            if now != size:
                left -= 1
                if by_writes and not written:
                    written, deadline = True, time.monotonic() + longest
            size = now
            time.sleep(0 if by_writes else 0.005)

    def _no_survivor(self) -> None:
        deadline = time.monotonic() + 5
        while found := survivors(self.folder):
            assert time.monotonic() < deadline, f"alive after the kill: {found}"
            time.sleep(0.01)

    def finish(self) -> State:
        """Let it run to its end, and check everything that holds then."""
        done = subprocess.run(self.command(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        state = log.read(self.log)
        check(state)
        assert not state.unfinished, "a trial without a verdict"
        assert not state.open_runs, "a run without an end"
        first = Counter(trial.memo["step"] for trial in state.trials.values() if trial.memo and trial.again is None)
        assert first == Counter(range(STEPS)), "a proposal lost or tried twice"
        assert state.best is not None
        for ref in ("refs/heads/autoresearch/kill", "refs/autoresearch/kill/best"):
            assert git(self.folder, "rev-parse", ref) == state.best.commit, f"{ref} is not the fold's best"
        assert fingerprint(self.folder) == self.before, "the person's checkout was touched"
        assert git(self.folder, "worktree", "list").count("\n") == 0, "a worktree was left"
        git(self.folder, "fsck", "--connectivity-only")
        return state


def check(state: State) -> None:
    """What holds at any instant, whatever was killed when."""
    measured = Counter(
        (run.tree, run.seed_index, run.trial if run.careful else None)
        for run in state.runs.values()
        if run.measurement is None or run.measurement.status != "stopped"
    )
    doubled = [key for key, n in measured.items() if n > 1]
    assert not doubled, f"measured twice: {doubled}"
    for trial in state.trials.values():
        assert trial.verdict is None or trial.decided_at is not None
        if trial.word == "keep":
            assert trial.kept_as is not None


def count_events(path: Path) -> None:
    """No id occurs twice where it may occur once; read from the raw lines, not from the fold."""
    seen: Counter[tuple[str, int]] = Counter()
    for line in path.read_bytes().splitlines():
        event = json.loads(line)
        kind = event["event"]
        if kind == "run_started":
            seen[kind, event["run"]["id"]] += 1
        elif kind == "run_finished":
            seen[kind, event["run"]] += 1
        elif kind.startswith("trial_"):
            seen[kind, event.get("trial", 0)] += 1
    twice = [key for key, n in seen.items() if n > 1]
    assert not twice, f"in the log twice: {twice}"


def fingerprint(folder: Path) -> str:
    """Everything of the person's: files, index, HEAD, branches that are not ours, configuration."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if relative.parts[0] == ".autoresearch" or not path.is_file():
            continue
        if relative.parts[0] == ".git" and relative.parts[1] not in {"index", "HEAD", "config", "info", "hooks"}:
            continue
        digest.update(str(relative).encode() + b"\0" + path.read_bytes() + b"\0")
    branches = git(folder, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags")
    digest.update("".join(line for line in branches.splitlines() if "refs/heads/autoresearch/" not in line).encode())
    return digest.hexdigest()


def survivors(folder: Path) -> list[str]:
    """Living processes that work in the study's folder or were started for one of its runs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                where = os.readlink(entry / "cwd")
                env = (entry / "environ").read_bytes()
            except OSError:
                continue
            if (
                state != "Z"
                and str(folder) in f"{where} {words.decode(errors='replace')} {env.decode(errors='replace')}"
            ):
                found.append(f"{entry.name} {words.decode(errors='replace')}")
    return found


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def run(rounds: int, seed: int, workers: int) -> Counter[str]:
    """Studies one after another until so many rounds were killed; what was counted on the way."""
    counted: Counter[str] = Counter()
    while counted["rounds"] < rounds:
        with tempfile.TemporaryDirectory() as name:
            study = Rounds(Path(name) / "study", seed * 1000 + counted["studies"], workers)
            while counted["rounds"] + study.rounds < rounds and not study.round():
                pass
            state = study.finish()
            count_events(study.log)
            counted["rounds"] += study.rounds
            counted["studies"] += 1
            counted["torn lines"] += study.torn
            counted["trials"] += len(state.trials)
            counted["runs"] += len(state.runs)
            stopped = (r.measurement for r in state.runs.values())
            counted["runs cut by a kill"] += sum(m is not None and m.status == "stopped" for m in stopped)
            counted["stale"] += state.counts.get("stale", 0)
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()
    columns = ["rounds", "studies", "trials", "runs", "runs cut by a kill", "stale", "torn lines"]
    rows = []
    for workers in (1, 4):
        counted = run(options.rounds // 2, options.seed, workers)
        rows.append([str(workers), *(str(counted[name]) for name in columns), "0"])
    table = markdown(["workers", *columns, "violations"], rows)
    minutes = (time.monotonic() - started) / 60
    text = f"{table}\nA violation of any claim ends the program with an error, so a table exists only without. Took {minutes:.0f} minutes."
    report("kill", "Killed at random instants", text, options.write)


if __name__ == "__main__":
    main()
