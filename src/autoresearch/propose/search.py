"""
The built-in proposer: finds improvements with no model, by changing constants and leaving things out.

It looks at one constant after another, goes on in a direction that helped, combines what helped by itself,
then draws all constants together from what was learnt; in between it asks what the code can do without.
Everything it knows of the past comes from the brief's trials. Here is the strategy; literals are in knobs.py,
ranges in ranges.py, what trials say in history.py.
"""

import itertools
import random
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import structs

from autoresearch.errors import NothingLeft
from autoresearch.propose import Tree, choices, leap, mixing, sampler, setting, waves
from autoresearch.propose.history import BY, Change, History, Key, Outcome, Wave, Way, best_first, pairs, way
from autoresearch.propose.knobs import EditRefused, Knob, language, read
from autoresearch.propose.making import Given
from autoresearch.propose.move import Move, one, several
from autoresearch.propose.ranges import Size, Value
from autoresearch.propose.simplify import Cut, cuts
from autoresearch.report.brief import Brief
from autoresearch.trial import Limits, Proposal

SIMPLIFY_EVERY = 8
COMBINE = 4  # near misses that are combined in pairs
COMBINATIONS = 5  # on one base: gains within the noise are mostly noise
DRAWS = 20  # a sampler's tries at something new before it is taken to have no more
EVERY = 4096  # combinations of a small, discrete space that are counted out when the sampler has no more

# Words in a name, those first that move results most in most studies.
PROMISE = [
    r"lr|learning|rate",
    r"batch|width|dim|size|embd|hidden",
    r"depth|layers?|heads|decay|wd",
    r"warmup|warmdown|cooldown|schedule|init|std|scale",
    r"betas?|momentum|dropout|clip",
    r"",  # whatever is not named here
    r"eps|epsilon|every|interval",
]


def make(_: Given) -> "Search":
    return Search()


