"""The simulator of policies, in small: what it draws is what it says, and the default policy loses nothing silly."""

import math
import random
import subprocess
from pathlib import Path
from statistics import fmean, stdev, variance

import pytest

from autoresearch import stats
from benchmarks.policies import CLIMBS, CONTENDERS, NULLS, Bench, Contender, Mix, Outcome, World, certify, play, ratio
from benchmarks.rules import EXTENDED, REPEATS, critical, detectable, in_pairs, own_runs, signed_ranks

BY_NAME = {contender.name: contender for contender in CONTENDERS}
CLIMB, GREEDY = BY_NAME["climb"], BY_NAME["greedy"]
EASY = next(mix for mix in CLIMBS if mix.name == "wide gains" and not mix.rho)
NULL = next(mix for mix in NULLS if mix.name == "no effects" and not mix.rho)


def played(mix: Mix, contender: Contender, studies: int, runs: int = 100) -> list[Outcome]:
    return [play(mix, contender, number, runs) for number in range(studies)]


def test_climb_finds_most_of_what_greedy_finds_where_gains_are_large() -> None:
    found, _ = ratio(played(EASY, CLIMB, 60, 60), played(EASY, GREEDY, 60, 60))
    assert found >= 0.8


def test_a_certified_gain_of_a_study_with_nothing_to_find_is_rarely_above_zero() -> None:
    studies = 60
    certified = [o.certified for o in played(NULL, CLIMB, studies, 40) if o.certified]
    claims = sum(interval.low > 0 for interval in certified)
    assert len(certified) > studies / 2  # it kept something, so there was something to certify
    # 5 % two-sided, plus three standard deviations of a binomial
    assert claims <= 0.05 * studies + 3 * math.sqrt(studies * 0.05 * 0.95)


def test_no_rule_spends_more_than_its_runs() -> None:
    for contender in CONTENDERS:
        bench = Bench(EASY, contender, 1, 30)
        state = bench.play()
        assert len(state.runs) <= bench.spent + 1e-9 or contender.racing
        assert 29 < bench.spent <= 30 + (contender.racing and 0.4)


def test_every_rule_meets_the_same_proposals() -> None:
    effects = []
    for contender in CONTENDERS:
        bench = Bench(EASY, contender, 7, 80)
        trials = list(bench.play().trials.values())[1:20]
        effects.append([bench.levels[trial.tree or ""] - bench.levels[trial.base_tree] for trial in trials])
    for own in effects[1:]:  # rules with many runs a trial get less far
        assert own
        assert own == pytest.approx(effects[0][: len(own)])


def test_noise_has_the_standard_deviation_that_is_the_unit_of_effects() -> None:
    for mix in CLIMBS[:2]:
        world = World(mix, 3)
        assert 0.85 < variance(world.value(0.0, seed) for seed in range(4000)) < 1.15


def test_runs_with_one_seed_move_together_as_far_as_the_mix_says() -> None:
    for mix in CLIMBS[:2]:
        world = World(mix, 5)
        groups = [{seed: world.value(0.0, seed) for seed in range(500)} for _ in range(4)]
        found, _ = stats.seed_correlation(groups, 1.0)
        assert abs(found - mix.rho) < 0.1


def test_racing_makes_trials_cheaper_and_is_rarely_wrong() -> None:
    raced = played(EASY, BY_NAME["climb, racing"], 8, 40)
    assert fmean(o.tried for o in raced) > fmean(o.tried for o in played(EASY, CLIMB, 8, 40))


def test_certified_gains_of_two_lines_of_the_tables_share_no_noise() -> None:
    for mix, rule in [(EASY, "greedy"), (NULL, "climb")]:
        pairs = [(certify(EASY, "climb", n, 0.0), certify(mix, rule, n, 0.0)) for n in range(400)]
        middles = [(a.low + a.high, b.low + b.high) for a, b in pairs]
        together = fmean(a * b for a, b in middles) / (stdev(a for a, _ in middles) * stdev(b for _, b in middles))
        assert abs(together) < 4 / math.sqrt(len(pairs))


def test_best_and_start_are_certified_with_the_same_luck_of_seeds() -> None:
    interval = certify(Mix("nothing but seeds", 0.0, 0.0, rho=1.0), "climb", 1, 1.5)
    assert (interval.low, interval.high) == pytest.approx((1.5, 1.5))


