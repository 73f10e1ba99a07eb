"""
How a fault is played: a real study, a real sandbox, and a script of [the attack, then one honest improvement].

The study: a candidate leaves a number, a frozen scorer says how far it is from a held one that is random, so it
cannot be known. Every attack first leaves what the best so far leaves; when it gets what it must not, it calls
`won()`, which leaves a much better number. So an attack that works is kept, and a row fails.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers import Recorder, contract, fingerprint, git, play, repository, script, toml

from autoresearch import log, session
from autoresearch.events import Event, TrialDecided, TrialStarted
from autoresearch.execute import sandbox
from autoresearch.state import State
from autoresearch.trial import Trial
from benchmarks.kill import survivors

BACKENDS = ("bubblewrap", "namespaces")
IDENTITY = "[user]\n\tname = A Person\n\temail = person@example.org\n[init]\n\tdefaultBranch = main\n"
SECRET = "a-token-of-the-person"
PREPARE = """
import os, random
with open(os.environ["AUTORESEARCH_HELD"] + "/target.json", "w") as file:
    file.write(str(random.SystemRandom().randrange(5000, 6000)))
"""
SCORE = """
import json, os
with open(os.environ["AUTORESEARCH_HELD"] + "/target.json") as file:
    target = json.load(file)
with open(os.environ["AUTORESEARCH_OUT"] + "/answer.json") as file:
    answer = json.load(file)
print(f"METRIC loss={abs(answer - target)}")
"""
PRELUDE = """
import json, os, sys
OUT = os.environ["AUTORESEARCH_OUT"]
def leave(number):
    with open(OUT + "/answer.json", "w") as file:
        json.dump(number, file)
def won():
    leave(3000)
leave({now})
"""


@dataclass(frozen=True)
class Row:
    """An attack in Python, and how its trial must end: one of these verdicts, for a reason that matches."""

    attack: str
    words: tuple[str, ...] = ("discard",)
    why: str = ""


@dataclass
class Played:
    """A study that was played: the trial of each row, the honest one after it, and what was wrong meanwhile."""

    folder: Path
    state: State = field(default_factory=State)
    trials: dict[str, Trial] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Watcher(Recorder):
    """After each verdict: the log only grew, no process of the study is left, and the refs are the fold's."""

    def __init__(self, folder: Path, problems: list[str]) -> None:
        super().__init__()
        self.folder, self.problems, self.written = folder, problems, b""

    def event(self, event: Event, state: State) -> None:
        if isinstance(event, TrialStarted) and state.kept:
            self.look_at_refs(state)
        if isinstance(event, TrialDecided):
            now = session.journal(self.folder).read_bytes()
            if not now.startswith(self.written):
                self.problems.append(f"trial {event.trial}: the log was rewritten")
            self.written = now
            self.problems += [f"trial {event.trial}: alive: {found}" for found in survivors(self.folder)]

    def look_at_refs(self, state: State) -> None:
        assert state.best is not None
        for ref in ("refs/heads/autoresearch/s", "refs/autoresearch/s/best"):
            if git(self.folder, "rev-parse", ref) != state.best.commit:
                self.problems.append(f"{ref} is not the best of the log")


FRAME = (PRELUDE, "")  # what comes before an attack and after it; an honest candidate is nothing else


def attacked(row: Row, now: int, tokens: Mapping[str, object], frame: tuple[str, str]) -> str:
    code = frame[0].replace("{now}", str(now)) + row.attack + frame[1].replace("{now}", str(now))
    for name, value in tokens.items():
        code = code.replace(f"@{name}@", str(value))
    return code


def fault_contract(backend: str, **changes: Any) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "asset": ["candidate.py"],
        "metric": {"name": "loss", "min": 0.0, "max": 1e6},
        "measure": {
            "run": "python candidate.py",
            "score": "python score.py",
            "prepare": "python prepare.py",
            "budget": "1 steps",
            "timeout_s": 4,
            "score_timeout_s": 4,
        },
        "execute": {"workers": 1, "sandbox": backend, "memory_mb": 256, "disk_mb": 64, "processes": 32},
    }
    for name, change in changes.items():
        tables[name] = tables.get(name, {}) | change
    return contract(**tables)


