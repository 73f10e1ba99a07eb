"""Runs that an earlier session began: taken up where they still go on, recorded as stopped where they are lost."""

import threading
from collections.abc import Callable

from autoresearch.errors import AutoresearchError, LeftRunning
from autoresearch.events import RunFinished
from autoresearch.execute import Executor
from autoresearch.log import Log
from autoresearch.study import Study
from autoresearch.trial import Measurement


def rejoin(log: Log, executor: Executor, study: Study, tell: Callable[[str], None]) -> list[threading.Thread]:
    """
    Threads that write down what becomes of runs which outlived the program that began them. Whoever works on a trial
    waits for its own; see Log.settle. Those that nobody waited for are left to the next session.
    """
    threads = []
    for number in tuple(log.state.open_runs):
        wait = executor.attach(log.state.runs[number], study)
        if wait is None:
            log.lose(number)
        else:
            threads.append(threading.Thread(target=_finish, args=(log, number, wait), name=f"rejoin-{number}"))
    if threads:
        tell(f"{len(threads)} run{'s' if len(threads) > 1 else ''} went on meanwhile, and will count")
    for thread in threads:
        thread.start()
    return threads


def _finish(log: Log, number: int, wait: Callable[[], Measurement | None]) -> None:
    try:
        result = wait()
        if result is None:
            log.lose(number)
            return
        log.append(RunFinished(run=number, measurement=result))
        if result.status == "stopped" and not log.state.runs[number].tier:  # the study can do without other kinds
            log.stop(result.why)
    except LeftRunning:
        pass  # nothing is known of it yet: the next session waits for it
    except BaseException as error:
        log.stop(str(error) if isinstance(error, AutoresearchError) else f"a defect: {error!r}")
        with log.lock:
            if number in log.state.open_runs:
                log.lose(number)
