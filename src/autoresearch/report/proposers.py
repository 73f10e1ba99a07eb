"""Who proposed what, what came of it and what it cost: lines for a terminal, and plain data. Pure functions of State."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from autoresearch.state import State
from autoresearch.trial import Trial

COLUMNS = ("proposer", "trials", "kept", "gain", "failed", "proposing", "machine", "dollars", "tokens", "odds")


class Account(Struct, frozen=True):
    """
    One proposer's trials so far. `gain` is the sum over what was kept, in the metric's unit; `failures` are trials for
    which it made no change. Seconds are wall seconds: of proposing, and of runs with their scoring. `odds` is how likely
    it is to be asked next, None where it is the only one.
    """

    trials: int = 0
    keeps: int = 0
    gain: float = 0.0
    failures: int = 0
    propose_s: float = 0.0
    machine_s: float = 0.0
    dollars: float = 0.0
    tokens: int = 0
    odds: float | None = None


def accounts(state: State, odds: Mapping[str, float] | None = None) -> dict[str, Account]:
    """By name, those first that were configured to share the study; `odds` are theirs."""
    found = {name: Account(odds=chance) for name, chance in (odds or {}).items()}
    called: dict[str, str] = {}  # what a proposer calls itself -> its name here
    for trial in tuple(state.trials.values()):
        if trial.is_baseline or not trial.proposer:
            continue
        name = trial.proposer
        called[trial.by or name] = name
        before, verdict = found.get(name, Account()), trial.verdict
        kept = trial.word == "keep"
        found[name] = replace(
            before,
            trials=before.trials + 1,
            keeps=before.keeps + kept,
            gain=before.gain + ((verdict.gain if verdict and kept else None) or 0.0),
            failures=before.failures + failed(trial),
            propose_s=before.propose_s + trial.propose_s,
            machine_s=before.machine_s + machine_s(state, trial),
        )
    for who, spent in tuple(state.charged.items()):
        name = who if who in found else called.get(who, who)
        before = found.get(name, Account())
        found[name] = replace(before, dollars=before.dollars + spent.dollars, tokens=before.tokens + spent.tokens)
    return found


def failed(trial: Trial) -> bool:
    """Whether its proposer made no change at all."""
    return trial.word == "rejected" and trial.commit is None


def machine_s(state: State, trial: Trial) -> float:
    """Wall seconds of a trial's runs with their scoring; those of its base that it asked for are among them."""
    measured = (state.runs[run].measurement for run in trial.runs)
    return sum(one.wall_s + one.score_s for one in measured if one)


def data(state: State, odds: Mapping[str, float] | None = None) -> dict[str, Any]:
    return {name: msgspec.to_builtins(account) for name, account in accounts(state, odds).items()}


def lines(state: State, odds: Mapping[str, float] | None = None) -> list[str]:
    """A table, if there is anything to tell: a head, and a line for each proposer."""
    found = accounts(state, odds)
    if not found:
        return []
    rows = [COLUMNS, *(_row(name, account) for name, account in found.items())]
    shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in shown}
    return ["  ".join(f"{row[i]:{'<' if i == 0 else '>'}{widths[i]}}" for i in shown).rstrip() for row in rows]


def _row(name: str, account: Account) -> tuple[str, ...]:
    return (
        "".join(c if c.isprintable() else "�" for c in name)[:40],
        str(account.trials),
        str(account.keeps),
        f"{account.gain:.4g}" if account.keeps else "",
        str(account.failures or ""),
        _time(account.propose_s),
        _time(account.machine_s),
        f"{account.dollars:.2f}" if account.dollars else "",
        f"{account.tokens:,}" if account.tokens else "",
        "" if account.odds is None else f"{account.odds:.0%}",
    )


def _time(seconds: float) -> str:
    if seconds < 0.05:
        return ""
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else f"{seconds / 60:.1f} min"
        if seconds < 3600
        else f"{seconds / 3600:.1f} h"
    )