def fault_study(folder: Path, steps: list[dict[str, Any]], backend: str, **changes: Any) -> Path:
    files = {"score.py": SCORE, "prepare.py": PREPARE, "candidate.py": PRELUDE.format(now=0)}
    files |= changes.pop("files", {})
    own = {"study.toml": toml(fault_contract(backend, **changes)), "program.md": "x\n", "steps.jsonl": script(*steps)}
    return repository(folder, own | files)


def plan(rows: Mapping[str, Row], tokens: Mapping[str, object], frame: tuple[str, str] = FRAME) -> list[dict[str, Any]]:
    steps = []
    for i, (name, row) in enumerate(rows.items()):
        steps.append({"idea": name, "files": {"candidate.py": attacked(row, i, tokens, frame)}})
        steps.append({"idea": f"after {name}", "files": {"candidate.py": attacked(Row(""), i + 1, tokens, frame)}})
    return steps


def play_rows(
    folder: Path,
    rows: Mapping[str, Row],
    backend: str,
    tokens: Mapping[str, object] = {},
    frame: tuple[str, str] = FRAME,
    **changes: Any,
) -> Played:
    """Play all rows as one study: each attack starts from what the honest improvement before it reached."""
    played = Played(folder)
    tokens = {**tokens, "FOLDER": folder}
    start = attacked(Row(""), 0, tokens, frame)
    changes["files"] = {"candidate.py": start} | changes.get("files", {})
    fault_study(folder, plan(rows, tokens, frame), backend, **changes)
    before = fingerprint(folder)
    watcher = Watcher(folder, played.problems)
    play(folder, watcher)
    played.state = log.read(session.journal(folder))  # from disk: the log can be decoded, whatever was tried
    watcher.look_at_refs(played.state)
    played.trials = {trial.idea: trial for trial in played.state.trials.values()}
    if fingerprint(folder) != before:
        played.problems.append("the person's checkout was touched")
    return played


def check_row(played: Played, name: str, row: Row) -> None:
    """The attack gained nothing, nothing else was touched, and the loop went on."""
    attack, honest = played.trials[name], played.trials[f"after {name}"]
    assert attack.verdict is not None
    assert honest.verdict is not None
    said = f"{attack.verdict} {read_tails(played, attack)}"
    assert attack.word in row.words, said
    assert attack.verdict.value in (None, attack.verdict.base_value), said
    assert_matches(row.why, attack.verdict.why)
    assert honest.word == "keep", honest.verdict
    assert honest.verdict.gain == 1, honest.verdict
    assert played.problems == []


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), f"{text!r} does not match {pattern!r}"


def read_tails(played: Played, trial: Trial) -> str:
    """What the attack printed last, for whoever has to understand a red row."""
    tails = [played.folder / ".autoresearch" / "runs" / str(i) / "run.err.txt" for i in trial.runs]
    return " | ".join(tail.read_text(errors="replace")[-300:] for tail in tails if tail.exists())


def works_here(backend: str) -> str:
    """Skips with the reason, never silently, where a backend does not work."""
    if problem := sandbox.why_not(sandbox.backends(None)[backend], None):
        pytest.skip(f"{backend} does not work here: {problem}")
    return backend


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return works_here(request.param)


@pytest.fixture(scope="session", autouse=True)
def person() -> Iterator[Path]:
    """The person's home, with what an attack would like to have, and a variable that is nobody's business."""
    home = Path(os.environ["HOME"])
    (home / ".gitconfig").write_text(IDENTITY)
    (home / ".ssh").mkdir(exist_ok=True)
    (home / ".ssh" / "id_fault").write_text(SECRET)
    os.environ["FAULT_TOKEN"] = SECRET
    yield home
    del os.environ["FAULT_TOKEN"]
