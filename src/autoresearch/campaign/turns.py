"""
The loop of a live study: levels are proposed, approved, shown and decided, and plans are made of what was seen.

What a run is to other studies, traffic is to this one: it costs nobody a slot, so one thread does all of it, and sleeps. A plan and a
decision are pure functions of the records up to a number; this only says when they are made, and writes down what follows.
"""

import functools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from autoresearch.campaign import house, levels
from autoresearch.campaign.atlas import decided
from autoresearch.campaign.known import Known, known
from autoresearch.campaign.levels import Level
from autoresearch.campaign.own import Own
from autoresearch.errors import NothingLeft, ProposerError, StudyError
from autoresearch.events import (
    IdeaAsked,
    RunFinished,
    RunStarted,
    StudyOpened,
    TrialApproved,
    TrialDecided,
    TrialStarted,
    TrialWithdrawn,
)
from autoresearch.git import git
from autoresearch.lab import Lab
from autoresearch.live import bandit, brand
from autoresearch.live.deciding import Decision, Reading
from autoresearch.live.records import Plan
from autoresearch.live.settings import Live
from autoresearch.live.store import Store
from autoresearch.live.variables import FILE, Variables, check_named, key, parse
from autoresearch.loop import move_best, record, take_up, told
from autoresearch.trial import Limits, Machine, Measurement, Proposal, Purpose, Run, Trial, Verdict
from autoresearch.workspace import Tree

MOST_OPEN = 8  # levels that wait or are shown, before a proposer is asked for more
MOST_REFUSED = 3  # proposals in a row that came to nothing, before it is asked again with the next plan only
PERSON = "person"
LEAST_WON = 20  # outcomes of the defaults before their rate is the value to beat
WIDTH = 2 * 1.96  # standard errors in an interval


def machine(live: Live) -> Machine:
    """Where values of such a study come from: they compare with no other's."""
    return Machine("simulated visitors" if live.simulated else "real visitors", 1)


def given(level: Level, idea: str, by: str) -> Callable[[Tree], tuple[Level, Proposal]]:
    """A level that is known already."""
    return lambda tree: (level, Proposal(idea, by))


