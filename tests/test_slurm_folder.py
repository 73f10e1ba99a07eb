"""
The folder that the jobs of a run on Slurm share, where no Slurm is needed to tell.
"""

from pathlib import Path

import pytest

from autoresearch.execute.slurm_folder import DONE, give_up
from autoresearch.execute.slurm_job import work


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return "7"


def test_a_job_that_was_given_up_does_nothing_when_it_begins(job: str, tmp_path: Path) -> None:
    give_up(tmp_path, job)
    work(str(tmp_path), "version", "tier")
    assert left(tmp_path) == [f"given-up-{job}"]


@pytest.mark.usefixtures("job")
def test_a_run_that_came_back_is_not_begun_by_a_job_that_was_requeued(tmp_path: Path) -> None:
    (tmp_path / DONE).touch()
    work(str(tmp_path), "version", "tier")
    assert left(tmp_path) == [DONE]
