"""What commands tell of a live study: who came and who waits, figures for others, and what to type next."""

import csv
import io
import json
import re
import subprocess
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from helpers import PYTHON, Recorder, git
from live_page import begun, make

pytest.importorskip("sqlalchemy")
pytest.importorskip("numpy")

from autoresearch.campaign import house, tools
from autoresearch.campaign.running import run
from autoresearch.cli import main
from autoresearch.live.records import AnyRecord, Cost, Exposure, Outcome, Suppression
from autoresearch.live.settings import Live
from autoresearch.session import Goal
from autoresearch.workspace import HOME

OLD, NEW, CLICKS = 7, 3, 2  # people whose hour is over, those whose is not, and how many of either had the outcome
HOUR = 3600.0


def call(*args: object, columns: int = 200) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(main, [str(arg) for arg in args])


def visited(at: float, people: int, name: str, cell: str) -> list[AnyRecord]:
    """A crowd at that time, the first of whom had the outcome."""
    found: list[AnyRecord] = []
    for i in range(people):
        unit = f"{name}{i:x}".rjust(32, "f")
        found.append(Exposure(source="shop", id=f"seen-{name}{i}", at=at, unit=unit, cell=cell, plan=1))
        if i < CLICKS:
            found.append(Outcome(source="shop", id=f"did-{name}{i}", at=at + 1, unit=unit, kind="click"))
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten people came, three of them just now."""
    folder = make(tmp_path_factory.mktemp("told") / "s")
    with begun(folder) as campaign:
        plan = campaign.store.plan()
        assert plan is not None
        campaign.store.add(visited(time.time() - 30 * HOUR, OLD, "ab", plan.default))
        campaign.store.add(visited(time.time() - 60, NEW, "cd", plan.default))
    return folder


def test_status_and_log_of_a_live_study_say_what_the_map_says(study: Path) -> None:
    said = call("status", "-C", study).output
    assert "10 people came: 7 counted by now, 3 wait until their 1 hour is over" in said
    assert "4 with the outcome (click) so far, 2 among the counted" in said
    assert "plan      1, the latest" in said
    assert "0 shown beside the defaults, 3 wait for your word: `autoresearch live approve`" in said
    assert "`autoresearch live map`" in said
    assert "minutes of measuring" not in said
    end = call("log", "-C", study).output
    assert re.search(r"^ *0  defaults +the code as it stands *$", end, re.MULTILINE)
    assert re.search(r"^ *1  waits for your word +headline: ", end, re.MULTILINE)
    assert re.search(r"^trial  stands +idea *$", end, re.MULTILINE), "and no column that a live study leaves empty"
    assert "10 people came: 7 counted by now" in end
    assert "Nothing is measured yet." not in said + end
    told = json.loads(call("status", "--json", "-C", study).output)
    assert told["live"] == {
        "outcome": "click",
        "people": OLD + NEW,
        "counted": OLD,
        "successes": CLICKS,
        "waiting": NEW,
        "outcomes": 2 * CLICKS,
        "plan": 1,
        "kept": {"exposures": 10, "outcomes": {"click": 4}, "orphans": 0, "spent": 0.0, "suppressed": 0, "ignored": {}},
        "levels_shown": 0,
        "levels_waiting": 3,
    }
    seen = call("live", "map", "-C", study).output
    assert "7 people count, 28.57% of them with the outcome, in 1 day. 3 more wait until their 1 hour is over." in seen


def test_what_was_stored_and_is_of_no_use_is_told_and_so_is_what_an_outcome_cost(tmp_path: Path) -> None:
    folder = make(tmp_path / "s")
    with begun(folder) as campaign:
        store, plan = campaign.store, campaign.store.plan()
        assert plan is not None
        then, strange = time.time() - 30 * HOUR, plan.default.replace("plain", "nobodys")
        store.add(visited(then, OLD, "ab", plan.default))
        store.add(visited(then, NEW, "cd", strange))
        spent = [
            (then, plan.default, 5.0),
            (then, strange, 3.0),
            (time.time() - 60, plan.default, 100.0),
            (then, "button=go", 1.0),
        ]
        store.add([Cost(source="ads", id=f"{i}", at=at, cell=cell, amount=n) for i, (at, cell, n) in enumerate(spent)])
        nobody = "9" * 32
        store.add([Outcome(source="shop", id="o", at=then, unit=nobody, kind="click")])
        store.add([Suppression(source="shop", id=f"s{i}", at=then, unit=nobody) for i in range(2)])
        store.ignore("tool\x1b[2J", {"email_sent without ar_cell": 45, "opened": 2})
    said = call("status", "-C", folder).output
    assert "stored    10 exposures; 5 click; costs of 109.00; 1 person not to be written to" in said
    assert "nobody's  1 outcome of people who were shown nothing: was `autoresearch live sent` typed" in said
    assert "not used  45 email_sent without ar_cell, 2 opened, from tool\ufffd[2J" in said
    kept = json.loads(call("status", "--json", "-C", folder).output)["live"]["kept"]
    assert (kept["spent"], kept["orphans"], kept["suppressed"], kept["outcomes"]) == (109.0, 1, 1, {"click": 5})
    seen = call("live", "map", "-C", folder).output
    rows = list(csv.DictReader(io.StringIO(call("live", "map", "--csv", "-C", folder).output)))
    by_level = {row["level"]: row for row in rows if not row["segment"]}
    # The cost of a minute ago is of people who do not count yet; what a cell does not name is the default.
    assert (by_level["plain"]["spent"], by_level["nobodys"]["spent"], by_level["go"]["spent"]) == ("6.0", "3.0", "9.0")
    assert "What an outcome costs with\nbutton: go 2.25\nheadline: plain 3.00, nobodys 1.50\n" in seen
    assert (by_level["nobodys"]["word"], by_level["nobodys"]["trial"]) == ("unknown here", "")
    assert "never had it" in by_level["nobodys"]["why"]
    assert "nobodys" not in seen.partition("Worth knowing next")[2]
    assert call("live", "map", "--svg", tmp_path / "map.svg", "-C", folder).exit_code == 0
    assert "3.00 an outcome" in (tmp_path / "map.svg").read_text()


def test_without_the_extra_or_a_store_status_has_words_and_no_figures(tmp_path: Path, study: Path) -> None:
    lacking = "import sys; sys.modules['sqlalchemy'] = None; from autoresearch.cli import main; main()"
    done = subprocess.run(
        [PYTHON, "-c", lacking, "status", "-C", study], capture_output=True, text=True, check=True
    ).stdout
    assert "pip install 'autoresearch[live]'" in done
    assert "3 wait for your word" in done
    folder = make(tmp_path / "s")
    with begun(folder):
        pass
    for name in (house.STORE, f"{house.STORE}-wal", f"{house.STORE}-shm"):
        (folder / HOME / house.FOLDER / name).unlink(missing_ok=True)
    assert "not known here: nothing was recorded yet" in call("status", "-C", folder).output
    assert json.loads(call("status", "--json", "-C", folder).output)["live"]["people"] is None
    assert not (folder / HOME / house.FOLDER / house.STORE).exists()


def test_figures_for_others_have_no_unit_no_id_and_no_time_of_a_person(study: Path, tmp_path: Path) -> None:
    day = datetime.fromtimestamp(time.time() - 30 * HOUR, UTC).date().isoformat()
    done = call("live", "figures", "-C", study)
    assert done.stdout == f"day,segment,cell,holdout,units,successes\n{day},,button=go;headline=plain,false,7,2\n"
    assert done.stderr == "3 wait until their 1 hour is over.\n"
    out = tmp_path / "figures.csv"
    assert call("live", "figures", "-C", study, "--out", out).exit_code == 0
    assert out.read_text() == done.stdout
    for where, says in ((out, "is there already"), (tmp_path / "none" / "f.csv", "name a file in a folder")):
        refused = call("live", "figures", "-C", study, "--out", where)
        assert (refused.exit_code, says in refused.stderr) == (2, True), refused.output
    assert out.read_text() == done.stdout


def test_the_map_has_a_line_a_level_at_eighty_columns_and_no_reason_in_its_csv_is_defused(tmp_path: Path) -> None:
    folder = make(tmp_path / "s", more='approve = "rules"\n')
    words = folder / "variables.toml"
    words.write_text(words.read_text().replace('"Go"', f'"{"Go and see " * 8}"'))
    git(folder, "commit", "--quiet", "--all", "-m", "longer")
    with begun(folder) as campaign:
        assert campaign.store.plan() is not None
    lines = [line.rstrip() for line in call("live", "map", "-C", folder, columns=80).output.splitlines()]
    begins = next(i for i, line in enumerate(lines) if line.startswith("variable"))
    rows = lines[begins + 1 : lines.index("", begins)]
    assert all("%" in row and len(row) <= 80 for row in rows), rows
    assert any(row.endswith("…") for row in rows)
    reasons = [row["why"] for row in csv.DictReader(io.StringIO(call("live", "map", "--csv", "-C", folder).output))]
    assert len(reasons) >= len(rows) > 3
    assert not [why for why in reasons if why.startswith("'")]
    assert any(why.startswith(("effect +", "effect -")) for why in reasons)


def test_before_a_live_study_began_commands_say_how_it_begins(tmp_path: Path) -> None:
    page, mail = tmp_path / "page", tmp_path / "mail"
    made = call("init", page, "--template", "landing-page").output
    assert made.endswith("&& autoresearch live serve\n")
    assert "agent" not in made
    assert call("init", mail, "--template", "cold-email").output.endswith("&& autoresearch run\n")
    for words in (("live", "approve"), ("live", "approve", "--all")):
        refused = call(*words, "-C", page)
        assert refused.exit_code == 2
        assert "not begun yet" in refused.stderr
        assert "`autoresearch live serve` begins it" in refused.stderr
    assert "`autoresearch live serve`" in call("status", "-C", page).output


def test_a_run_without_a_server_says_that_it_goes_on_until_it_is_ended(tmp_path: Path) -> None:
    listener = Recorder()
    run(make(tmp_path / "s", mail=True), Goal(hours=1e-9), listener)
    assert "Deciding who sees what, every 60 minutes. Ctrl-C ends it; nothing is lost." in listener.said


def test_the_tools_of_the_docs_can_be_called_and_asked() -> None:
    text = (Path(__file__).parent.parent / "docs" / "live-data.md").read_text()
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    named = {name: one for block in blocks for name, one in block["live"].items()}
    live = msgspec.convert({"outcome": "click", **named}, Live)
    env = {"SHOP_SECRET": "s" * 16, "INSTANTLY_SECRET": "i" * 16, "CRM_TOKEN": "t"}
    assert set(tools.called(live, b"salt", env)) == {"shop", "instantly"}
    assert [feed.name for feed in tools.asked(live, env)] == ["crm"]
