"""
The documentation says what exists, and nothing else.

Read as text and compared with the code both ways: what exists without its line fails, and so does a line
about something that does not exist.
"""

import re
import shlex
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from autoresearch import events, final, rungs, study, trial
from autoresearch.cli import main
from autoresearch.errors import StudyError
from autoresearch.study import Study, parse

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
RECORDS = (
    trial.Metric,
    trial.Machine,
    trial.Run,
    trial.Measurement,
    trial.Verdict,
    trial.Imported,
    trial.Beside,
    trial.Claim,
    trial.Share,
    rungs.Transfer,
    rungs.Rung,
    rungs.Effect,
    rungs.Passage,
    rungs.Reach,
    rungs.Crossing,
    final.Final,
    final.Branch,
    final.Clash,
)
COMMANDS = sorted(main.commands)


# -- reading Markdown ------------------------------------------------------------------------------------


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each table row; heads and rulers are rows too, but hold no code."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_cells(text: str) -> list[str]:
    return [word for cells in rows(text) for word in code(cells[0])]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The names under which a page's headings can be linked to."""
    heads = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# -- commands --------------------------------------------------------------------------------------------


def test_every_command_has_its_section_and_every_section_its_command() -> None:
    documented = re.findall(r"^## `autoresearch (.*)`$", page("cli.md"), re.MULTILINE)

    assert sorted(documented) == COMMANDS
    assert set(COMMANDS) <= {words[1] for cells in rows(section_of_readme()) for words in _command_words(cells)}


def section_of_readme() -> str:
    return section((ROOT / "README.md").read_text(encoding="utf-8"), "## Your own code")


def _command_words(cells: list[str]) -> list[list[str]]:
    return [words for words in map(str.split, code(cells[0])) if words[:1] == ["autoresearch"]]


