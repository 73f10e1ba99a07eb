"""The commands about a live study's data, as a person types them: what they say, and what they refuse."""

import contextlib
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("sqlalchemy", reason="the extra live is not installed")
pytest.importorskip("starlette", reason="the extra live is not installed")

from autoresearch.campaign import house
from autoresearch.cli import main
from autoresearch.live import proof, variables
from autoresearch.live.plan import unit
from autoresearch.study import load
from autoresearch.workspace import HOME

STUDY = """\
name = "s"
asset = ["variables.toml"]
[metric]
name = "reply_rate"
direction = "maximize"
[live]
outcome = "reply"
guardrails = ["unsubscribe <= 0.01"]
"""
RESULTS = """\
email,status,at,cell,Company
a@example.org,exposure,2026-02-01,headline=bold,Acme
a@example.org,reply,2026-02-02,,Acme
b@example.org,unsubscribe,2026-02-02,,Acme
c@example.org,zebra,2026-02-02,,Acme
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "variables.toml").write_text(
        '[headline]\ndefault = "plain"\n[headline.levels]\nplain = "One"\nbold = "Two"\n'
    )
    (tmp_path / "results.csv").write_text(RESULTS)
    return tmp_path


def typed(folder: Path, *words: str, code: int = 0) -> str:
    """What a command says."""
    done = CliRunner().invoke(main, ["live", words[0], "-C", str(folder), *words[1:]])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_an_import_says_what_it_uses_whom_it_stops_and_what_counts(folder: Path) -> None:
    said = [
        "4 rows: 1 exposure, 1 reply, 1 unsubscribe, 1 zebra",
        "The column status says what happened, so --event click is not used",
        "Columns that are not used: Company",
        "Not to be written to any more: 1 person",
        "Not counted by this study: zebra (1)",
        "2 outcomes belong to nobody",
    ]
    file = str(folder / "results.csv")
    dry = typed(folder, "import", file, "--event", "click", "--dry-run")
    assert [line for line in said if line not in dry] == []
    assert "5 records would be new, 0 known before." in dry
    real = typed(folder, "import", file, "--event", "click")
    assert [line for line in said if line not in real] == []
    assert "5 records are new, 0 known before." in real
    assert "1 record removed." in typed(folder, "forget", "c@example.org")
    assert "0 records are new, 4 known before, 1 refused, of people who asked" in typed(folder, "import", file)
    assert "--source must be a word" in typed(folder, "import", file, "--source", " ", code=2)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("headline=bald", "headline = bald is no level of this study; it has plain, bold"),
        ("hedline=bold", "hedline is no variable of this study; it has headline, tone"),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_what_the_study_can_never_have_shown_is_refused_with_its_line(
    folder: Path, cell: str, said: str, begun: bool
) -> None:
    words = folder / "variables.toml"
    words.write_text(words.read_text() + '[tone]\ndefault = "warm"\n[tone.levels]\nwarm = "Dear"\n')
    if begun:
        house.publish(folder / HOME, "", variables.parse(words.read_text()))
        words.unlink()
    (folder / "results.csv").write_text(RESULTS.replace("headline=bold", cell))
    assert f"line 2, column cell: {said}" in typed(folder, "import", str(folder / "results.csv"), code=2)
    (folder / "results.csv").write_text(RESULTS)
    said = typed(folder, "import", str(folder / "results.csv"))
    assert "Not named in the cell, so taken to be as the default: tone" in said
    assert "5 records are new" in said


def test_a_file_of_costs_is_taken_as_the_docs_write_it_and_a_soft_bounce_stops_nobody(folder: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "live-data.md").read_text()
    (folder / "costs.csv").write_text(text.partition("```csv\n")[2].partition("```")[0].replace(";tone=warm", ""))
    said = typed(folder, "import", str(folder / "costs.csv"), "--event", "cost")
    assert "1 row: 1 cost" in said
    assert "1 record is new, 0 known before." in said
    assert "not used" not in said
    (folder / "results.csv").write_text(RESULTS.replace("unsubscribe", "soft_bounce"))
    said = typed(folder, "import", str(folder / "results.csv"))
    assert "Not to be written to" not in said
    assert "4 records are new" in said


def test_nobody_is_forgotten_or_audited_by_a_slip(folder: Path) -> None:
    typed(folder, "import", str(folder / "results.csv"))
    for command in (["forget"], ["audit", "--said", "yes", "--truly", "no"]):
        assert "the person is empty" in typed(folder, *command, " ", code=2)
    assert "no reply of this person" in typed(folder, "audit", "b@example.org", "--said", "no", "--truly", "no", code=2)
    assert typed(folder, "audit", "A@example.org", "--said", "yes", "--truly", "no").startswith("1 reply read;")
    assert "--unseen" in typed(folder, "forget", "typo@example.org", code=2)
    assert "2 records removed." in typed(folder, "forget", "a@example.org")
    assert "0 records removed." in typed(folder, "forget", "a@example.org"), "told twice"
    assert "0 records removed." in typed(folder, "forget", "new@example.org", "--unseen")


def test_a_list_that_was_sent_tells_who_is_new_known_and_refused(folder: Path) -> None:
    live = load(folder).need_live()
    with contextlib.closing(house.store_of("s", live, folder / HOME)) as store:
        salt = house.salt(folder / HOME, store)
    rows = ["email,ar_proof"]
    for who in ("a@example.org", "b@example.org", "c@example.org"):
        shown = proof.shown(unit(salt, who), "headline=bold", "", 1, 1.0, False, 1e9)
        rows.append(f"{who},{proof.of(salt, shown)}")
    (folder / "list.csv").write_text("\n".join(rows[:2]))
    assert typed(folder, "sent", str(folder / "list.csv")) == "1 exposure recorded, 0 known before."
    typed(folder, "forget", "b@example.org", "--unseen")
    (folder / "list.csv").write_text("\n".join([*rows, "d@example.org,"]))
    told = "1 exposure recorded, 1 known before, 1 refused, of people who asked to be forgotten; no proof in 1 row."
    assert typed(folder, "sent", str(folder / "list.csv")) == told
