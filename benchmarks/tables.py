"""What the benchmarks share: the machine in words, and tables as Markdown under benchmarks/results/."""

import os
import platform
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> str:
    """The processor, its cores, and the versions that matter."""
    from autoresearch.execute.machine import Slot, this_machine

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    return (
        f"{this_machine(Slot()).device}, {cores} cores (virtual, shared), {platform.system()}, "
        f"Python {platform.python_version()}, git {git}"
    )


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def report(name: str, title: str, text: str, write: bool) -> None:
    """Print a benchmark's result, and keep it under results/ when asked to."""
    program = Path(sys.argv[0]).resolve().with_suffix("")
    below = program.relative_to(RESULTS.parent).parts if program.is_relative_to(RESULTS.parent) else (program.name,)
    command = f"python -m {'.'.join(('benchmarks', *below))} {' '.join(sys.argv[1:])}".strip()
    page = f"# {title}\n\n{text.strip()}\n\nMade by `{command}` on {machine()}.\n"
    print(page)
    if write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(page)
