"""The contract of executors, held by each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from executors import Bench, Contract

from autoresearch.execute import Executor, OnProgress
from autoresearch.execute.local import Local
from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import NONE
from autoresearch.study import Study


def local(home: Path, study: Study, on_progress: OnProgress) -> Executor:
    return Local(home, [Slot()], NONE, on_progress)


class TestLocal(Contract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        made = Bench(tmp_path / "home", local)
        yield made
        made.executor.close()