def commands(command: click.Command) -> list[click.Command]:
    """A command, or a group with what is in it: one section and one table for all of it."""
    return [command, *(command.commands.values() if isinstance(command, click.Group) else ())]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_a_command_are_those_in_its_table(name: str) -> None:
    options = [p for command in commands(main.commands[name]) for p in command.params if isinstance(p, click.Option)]
    exist = {opt for option in options for opt in (*option.opts, *option.secondary_opts)}

    assert set(first_cells(section(page("cli.md"), f"## `autoresearch {name}`"))) == exist


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_line_in_a_shell_block_can_be_typed(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8"), "sh"):
        for words in (words for line in block.splitlines() for words in invocations(line)):
            parse_command(words)


def invocations(line: str) -> Iterator[list[str]]:
    """The words behind each `autoresearch` that a shell line starts."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|<>()"):
            if command[:1] == ["autoresearch"]:
                yield command[1:]
            command = []
        elif command or not re.fullmatch(r"\w+=.*", word):  # an assignment before the command
            command.append(word)


def parse_command(words: list[str]) -> None:
    """Read a command line as click would, without running it."""
    if words[0] not in main.commands:
        raise click.UsageError(f"no command {words[0]}")
    # Under the group: a command keeps the help option that its first context gave it.
    command, rest, parent = main.commands[words[0]], words[1:], click.Context(main, **main.context_settings)
    if isinstance(command, click.Group) and rest:
        if rest[0] not in command.commands:
            raise click.UsageError(f"no command {' '.join(words[:2])}")
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], rest, parent=parent)


def test_a_command_line_that_cannot_be_typed_is_noticed() -> None:
    assert list(invocations("X=1 autoresearch diff 7 | git apply # autoresearch x")) == [["diff", "7"]]
    for wrong in (["rnu"], ["run", "--trails", "3"], ["run", "--trials", "many"]):
        with pytest.raises(click.UsageError):
            parse_command(wrong)


# -- study.toml ------------------------------------------------------------------------------------------


def keys(table: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of study.toml, dotted, with its default as the documentation writes it."""
    for field in msgspec.structs.fields(table):
        name = prefix + field.encode_name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from keys(field.type, f"{name}.")
        elif field.required:
            yield name, "required"
        else:
            for part in typing.get_args(field.type):  # a list of tables
                yield from keys(part, f"{name}.") if isinstance(part, type) and issubclass(part, msgspec.Struct) else ()
            value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            yield name, "none" if value is None else f"`{msgspec.json.encode(value).decode()}`"


def test_every_key_is_documented_with_its_default_and_no_other() -> None:
    table = rows(section(page("study.md"), "## Keys").partition("###")[0])
    documented = {code(cells[0])[0]: cells[2] for cells in table if code(cells[0])}

    assert documented == dict(keys(Study))


def test_every_budget_unit_is_documented() -> None:
    row = next(cells for cells in rows(page("study.md")) if cells[0] == "`measure.budget`")

    assert set(study.UNITS) <= set(code(row[3]))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_study_shown_is_a_study(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8"), "toml"):
        if "[metric]" in block:
            parse(block)
        elif block.startswith("[[live."):
            head = 'name = "part"\nasset = ["variables.toml"]\n[metric]\nname = "m"\ndirection = "maximize"\n'
            parse(f'{head}[live]\noutcome = "click"\n{block}')
        else:  # a part of one
            parse(f'name = "part"\nasset = ["a"]\n{block}\n[metric]\nname = "m"\n[measure]\nrun = "a"\n')


def test_a_study_shown_with_a_mistyped_key_is_noticed() -> None:
    with pytest.raises(StudyError):
        parse('name = "a"\nasset = ["a"]\n[metric]\nnme = "m"\n[measure]\nrun = "a"\n')


def test_the_environment_variables_documented_are_those_in_the_code() -> None:
    sources = [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".md", ".toml"}]
    used = {name for path in sources for name in variables(path.read_text(encoding="utf-8"))}

    assert variables(page("study.md")) == used
    tables = [section(page("study.md"), heading) for heading in ("## What a run is told", "## What you may set")]
    lines = [name for table in tables for name in first_cells(table) if name in used]
    assert sorted(lines) == sorted(used), "each has one line in a table"


def variables(text: str) -> set[str]:
    return set(re.findall(r"AUTORESEARCH_[A-Z]+(?:_[A-Z]+)*", text))


# -- words -----------------------------------------------------------------------------------------------


def test_every_verdict_has_its_line_and_every_line_its_verdict() -> None:
    assert sorted(first_cells(section(page("concepts.md"), "## Verdicts"))) == sorted(typing.get_args(trial.Word))


def test_every_run_status_has_its_line_and_every_line_its_status() -> None:
    documented = first_cells(section(page("study.md"), "## How a run ends"))

    assert sorted(documented) == sorted(typing.get_args(trial.RunStatus))


# -- events ----------------------------------------------------------------------------------------------


def pairs(heading: str) -> list[tuple[str, str]]:
    table = rows(section(page("events.md"), heading))
    return [(code(cells[0])[0], code(cells[1])[0]) for cells in table if code(cells[0]) and code(cells[1])]


def test_every_event_and_field_has_its_line_and_every_line_its_field() -> None:
    kinds: tuple[type[events.Event], ...] = typing.get_args(events.AnyEvent)
    common = set(events.Event.__struct_encode_fields__)
    exist = [
        (str(kind.__struct_config__.tag), field)
        for kind in kinds
        for field in kind.__struct_encode_fields__
        if field not in common
    ]

    assert sorted(pairs("## Kinds")) == sorted(exist)
    shared = {code(cells[1])[0] for cells in rows(page("events.md")) if cells[0] == "every event"}
    assert shared == common
    assert set(kinds) == set(events.Event.__subclasses__())


def test_every_field_of_the_records_in_events_has_its_line() -> None:
    exist = [(record.__name__, field) for record in RECORDS for field in record.__struct_encode_fields__]

    assert sorted(pairs("## Records")) == sorted(exist)


def test_every_record_that_an_event_carries_is_documented() -> None:
    found: set[type] = set()
    waiting: list[Any] = list(events.Event.__subclasses__())
    while waiting:
        for hint in typing.get_type_hints(waiting.pop()).values():
            new = set(structs(hint)) - found
            found |= new
            waiting += new

    assert found == set(RECORDS)


def structs(hint: Any) -> Iterator[type]:
    """The record types within a type: `tuple[Imported, ...]`, `Measurement | None`."""
    if isinstance(hint, types.GenericAlias | types.UnionType) or typing.get_args(hint):
        for part in typing.get_args(hint):
            yield from structs(part)
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint


# -- links, files, targets -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))):
        if link.startswith(("https:", "http:")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            lost.append(link)

    assert not lost


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_test_and_benchmark_that_is_named_exists(path: Path) -> None:
    named = re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", path.read_text(encoding="utf-8"))

    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`make (\w+)`", text)
    named += [name for block in blocks(text, "sh") for name in re.findall(r"^make (\w+)", block, re.MULTILINE)]

    assert set(named) <= targets


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert blocks(readme, "sh")[0].split("\n") == ["make demo", "make test", ""]
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    linked = {name.rpartition("/")[2] for name in re.findall(r"\]\(([^)#\s]+\.md)", text)}

    assert {path.name for path in DOCS.glob("*.md")} <= linked
