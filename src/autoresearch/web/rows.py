"""
What the page shows of a study, as plain data: a trial as a row, and all else that fits one screen as the head.

Pure functions of State. Texts go out as they are but for control characters: the page shows them as text alone.
"""

import statistics
from itertools import islice
from typing import Any

from autoresearch.report import claim as claims
from autoresearch.report import text
from autoresearch.state import Spent, State
from autoresearch.trial import Claim, Trial

IDEA_LENGTH = 200  # characters of an idea in a row; the trial's own page has all of it
LATEST = 20  # trials that the pace is taken from
SENT = 50  # waiting ideas, notes and proposers at most
PEOPLE = "Measured on people: who came, what they did and what resonates is in the map below."
COLUMNS = (
    *("id", "word", "value", "gain", "error", "cost", "runs", "idea", "by", "parent", "at"),
    *("added", "removed", "flags", "baseline"),
)


def clean(words: str, most: int | None = None) -> str:
    """Text of unknown origin without control characters (those that turn the writing direction among them)."""
    cut = words if most is None or len(words) <= most else words[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in cut)


def row(trial: Trial, parent: int | None) -> list[Any]:
    """One trial, in the order of COLUMNS; `parent` is the trial whose change it builds on."""
    verdict = trial.verdict
    return [
        trial.id,
        trial.word,
        verdict.value if verdict else None,
        verdict.gain if verdict else None,
        verdict.error if verdict else None,
        verdict.cost if verdict else None,
        len(trial.runs),
        clean(trial.idea, IDEA_LENGTH),
        clean(trial.by, 40),
        parent,
        trial.decided_at or trial.started_at,
        *trial.lines,
        len(verdict.flags) if verdict else 0,
        int(trial.is_baseline),
    ]


def head(state: State, live: bool = False) -> dict[str, Any]:
    """All but the trials. Without `study` where nothing was ever run. What people did to a live study is in its store, and told by its map."""
    if state.opened is None:
        return {"study": None, "summary": "This study has not been run yet: autoresearch run"}
    metric, noise = state.metric, state.noise
    return {
        "study": clean(state.opened.study, 80),
        "metric": {"name": clean(metric.name, 80), "direction": metric.direction, "unit": clean(metric.unit, 40)},
        "summary": PEOPLE if live else clean(text.summary(state)),
        "remarks": [clean(one) for one in (text.held(state), text.drift(state)) if one],
        "start": text.start_value(state),
        "best": text.best_value(state),
        "best_trial": state.best.trial if state.best else None,
        "noise": noise.sd if noise else None,
        "counts": state.counts,
        "decided": state.decided,
        "runs": len(state.runs),
        "spent_s": state.spent_s,
        "per_hour": pace(state),
        "dollars": state.dollars,
        "machine_dollars": state.ledger.machine if state.ledger.was_priced else None,
        "tokens": state.tokens,
        "tier": clean(state.tier, 120),
        "workers": state.session.workers if state.session else 1,
        "proposers": proposers(state),
        "claim": claim(state, state.claims[-1]) if state.claims else None,
        "waiting": [clean(idea.idea, IDEA_LENGTH) for idea in state.wishes.pending[:SENT]],
        "notes": [
            {"number": n.note, "text": clean(n.text), "by": clean(n.by, 40)}
            for n in list(state.wishes.notes.values())[-SENT:]
        ],
    }


def pace(state: State) -> float | None:
    """Trials an hour, over the latest."""
    latest = islice((t.decided_at for t in reversed(state.trials.values()) if t.decided_at), LATEST)
    times = sorted(latest)
    return (len(times) - 1) / (times[-1] - times[0]) * 3600 if len(times) > 2 and times[-1] > times[0] else None


def proposers(state: State) -> list[dict[str, Any]]:
    """What each of them tried, what came of it, and what its calls to models cost."""
    tried: dict[str, list[Trial]] = {}
    for trial in state.trials.values():
        if trial.by and not trial.is_baseline:
            tried.setdefault(trial.by, []).append(trial)
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys([*tried, *state.charged]):
        theirs, spent = tried.get(name, []), state.charged.get(name, Spent())
        gains = [t.verdict.gain for t in theirs if t.word == "keep" and t.verdict and t.verdict.gain is not None]
        found.append(
            {
                "name": clean(name, 40),
                "tried": len(theirs),
                "kept": sum(t.word == "keep" for t in theirs),
                "failed": sum(t.word in ("crash", "timeout", "rejected") for t in theirs),
                "gain": sum(gains) if gains else None,
                "median": statistics.median(gains) if gains else None,
                "calls": spent.calls,
                "tokens": spent.tokens,
                "dollars": spent.dollars,
            }
        )
    return sorted(found, key=lambda one: -one["tried"])[:SENT]


def claim(state: State, found: Claim) -> dict[str, Any]:
    """What was certified, in words and as points for the picture."""
    at = next((i for i in reversed(state.kept) if state.trials[i].kept_as == found.best), None)
    return {
        "sentence": clean(claims.sentence(found, state.metric)),
        "now": state.best is not None and (found.tree, found.digest) == (state.best.tree, state.digest),
        "before": found.before,
        "after": found.after,
        "gain": found.gain,
        "low": found.low,
        "high": found.high,
        "held": found.held,
        "proof": found.low > 0,
        "trial": at,
        "shares": [
            {
                "trials": list(share.trials),
                "idea": clean(share.idea, IDEA_LENGTH),
                "gain": share.gain,
                "low": share.low,
                "high": share.high,
                "word": "carries nothing"
                if set(share.trials) <= set(found.passengers)
                else "proven"
                if share.proven
                else clean(share.why, IDEA_LENGTH) or "likely",
            }
            for share in found.shares
        ],
    }
