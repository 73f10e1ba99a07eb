"""
What schemathesis finds in a live study's server, given the /openapi.json that the server itself tells.

    python -m benchmarks.live_schema --examples 200 --write

Needs the extra `live`, and schemathesis in an environment of its own (`--program` says where). It sends requests as described and requests
that are not, in sequences too, and holds every answer against the description.
"""

import argparse
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from autoresearch.live.desk import Desk, Material
from autoresearch.live.door import Settings
from autoresearch.live.plan import unit
from autoresearch.live.records import AnyRecord, Plan, Suppression
from autoresearch.live.render import Template
from autoresearch.live.serve import serving
from autoresearch.live.settings import Live
from autoresearch.live.store import open_store
from autoresearch.live.variables import FILE, key, parse
from benchmarks import live_held
from benchmarks.tables import report

SALT = b"schema"
TEMPLATE = Path(__file__).resolve().parent.parent / "src" / "autoresearch" / "templates" / "landing-page"


class Refusal(msgspec.Struct, frozen=True):
    status: int
    why: str


class Delivery(msgspec.Struct, frozen=True):
    records: tuple[AnyRecord, ...]
    ignored: dict[str, int] = {}


def hook(body: bytes, headers: Mapping[str, str], now: float, token: str) -> Delivery | Refusal:
    """Signed by saying so: what is looked at here is the address, not the signature."""
    if "right" not in (headers.get("x-signature"), token):
        return Refusal(401, "the signature is wrong")
    return Delivery((Suppression(source="tool", id=unit(SALT, repr(body)), at=now, unit=unit(SALT, repr(body))),))


def run(program: str, examples: int, seed: int) -> tuple[str, int, str]:
    """What it said at its end, its exit status, and what it left in the store."""
    variables = parse((TEMPLATE / FILE).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.db"
        store = open_store(path, "s")
        cells = {key(cell): 1.0 for cell in variables.cells()}
        store.add_plan(Plan(1, time.time(), 0, 1, key(variables.default), 0.1, {"": cells}))
        live = Live("click", guardrails=["unsubscribe <= 0.01"], segments=["device", "source"])
        template = Template((TEMPLATE / "page.html").read_text(encoding="utf-8"))
        desk = Desk("s", live, SALT, store, lambda: Material(variables, template), {"tool": hook})
        with serving(desk, Settings(port=0, each_second=1e6, burst=10**6)) as served:
            command = [
                program,
                "run",
                f"{served.address}openapi.json",
                "--checks",
                "all",
                "--max-examples",
                str(examples),
            ]
            command += ["--seed", str(seed), "--no-color", "--generation-database", "none"]
            command += ["--max-response-time", "300"]  # its own limit says how busy the machine is
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        store.close()
        shown, did = live_held.exposures(path, "s"), live_held.outcomes(path, "s")
        held = f"{len(shown):,} exposures and {len(did):,} outcomes were stored by it."
    return done.stdout + done.stderr, done.returncode, held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="schemathesis")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    told, status, held = run(args.program, args.examples, args.seed)
    version = subprocess.run([args.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    told = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1", told)
    end = told[told.rfind("= SUMMARY") :].partition("\n")[2] if "SUMMARY" in told else told
    if status:
        print(told)
    text = f"{version}, {args.examples} examples for each operation and phase, all checks, 300 s for an answer. {held}\n\n```\n{end.strip()}\n```\n"
    report("live_schema", "The addresses of a live study under schemathesis", text, args.write and not status)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