class Search:
    """
    A proposer that needs nothing but the study. The same seed and history give the same proposal.

    Workers share one: `_claimed` and `_trees` hold what was chosen in this process and may not have reached
    the log yet.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.history = History()
        self._lock = threading.Lock()
        self._claimed: set[Key] = set()
        self._trees: set[str] = set()
        self._wave: Wave | None = None

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        """
        Make the most promising change that was not measured yet.

        Raises:
            NothingLeft: every value of every constant, and every cut, was tried.
            StudyError: a `# search:` hint cannot be read.
        """
        files = setting.readable(tree)
        while True:
            with self._lock:
                self.history.update(brief)
                move = self._choose(files, brief)
                self._claimed.add(move.key(brief.base.tree))
            try:
                edited = move.edit(files)
            except EditRefused:
                continue
            for file, source in edited.items():
                (tree.path / file).write_bytes(source)
            result = tree.snapshot()
            with self._lock:
                if brief.known(result) is None and result not in self._trees:
                    self._trees.add(result)
                    return Proposal(move.idea, BY, move.memo)
            for file in edited:
                (tree.path / file).write_bytes(files[file])

    def _choose(self, files: Mapping[str, bytes], brief: Brief) -> Move:
        knobs = [knob for file, source in files.items() for knob in read(file, source)]
        self._claimed = {key for key in self._claimed if key not in self.history.keys}
        plan = Plan(files, knobs, self.history, self._claimed, brief, self.seed, self._wave)
        for move in plan.moves():
            if plan.is_new(move):
                self._wave = move.wave or self._wave
                return move
        if not knobs and not plan.cuts():
            raise NothingLeft(
                "search found nothing to change: no module-level constant in a .py, .toml, .json or .yaml file "
                "of the asset. Give names to the numbers worth tuning, or use another proposer."
            )
        raise NothingLeft(
            "search has tried every value and every cut it knows. Widen a `# search:` hint to go on, or use "
            "another proposer."
        )


class Plan:
    """One choice: what could be proposed now, the most promising first."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        knobs: Sequence[Knob],
        history: History,
        claimed: Collection[Key],
        brief: Brief,
        seed: int,
        wave: Wave | None = None,  # that may not have reached the log yet
    ) -> None:
        self.files, self.history, self.claimed, self.metric = files, history, claimed, brief.metric
        self.slots = 1 if brief.told_less else brief.around.slots  # the Ladder says too little to fit anything
        self.wave = wave or history.wave
        self.knobs = {knob.key: knob for knob in sorted(knobs, key=_promise)}
        batches = choices.batches([knob for knob in self.knobs.values() if knob.range.is_choice])
        self.batches = [batch for batch in batches if len(self.about(batch)) < choices.patience(batch)]
        self.base = brief.base.tree
        self.slopes = leap.slopes(self.knobs.values(), history, self.base)
        self.turn = history.proposed
        self.rng = random.Random(f"{seed} {self.base} {self.turn}")

    def is_new(self, move: Move) -> bool:
        key = move.key(self.base)
        return bool(move.changes or move.cut) and key not in self.history.keys and key not in self.claimed

    def moves(self) -> Iterator[Move]:
        """Lazily: what is not asked for is not computed."""
        yield from self.leap()
        yield from self.couple()
        yield from self.again()
        yield from self.go_on()
        if self.turn % 2 == 0 or all(knob.range.is_choice for knob in self.knobs.values()):
            yield from self.group()
        first = list(self.first_looks())
        if not first and self.turn % SIMPLIFY_EVERY == SIMPLIFY_EVERY - 1:
            yield from self.simplify()
        yield from self.mix()
        yield from self.set_out()
        yield from first
        yield from self.group()
        yield from self.combine()
        if self.turn % 2 == 0:
            yield from self.refine()
        yield from self.sample()
        yield from self.refine()
        yield from self.simplify()
        yield from self.first_looks(hopeless=True)
        yield from self.every()

    # -- one constant ----------------------------------------------------------------------------------

    def again(self) -> Iterator[Move]:
        """One more step in the direction that was kept, the latest first."""
        latest: dict[str, tuple[Change, Outcome]] = {}
        for outcome in reversed(self.history.kept[-10:]):
            if outcome.kind in ("one", "pair", "fitted", "stack"):  # a sampler's draw has no direction
                for key, change in outcome.changes.items():
                    latest.setdefault(key, (change, outcome))
        for key, ((old, new), outcome) in latest.items():
            knob = self.knobs.get(key)
            if knob is None or knob.value != new or knob.range.is_choice:
                continue
            way = 1 if knob.range.coordinate(new) > knob.range.coordinate(old) else -1
            gain = f"gained {outcome.gain:.3g}" if outcome.gain else "was kept"
            for value, direction in knob.range.steps(new):
                if direction == way and not self.was_tried(knob, value):
                    yield one(knob, value, f"the last step this way {gain}", "again")

    def first_looks(self, hopeless: bool = False) -> Iterator[Move]:
        """Every constant once in each direction, those that are known to have a slope first; or those that are foreseen to lose."""
        turned, fresh, other = [], [], []
        for knob in self.knobs.values():
            if any(knob in batch for batch in self.batches):  # see group()
                continue
            steps = [value for value, _ in knob.range.steps(knob.value)]
            new = [value for value in steps if not self.was_tried(knob, value)]
            new = [value for value in new if leap.hopeless(knob, value, self.slopes) == hopeless]
            told = [outcome for value in steps if (outcome := self.history.tried(knob.key, value))]
            if not new:
                continue
            if told and told[0].hurt and told[0].gain is not None:
                turned.append(one(knob, new[0], f"the other way lost {-told[0].gain:.3g}"))
            elif len(new) == len(steps):
                fresh.append(one(knob, new[0], "not tried yet"))
            else:
                other.append(one(knob, new[0], "only the other way was tried"))
        yield from (*turned, *fresh, *other)

    def refine(self) -> Iterator[Move]:
        """Smaller steps where a full one hurt, larger ones where it made no difference."""
        for knob in sorted(self.knobs.values(), key=lambda knob: -self.history.strongest.get(knob.key, 0.0)):
            steps = [self.history.tried(knob.key, value) for value, _ in knob.range.steps(knob.value)]
            hurt = any(outcome.hurt for outcome in steps if outcome)
            sizes: list[Size] = ["fine"] if hurt else ["far", "fine"]
            why = "a full step hurt" if hurt else "a full step made no clear difference"
            for size in sizes:
                for value, _ in knob.range.steps(knob.value, size):
                    if not self.was_tried(knob, value):
                        yield one(knob, value, why)

    def was_tried(self, knob: Knob, value: Value) -> bool:
        """Whether this value was proposed alone, or was the best's before."""
        if self.history.tried(knob.key, value) or self.history.was_best(knob.key, value):
            return True
        key = (self.base, frozenset({(knob.key, value)}))
        return key in self.history.keys or self.is_awaited(knob, value)

    def is_awaited(self, knob: Knob, value: Value) -> bool:
        """Whether a trial of this value alone is about to run, or running."""
        key = (self.base, frozenset({(knob.key, value)}))
        return key in self.claimed or self.history.awaits(knob.key, value)

    # -- several constants -----------------------------------------------------------------------------

    def group(self) -> Iterator[Move]:
        """Several choices at once, drawn from what is known of each option."""
        for batch in self.batches:
            alone = [o for knob in batch for o in self.history.single.get(knob.key, {}).values()]
            outcomes = sorted({o.trial: o for o in [*self.about(batch), *alone]}.values(), key=lambda o: o.trial)
            for drawn in choices.draw(batch, outcomes, self.rng, DRAWS):
                values = {knob.key: value for knob, value in zip(batch, drawn, strict=True)}
                yield several("group", self.knobs, values, "what the options tried so far leave likely")

    def leap(self) -> Iterator[Move]:
        """Each constant to where its own trials say that it is best, all at once."""
        values, gain, error = leap.leap(self.knobs, self.slopes, self.history.leaps_failed)
        if values and not self.history.leapt(self.base, values):
            yield several("leap", self.knobs, values, f"what each did by itself says {gain:+.3g} ± {error:.2g}")

    def couple(self) -> Iterator[Move]:
        """Two constants that seem to do more together than alone."""
        if self.slots >= waves.FEWEST:
            for couple in mixing.couples(self.knobs, self.history):
                why = f"trials of both say {couple.more:+.3g} ± {couple.error:.2g} beyond what each did by itself"
                yield several("couple", self.knobs, couple.values, why)

    def mix(self) -> Iterator[Move]:
        """Many constants at once, so that each two meet, once each was looked at by itself."""
        if self.slots < waves.FEWEST or not all(self.was_looked_at(knob, value) for knob, value in self.steps):
            return
        values = mixing.mix(self.knobs.values(), self.history, self.mixed, self.rng)
        yield several("mix", self.knobs, values, "do any two of them do more together?")

    @property
    def steps(self) -> list[tuple[Knob, Value]]:
        """What each constant may be set to next by itself."""
        return [(knob, value) for knob in self.knobs.values() for value, _ in knob.range.steps(knob.value)]

    @property
    def mixed(self) -> set[frozenset[Way]]:
        """Pairs that met among many, or are about to."""
        claimed = (changed for _, changed in self.claimed)
        now = {key: knob.value for key, knob in self.knobs.items()}
        ways = ([way(key, now[key], new) for key, new in changed if key in now] for changed in claimed)
        return {*self.history.mixed, *(pair for some in ways for pair in pairs(some))}

    def was_looked_at(self, knob: Knob, value: Value) -> bool:
        """Whether the way to this value was tried, is being tried, or comes from a best before."""
        known = self.history.alone(knob.key, knob.value, value) is not None
        return known or self.was_tried(knob, value)

    def go_on(self) -> Iterator[Move]:
        """What is left of the latest wave; after it, what its trials together speak for."""
        if self.wave is None:
            return
        yield from self.rows(self.wave)
        going = (*self.history.pending.values(), *self.claimed)
        if not any(changed <= self.wave.levels for _, changed in going):
            now = {key: knob.value for key, knob in self.knobs.items()}
            for values, why in waves.conclusions(self.wave, self.history, self.base, now):
                yield several("fitted", self.knobs, values, why)

    def set_out(self) -> Iterator[Move]:
        """Another wave, once what each constant does by itself is known, and as much else was tried since the last."""
        last = self.history.wave
        if self.slots < waves.FEWEST or any(
            self.history.alone(knob.key, knob.value, new) is None and not self.history.was_best(knob.key, new)
            for knob, new in self.steps
        ):
            return
        if last is None or self.history.last - min(self.history.waves[last]) >= 2 * len(waves.runs(last)):
            wave = waves.begin(self.knobs.values(), self.history, self.rng)
            yield from self.rows(wave) if wave else ()

    def rows(self, wave: Wave) -> Iterator[Move]:
        """The runs of a wave that are left, while its constants are what they were; on whatever is best."""
        if any(key not in self.knobs or self.knobs[key].value != old for key, old, _ in wave.factors):
            return
        done = {*self.history.waves.get(wave, {}).values(), *(changed for _, changed in self.claimed)}
        rows = waves.runs(wave)
        for number, values in enumerate(rows, 1):
            if frozenset(values.items()) not in done:
                why = f"{number} of {len(rows)} that tell what {len(wave.factors)} constants do together"
                yield structs.replace(several("wave", self.knobs, values, why), wave=wave)

    def about(self, batch: Sequence[Knob]) -> list[Outcome]:
        """Decided trials that changed several of these choices and nothing else."""
        keys = {knob.key for knob in batch}
        return [outcome for outcome in self.history.grouped.values() if outcome.changes.keys() <= keys]

    def combine(self) -> Iterator[Move]:
        """What looked good by itself and was not kept: all of it together, then in pairs."""
        if self.history.combined.get(self.base, 0) >= COMBINATIONS:
            return
        good: dict[str, Outcome] = {}
        for outcome in best_first(o for o in self.history.window.values() if len(o.changes) == 1):
            [(key, (old, _))] = outcome.changes.items()
            settled = outcome.word in ("keep", "stale")  # what is stale is tried on the new best as it is
            if outcome.looked_good and not settled and key in self.knobs and self.knobs[key].value == old:
                good.setdefault(key, outcome)
        for size in [len(good), 2] if len(good) > 2 else [2]:
            for group in itertools.combinations(list(good)[: COMBINE if size == 2 else size], size):
                values = {key: good[key].changes[key][1] for key in group}
                yield several("pair", self.knobs, values, "each looked better by itself")

    def sample(self) -> Iterator[Move]:
        """All constants at once, from what the study has seen."""
        knobs = list(self.knobs.values())
        if not knobs:
            return
        seen = self.history.configurations({knob.key: knob.value for knob in knobs})
        if drawn := sampler.tpe(knobs, seen, self.metric, self.rng):
            yield several("sample", self.knobs, drawn, "what the best trials have in common")
        for _ in range(DRAWS):
            yield several("sample", self.knobs, sampler.nearby(knobs, self.rng), "a little to the side of the best")

    def every(self) -> Iterator[Move]:
        """Where all is discrete and small, what is left of it."""
        spaces = [knob.range.values for knob in self.knobs.values()]
        if None in spaces:
            return
        for values in itertools.islice(itertools.product(*filter(None, spaces)), EVERY):
            yield several("sample", self.knobs, dict(zip(self.knobs, values, strict=True)), "not tried yet")

    # -- leaving things out ----------------------------------------------------------------------------

    def simplify(self) -> Iterator[Move]:
        for file, cut in self.cuts():
            yield Move("simplify", f"remove {cut.words} ({file}:{cut.line}): is anything lost?", cut=cut, file=file)

    def cuts(self) -> list[tuple[str, Cut]]:
        python = [(file, source) for file, source in self.files.items() if language(file) == "python"]
        return [(file, cut) for file, source in python for cut in cuts(file, source)]


def _promise(knob: Knob) -> tuple[int, int]:
    """An order: hinted constants first, then those that move results most in most studies."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", knob.name).lower())
    ranks = [rank for rank, named in enumerate(PROMISE) if any(re.fullmatch(named, word) for word in words)]
    # "WEIGHT_DECAY" has one rank, "LR_EPS" two: the last one says what it is.
    return max(ranks, default=PROMISE.index("")) - len(PROMISE) * knob.range.hinted, knob.line