def test_signed_ranks_are_critical_where_published_tables_say() -> None:
    # Wilcoxon and Wilcox 1964, one-sided 0.005: the smaller sum is at most 3 of 55, and 37 of 210.
    assert critical(10) == 55 - 3
    assert critical(20) == 210 - 37


# -- our statement of a peer's rule beside the peer's own code, where that is installed --------------------


def test_hillclimbanything_decides_as_its_own_code_does_on_the_same_pairs() -> None:
    theirs = pytest.importorskip("hca.stats")
    draw = random.Random(1)
    for _ in range(3000):
        shift, useful, extended = draw.choice([0.0, 0.5, 1.0, 2.0]), draw.uniform(0.1, 3), draw.random() < 0.5
        gains = [draw.gauss(shift, 1) for _ in range(20 if extended else 10)]
        decision = theirs.keep_decision(gains, useful, look=1 + extended, looks=2)
        assert signed_ranks(gains, useful, last=extended) == decision["verdict"]
        assert detectable(gains) == pytest.approx(theirs.noise_report(gains, useful)["detectable"][EXTENDED])


def test_hillclimbanything_measures_and_keeps_as_its_own_code_would_in_whole_studies() -> None:
    theirs = pytest.importorskip("hca.stats")
    words = []
    for number in range(20):
        state = Bench(EASY, BY_NAME["hillclimbanything"], number, 300).play()
        start, *trials = (trial for trial in state.trials.values() if trial.verdict)
        useful = theirs.noise_report(in_pairs(own_runs(state, start), start.tree), 1.0)["detectable"][EXTENDED]
        for trial in trials:
            gains = in_pairs(own_runs(state, trial), trial.tree)
            decision = theirs.keep_decision(gains[:10], useful, look=1, looks=2)
            assert len(gains) == (20 if decision["verdict"] == "extend" else 10)
            if decision["verdict"] == "extend":
                decision = theirs.keep_decision(gains, useful, look=2, looks=2)
            assert trial.verdict
            assert (trial.verdict.word == "keep") == (decision["verdict"] == "keep")
            assert trial.verdict.gain == pytest.approx(decision["estimate"])
            words.append((len(gains), decision["verdict"]))
    assert {(10, "keep"), (10, "revert"), (20, "keep"), (20, "revert")} == set(words)


class Tape(World):
    """Runs show these values in their order, whatever is run."""

    def __init__(self, shown: list[float]) -> None:
        super().__init__(NULL, 0)
        self.shown = iter(shown)

    def value(self, level: float, seed_index: int, elapsed: float = 0.0) -> float:
        return next(self.shown)


@pytest.mark.parametrize("name", ["labloop, spread", "labloop, sd"])
def test_labloop_keeps_what_its_own_loop_keeps_when_runs_show_the_same(name: str, tmp_path: Path) -> None:
    labloop = pytest.importorskip("labloop")
    draw = random.Random(name)
    shown = [draw.gauss(0.3 * i, 1) for i in range(60)]
    bench = Bench(NULL, BY_NAME[name], 0, len(shown))
    bench.world = Tape(shown)
    start, *trials = (trial for trial in bench.play().trials.values() if trial.verdict)

    code, tape = tmp_path / "code", tmp_path / "tape"
    tape.write_text("".join(f"m={value!r}\n" for value in shown))
    code.mkdir()
    for command in ["init -q", "commit -q --allow-empty -m start"]:
        subprocess.run(["git", *command.split()], cwd=code, check=True)
    experiment = labloop.Experiment(
        run=f"head -n 1 {tape} && tail -n +2 {tape} > {tape}.rest && mv {tape}.rest {tape}",
        metric="m",
        goal=labloop.Goal.MAXIMIZE,
        propose="echo >> a",
        confirm=True,
        sandbox="none",
    )
    loop = labloop.Loop(experiment, workdir=code, ledger=tmp_path / "ledger.jsonl")
    repeats = loop.measure_noise(REPEATS)
    experiment.min_delta = stdev(repeats) if name == "labloop, sd" else max(repeats) - min(repeats)
    assert start.verdict
    assert loop.baseline().metric == start.verdict.value
    decided = loop.run(len(trials))
    kept = [trial.verdict and trial.verdict.word == "keep" for trial in trials]
    assert kept == [trial.outcome is labloop.Outcome.KEPT for trial in decided]
    assert 1 < sum(map(bool, kept)) < len(kept)
    numbers = [trial.verdict.value for trial in trials if trial.verdict and trial.verdict.word == "keep"]
    assert numbers == [trial.metric for trial in decided if trial.outcome is labloop.Outcome.KEPT]
