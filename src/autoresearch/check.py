"""
Tries a study without starting it: what is frozen, what may change, and whether the baseline gives a value.

Leaves no trace in the log; what it runs, it runs as the study would.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.errors import BaselineError
from autoresearch.execute import Executor
from autoresearch.execute.guarantees import Guarantee
from autoresearch.execute.local import Local
from autoresearch.execute.placing import local, placed
from autoresearch.patch import seeds_in
from autoresearch.policy import screening
from autoresearch.policy.doubt import false_claims
from autoresearch.propose.agent import make as coding_agent
from autoresearch.propose.agents import AGENTS
from autoresearch.propose.cell import ProposerCell
from autoresearch.propose.guarantees import tried as tried_proposer
from autoresearch.propose.making import Given, Tried, try_out
from autoresearch.report import calibration
from autoresearch.report.brief import SMALL_SET
from autoresearch.seeds import seed
from autoresearch.session import Listener, check_start, make_home
from autoresearch.state import State
from autoresearch.stats import pooled_sd
from autoresearch.study import Study, load
from autoresearch.trial import Measurement, Run
from autoresearch.workspace import Tree, Workspace

LEAST_RUNS = 2  # one cannot show whether the seed matters
CALIBRATE_S = 120.0  # after which no further run is started


class Checked(Struct, frozen=True):
    """
    What `check` found: changeable and frozen files, a measurement for each seed tried, and sentences of advice. `kinds` says
    which kind of machine decides where there are several.
    """

    study: str
    asset: list[str]
    frozen: list[str]
    measurements: list[Measurement]
    kinds: str
    calibration: str
    sandbox: str
    proposers: list[Tried]
    guarantees: list[Guarantee]
    advice: list[str]


def check(folder: Path, listener: Listener, most: int | None = None) -> Checked:
    """
    Run the baseline with a few seeds, at most so many, and say what was seen.

    Raises:
        AutoresearchError: something is missing or wrong, or the baseline gives no value.
    """
    folder = folder.resolve()
    study = load(folder)
    workspace = Workspace(folder, study)
    commit, tree = workspace.head()
    if not _is_running_already(workspace):
        check_start(workspace, study, commit)
    frozen = workspace.frozen(commit)
    with _scratch(workspace) as home, contextlib.ExitStack() as stack:
        here = local(study, home, study.execute.workers, listener.progress)
        stack.callback(here.close)
        executor = placed(here, study, listener.say)
        stack.callback(executor.close)
        scratch = Workspace(folder, study)
        scratch.home = home
        stack.callback(scratch.clean)
        given = _given(study, folder, here, listener)
        proposers = try_out(given)
        executor.prepare(study, scratch.referee(commit), study.data_digest(frozen), listener.say)
        first = Run(0, 0, tree, commit, 0, seed(0, 0), study.digest(frozen))
        with scratch.at("0", commit, commit) as opened:
            results = _baseline(executor, study, opened, first, most)
            files = {str(path): (opened.path / path).read_bytes() for path in opened.asset_files()}
        kinds = screening.sentence(study, executor.machine.tier, executor.others)
        sandbox, guarantees = executor.tried()
        guarantees += _tried_cells(given, proposers)
    names = [line.partition("\t")[2] for line in frozen]
    advice = [*_advice(study, results[0]), *_about_seeds(study, files, results)]
    calibrated = _calibration(study, results)
    return Checked(study.name, list(files), names, results, kinds, calibrated, sandbox, proposers, guarantees, advice)


def _baseline(executor: Executor, study: Study, opened: Tree, first: Run, most: int | None) -> list[Measurement]:
    """
    The baseline's runs, a seed each.

    Raises:
        BaselineError: one gave no value.
    """
    began = time.monotonic()
    wanted = most or max(LEAST_RUNS, study.decide.calibrate)
    results: list[Measurement] = []
    while len(results) < min(LEAST_RUNS, wanted) or (len(results) < wanted and time.monotonic() - began < CALIBRATE_S):
        index = len(results)
        run = replace(first, id=index, seed_index=index, seed=seed(0, index))
        results.append(executor.run(run, opened.path, study))
        opened.reset(first.tree)
        if problem := _explain(results[-1], opened.workspace.home / "runs" / str(index)):
            raise BaselineError(problem)
    return results


def page(found: Checked) -> str:
    """The same for a person, without the last word."""
    m = found.measurements[0]
    frozen = ", ".join(found.frozen[:6]) + (f" and {len(found.frozen) - 6} more" if len(found.frozen) > 6 else "")
    took = f"{m.wall_s:.1f} s running, {m.score_s:.1f} s scoring, {m.peak_memory_mb:.0f} MB"
    others = ", ".join(f"{other.value:.6g}" for other in found.measurements[1:])
    lines = [
        f"study       {found.study}",
        f"may change  {', '.join(found.asset)}",
        f"frozen      {frozen or 'nothing'}",
        f"machine     {m.machine.tier}",
        *([f"            {found.kinds}"] if found.kinds else []),
        f"baseline    {m.value:.6g}, with other seeds {others}  ({took})",
        f"            {found.calibration}",
        *(f"ideas       {one.name}: {'' if one.works else 'CANNOT WORK, '}{one.says}" for one in found.proposers),
        f"sandbox     {found.sandbox}, each guarantee tried just now:",
    ]
    lines += [f"  {'holds ' if guarantee.holds else 'BROKEN'}    {guarantee.promise}" for guarantee in found.guarantees]
    return "\n".join([*lines, *(f"note        {sentence}" for sentence in found.advice)])


def _calibration(study: Study, results: list[Measurement]) -> str:
    values = [result.value for result in results if result.value is not None]
    sd, dof = pooled_sd([values]) or (0.0, 0)
    found = [calibration.sentence(sd, dof, study.decide.calibrate, study.decide.repeats, study.budget.trials)]
    for guard in study.metric.no_worse:
        numbers = [number for result in results if (number := result.number(guard.name)) is not None]
        found.append(calibration.guarded(guard.name, numbers, guard.margin))
    return "; ".join(found)


def _is_running_already(workspace: Workspace) -> bool:
    return (workspace.home / "events.jsonl").exists()


@contextlib.contextmanager
def _scratch(workspace: Workspace) -> Iterator[Path]:
    """A home of its own inside ours, so that a check can run beside a study; prepared data is kept."""
    home = make_home(workspace.folder)
    with tempfile.TemporaryDirectory(prefix="check-", dir=home) as name:
        scratch = Path(name)
        (home / "data").mkdir(exist_ok=True)
        (scratch / "data").symlink_to(home / "data")
        yield scratch


def _given(study: Study, folder: Path, executor: Local, listener: Listener) -> Given:
    """For a proposer that is only tried: what it charges goes nowhere."""
    return Given(study, folder, executor.home, executor.keepers, State(), lambda charged: None, listener.say)


def _tried_cells(given: Given, proposers: list[Tried]) -> list[Guarantee]:
    """What the sandboxes of proposing programs guarantee, each of them: a promise holds if it does in all."""
    if given.study.propose.sandbox == "none":
        return []
    cells = [cell for one in proposers if one.works and (cell := _cell(given, one.name))]
    found = [guarantee for cell in cells for guarantee in tried_proposer(cell)]
    return [
        Guarantee(promise, all(g.holds for g in found if g.promise == promise))
        for promise in dict.fromkeys(guarantee.promise for guarantee in found)
    ]


def _cell(given: Given, name: str) -> ProposerCell | None:
    """Where a proposer runs, if it is a program."""
    if name == "command":
        return ProposerCell(given.study, given.folder, given.home, given.keepers)
    if name == "agent" or name in AGENTS:
        return coding_agent(replace(given, named=name)).cell
    return None


def _about_seeds(study: Study, files: dict[str, bytes], results: list[Measurement]) -> list[str]:
    """Whether the seed that the harness chooses has an effect, and where the code has one of its own."""
    found = []
    beside = [guard.name for guard in study.metric.no_worse]
    if len(results) > 1 and len({(r.value, *(r.number(name) for name in beside)) for r in results}) == 1:
        found.append(
            f"{len(results)} seeds gave the same value to the last digit: the code ignores AUTORESEARCH_SEED, or nothing in it is "
            "random. Then repeats say nothing about noise"
        )
    for name, content in files.items():
        as_added = "".join(f"+{line}\n" for line in content.decode(errors="replace").splitlines())
        for line in seeds_in(as_added)[:3]:
            found.append(
                f"{name} fixes a seed of its own ({line}): take it from AUTORESEARCH_SEED, so that runs differ"
            )
    return found


def _explain(measurement: Measurement, folder: Path) -> str | None:
    if measurement.status == "ok":
        return None
    parts = [f"the baseline gave no value ({measurement.status}): {measurement.why}"]
    for name in ("run.err.txt", "run.out.txt", "score.err.txt"):
        with contextlib.suppress(OSError):
            tail = (folder / name).read_text(errors="replace").splitlines()[-6:]
            if tail:
                parts.append(f"  the end of {name}:\n" + "\n".join(f"    | {line[:200]}" for line in tail))
    return "\n".join(parts)


def _advice(study: Study, measurement: Measurement) -> list[str]:
    found = []
    if study.measure.score is None:
        found.append(
            "measure.score is missing: the candidate marks itself, and a change that prints a better number is "
            "kept like one that earns it. Move the measuring into a frozen file and name it as measure.score"
        )
    if study.execute.on == "ray":
        found.append(
            "what the sandbox guarantees was not tried on the nodes; a node where it does not work is an error"
        )
    if study.execute.sandbox == "none":
        found.append("execute.sandbox is none: a candidate can read, change and send whatever you can")
    if study.measure.budget is None:
        found.append("measure.budget is missing: nothing keeps a candidate from taking longer, short of timeout_s")
    items = measurement.extras.get("items")
    if study.decide.ladder == "auto" and study.measure.score and items is not None and items < SMALL_SET:
        found.append(f"the search set has {items:g} items, so proposers are told no more than whether a trial won")
    found += [f"the baseline {claim}" for claim in false_claims(study, measurement)]
    used = measurement.wall_s / study.measure.timeout_s
    if used > 0.5:
        found.append(
            f"the baseline used {used:.0%} of timeout_s = {study.measure.timeout_s:g}: raise it, or honest runs will be cut"
        )
    if study.budget.trials is None and study.budget.hours is None:
        found.append("[budget] has neither trials nor hours: a run goes on until you stop it or ideas run out")
    return found