class Campaign:
    """One session's. `home` is the study's .autoresearch; `clock` is in seconds since 1970."""

    def __init__(self, lab: Lab, home: Path, store: Store, clock: Callable[[], float] = time.time) -> None:
        assert lab.study.live is not None
        self.lab, self.live, self.home, self.store, self.clock = lab, lab.study.live, home, store, clock
        self.refused = 0  # proposals in a row that came to nothing
        self._planned: dict[str, set[str]] | None = None  # levels of the latest plan
        self._texts: dict[str, str] = {}  # commit -> the file
        self._parsed = functools.lru_cache(maxsize=64)(parse)
        own = Own(lab.workspace, self.opened.start, self.live)
        self.brand = own.rules
        check_named(self.live, self._parsed(self._text(self.opened.start)))
        self.prior = house.prior(own)
        for doubt in (*own.doubts(self.variables())[:3], *own.left_out()):
            lab.tell(doubt)

    @property
    def opened(self) -> StudyOpened:
        assert self.lab.log.state.opened is not None
        return self.lab.log.state.opened

    def turn(self) -> None:
        """Everything that is due now."""
        state, now = self.lab.log.state, self.clock()
        self._begin()
        self._hear()
        if not self.lab.log.paused:
            self._open_own()
            self._ask()
        plan = self.store.plan()
        allowed = levels.allowed(self.variables(), levels.shown(state).values())
        if plan is None or now - plan.at >= self.live.every_minutes * 60 or allowed != self._planned:
            self.refused = 0
            facts = known(self.store, self.live, now)
            self._decide(facts, allowed, plan)
            self._replan(facts, plan)

    # -- levels --------------------------------------------------------------------------------------------

    def variables(self) -> Variables:
        """Those of the best."""
        best = self.lab.log.state.best
        assert best is not None
        return self._parsed(self._text(best.commit))

    def _text(self, commit: str) -> str:
        if commit not in self._texts:
            space = self.lab.workspace
            self._texts[commit] = git(space.folder, "show", f"{commit}:{space.prefix}{FILE}").decode()
        return self._texts[commit]

    def _begin(self) -> None:
        """The defaults as they stand are the first trial; and what a killed session began and did not finish never was."""
        log = self.lab.log
        best = log.state.best
        if best is not None and not log.state.trials:
            log.append(TrialStarted(trial=log.state.next_trial, base=best.commit, base_tree=best.tree, baseline=True))
        for number in [number for number in log.state.unfinished if log.state.trials[number].commit is None]:
            log.append(TrialWithdrawn(trial=number, why="the program was ended"))

    def _open_own(self) -> None:
        """
        A trial for each level that the person wrote into the file or asked for; and for each that was better than a best that has
        moved.
        """
        state = self.lab.log.state
        for number in tuple(state.stale):
            if (level := levels.of(state.trials[number])) is not None:
                self._make(self._start(again=number), given(level, state.trials[number].idea, state.trials[number].by))
        for asked in state.wishes.pending:
            if trial := self._start(wish=asked.key):
                self._make(trial, partial(self._asked_for, asked, trial))
        were = {
            item
            for number in state.kept
            for item in self._parsed(self._text(state.trials[number].kept_as or "")).default.items()
        }
        for level in levels.untried(self.variables(), state, were):
            self._make(self._start(), given(level, f"{level.variable}: {level.text}", PERSON))

    def _start(self, again: int | None = None, wish: str = "") -> Trial | None:
        """A new trial on the best; None where the budget allows none."""
        log = self.lab.log
        with log.lock:
            best = log.state.best
            assert best is not None
            if again is None and not self.lab.may_start(log.state, len(log.state.unfinished)):
                return None
            number = log.state.next_trial
            begun = TrialStarted(trial=number, base=best.commit, base_tree=best.tree, again=again, wish=wish)
            log.append(begun)
            return log.state.trials[number]

    def _make(self, trial: Trial | None, write: Callable[[Tree], tuple[Level, Proposal]]) -> bool:
        """Give a trial its level. False where nothing came of it, of which the log says why."""
        if trial is None:
            return False
        lab, began = self.lab, time.monotonic()
        try:
            with lab.workspace.open(trial) as tree:
                level, proposal = write(tree)
                if trial.again is None and level.at in levels.tried(lab.log.state):
                    raise StudyError(
                        f"{FILE}: {level.variable} had a level {level.name!r} already; give it another name"
                    )
                self._record(trial, tree, level, proposal, time.monotonic() - began)
        except (ProposerError, StudyError) as error:
            took_s = round(time.monotonic() - began, 3)
            lab.log.append(TrialDecided(trial=trial.id, verdict=Verdict("rejected", str(error)), propose_s=took_s))
            return False
        except NothingLeft as error:
            lab.log.exhausted = str(error)
            return False
        finally:
            lab.log.release(trial)
        return True

    def _asked_for(self, asked: IdeaAsked, trial: Trial, tree: Tree) -> tuple[Level, Proposal]:
        """What somebody asked for by `try` or through the MCP server."""
        tree.carry(asked.base, asked.commit, "the change that was asked for")
        return self._added(trial, tree), Proposal(asked.idea, asked.by)

    def _proposed(self, trial: Trial, tree: Tree) -> tuple[Level, Proposal]:
        lab = self.lab
        proposal = lab.proposer.propose(tree, told(lab, trial), Limits(lab.study.propose.timeout_s, trial.id))
        return self._added(trial, tree), proposal

    def _added(self, trial: Trial, tree: Tree) -> Level:
        """The level that a changed worktree adds to what the trial starts from."""
        try:
            after = (tree.path / FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"{FILE}: cannot be read ({error})") from None
        return levels.added(parse(self._text(trial.base)), parse(after))

    def _record(self, trial: Trial, tree: Tree, level: Level, proposal: Proposal, took_s: float = 0.0) -> None:
        """The commit that has the level as a default, and whether it may be shown: by the rules of the brand, and by a person."""
        lab, before = self.lab, self._text(trial.base)
        tree.reset(trial.base_tree)
        (tree.path / FILE).write_text(levels.written(before, level))
        problem = "; ".join(self.breaches(level, before)[:3])
        change = tree.change()
        proposal = replace(proposal, memo={**proposal.memo, **levels.memo(level)})
        trial = record(
            lab, trial, proposal, change, lab.workspace.commit(tree, change, trial, proposal), took_s, problem
        )
        if trial.problem:
            lab.log.append(TrialDecided(trial=trial.id, verdict=Verdict("rejected", trial.problem)))
        elif self.live.approve == "rules" and not trial.approved:
            lab.log.append(TrialApproved(trial=trial.id))
        elif not trial.approved:
            lab.tell(
                f"trial {trial.id} waits for your word: {level.variable} = {level.text!r}. `autoresearch live approve {trial.id}`"
            )

    def breaches(self, level: Level, before: str) -> tuple[str, ...]:
        """What of the brand's rules a level would break."""
        if self.brand is None:
            return ()
        alone = levels.defaults_only(parse(before))
        already = brand.breaches(self.brand, alone)
        return tuple(
            breach for breach in brand.breaches(self.brand, levels.joined(alone, [level])) if breach not in already
        )

    # -- what comes from outside -----------------------------------------------------------------------------

    def _hear(self) -> None:
        """What the person said since."""
        log, inbox = self.lab.log, self.lab.inbox
        take_up(log, inbox)
        for number, word in inbox.approvals():
            with log.lock:
                trial = log.state.trials.get(number)
                if trial is not None and trial.verdict is None and levels.of(trial) is not None:
                    if word.yes:
                        log.append(TrialApproved(trial=number))
                    else:
                        why = f"a person said no{f': {word.why}' if word.why else ''}"
                        log.append(TrialDecided(trial=number, verdict=Verdict("rejected", why)))
            inbox.approved(number)

    def _ask(self) -> None:
        """Ask the proposer for one more level, unless enough are open."""
        lab = self.lab
        state = lab.log.state
        if len(levels.shown(state)) + len(levels.waiting(state)) >= MOST_OPEN or self.refused >= MOST_REFUSED:
            return
        if list(lab.study.propose.with_) == ["search"] or lab.log.exhausted or (trial := self._start()) is None:
            return
        self.refused += not self._make(trial, partial(self._proposed, trial))

    # -- deciding ------------------------------------------------------------------------------------------

    def _decide(self, facts: Known, allowed: dict[str, set[str]], plan: Plan | None) -> None:
        """Write down what is known by now."""
        if plan is None:
            return
        of = self.lab.log.state, self.variables(), self.live, facts, allowed, self.prior
        by_level = {level.at: number for number, level in levels.shown(self.lab.log.state).items()}
        found = decided(*of, whole_map=False)
        if any(one.word in ("keep", "discard") and (one.variable, one.level) in by_level for one in found.readings):
            found = decided(*of)  # what is written down is what the map says
        self._know_baseline(found)
        if found.halt:
            self.lab.tell(f"everybody is shown the defaults from now on: {found.halt}")
            self.lab.log.stop(found.halt)
            return
        readings = {(one.variable, one.level): one for one in found.readings if not one.segment}
        for stop in found.stops:
            if (number := by_level.pop((stop.variable, stop.level), None)) is not None:
                self._close(number, readings.get((stop.variable, stop.level)), "discard", stop.why)
        for at, number in by_level.items():
            reading = readings.get(at)
            if reading is not None and reading.word in ("keep", "discard"):
                self._close(number, reading, reading.word, reading.why)

    def _know_baseline(self, found: Decision) -> None:
        """The rate of the defaults, once it is known at all."""
        log = self.lab.log
        trial = log.state.trials[min(log.state.trials)]
        if not trial.is_baseline or trial.verdict is not None:
            return
        default = [one for one in found.readings if one.word == "default" and not one.segment]
        least = min(default, key=lambda one: one.won, default=None)
        if least is None or least.won < LEAST_WON:
            return
        rate = least.won / least.shown
        self._measured(trial, rate, least.shown, least.won, "record")
        # Of the default that the fewest saw: whole pages of defaults alone are the holdout's, and few.
        why = f"the rate with {least.variable} = {least.level}, the default: {rate:.2%} of {least.shown:.0f}, whatever stood beside it"
        log.append(TrialDecided(trial=trial.id, verdict=Verdict("keep", why, value=rate), kept_as=trial.base))

    def _close(self, number: int, reading: Reading | None, word: str, why: str) -> None:
        """Decide a level's trial. What is better than a best that has moved since is tried again on the new one."""
        lab = self.lab
        state, trial = lab.log.state, lab.log.state.trials[number]
        rate = state.mean(state.best.tree) if state.best else None
        level = levels.of(trial)
        assert level is not None
        now = self.variables()
        if word == "keep" and (rate is None or not now.allowed({**now.default, level.variable: level.name})):
            return  # the value to beat is not known yet; or another default forbids it, as long as it is one
        verdict = Verdict(
            "keep" if word == "keep" else "discard", why, flags=(reading.fades,) if reading and reading.fades else ()
        )
        if reading is not None and rate is not None:
            gain = rate * reading.effect
            verdict = replace(
                verdict,
                value=rate + gain,
                base_value=rate,
                gain=gain,
                error=rate * (reading.high - reading.low) / WIDTH,
            )
        with lab.log.lock:
            moved = state.best is not None and state.best.commit != trial.base
            if verdict.word == "keep" and moved:
                verdict = replace(
                    verdict,
                    word="stale",
                    why=f"{why}; the defaults have changed since, and it is made one of the new ones",
                )
            if verdict.word != "stale" and reading is not None and verdict.value is not None:
                self._measured(trial, verdict.value, reading.shown, reading.won, "trial")
            kept_as = lab.workspace.keep(trial, verdict) if verdict.word == "keep" else None
            lab.log.append(TrialDecided(trial=number, verdict=verdict, kept_as=kept_as))
            if kept_as:
                move_best(lab.log, lab.workspace, lab.tell)

    def _measured(self, trial: Trial, value: float, shown: float, won: float, purpose: Purpose) -> None:
        """What traffic said of a trial, as other studies write a run down."""
        state, log = self.lab.log.state, self.lab.log
        assert trial.tree is not None
        assert trial.commit is not None
        run = Run(
            state.next_run,
            trial.id,
            trial.tree,
            trial.commit,
            0,
            0,
            state.digest,
            round(self.clock(), 3),
            purpose=purpose,
        )
        log.append(RunStarted(run=run))
        extras = {"exposures": shown, "outcomes": won}
        log.append(
            RunFinished(run=run.id, measurement=Measurement("ok", value, state.digest, machine(self.live), extras))
        )

    # -- plans ---------------------------------------------------------------------------------------------

    def _replan(self, facts: Known, before: Plan | None) -> None:
        """Who is shown what from now on; where the study was halted, everybody the defaults."""
        state = self.lab.log.state
        everything = levels.ever_approved(state, self.variables())
        number, now, seen = before.number + 1 if before else 1, facts.until, facts.seen
        allowed = levels.allowed(self.variables(), levels.shown(state).values())
        house.publish(self.home, self.opened.start, everything)
        if self.lab.log.stopping:
            default = key(self.variables().default)
            plan = Plan(number, now, seen, self.opened.seed, default, self.live.holdout, {"": {default: 1.0}})
        else:
            belief = facts.believed(everything, allowed, self.live, self.prior)
            plan = bandit.planned(belief, self.live, number, now, seen, self.opened.seed)
        self.store.add_plan(plan)
        self._planned = allowed
