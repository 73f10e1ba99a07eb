"""
Who on a list of addresses gets which words: a CSV in, the same CSV with cell and texts out, for the tool that sends.

The list stays with the person: of an address only its unit, a salted hash, ever gets into the store. To be on a list is not to have been
written to, so an export records nothing. What was sent is told afterwards, with the exported list or with what the tool returns of it:
each row carries a proof of what it was given, so an exposure says what was really sent, under the plan that was in force when the list
was made. Until then the same list under the same plan gives the same words again, and an address that was written to before keeps its cell.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import msgspec
from msgspec import Struct

from autoresearch.errors import StudyError
from autoresearch.live import proof, table
from autoresearch.live.brand import Brand
from autoresearch.live.plan import assign, unit
from autoresearch.live.records import AnyRecord, Exposure, Plan
from autoresearch.live.render import SUBJECT, Template, forbidden, mail, shown
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variables, cell_of
from autoresearch.live.visitors import segment
from autoresearch.live.waiting import Store
from autoresearch.spreadsheet import defused, is_formula, one_line_end

COLUMN = "email"
MOST_ROWS, MOST_FIELD = 1_000_000, 20_000
PREFIX = "ar_"  # of every column of ours
UNIT, CELL, PROOF = f"{PREFIX}unit", f"{PREFIX}cell", f"{PREFIX}proof"
SUBJECT_LINE, BODY, TEXT = f"{PREFIX}subject_line", f"{PREFIX}body", f"{PREFIX}text"
BATCH = 5000  # addresses that the store is asked about at once
_ADDRESS = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\"]{1,189}")


class Exported(Struct, frozen=True):
    """`left_out`: why -> how many rows; `first_lines` names the first line of each."""

    text: str
    rows: int
    known: int
    left_out: dict[str, int]
    first_lines: dict[str, int]


def addresses(
    text: str,
    study: str,
    live: Live,
    salt: bytes,
    store: Store,
    variables: Variables,
    template: Template | None = None,
    rules: Brand | None = None,
    column: str = COLUMN,
) -> Exported:
    """
    The list with `ar_unit`, `ar_cell`, `ar_proof` and a column for each variable; where the template is a mail, its `ar_subject_line` and `ar_body`
    too, and where it is another text, that as `ar_text`.
    Left out and counted: who is suppressed, what is no address, and an address that stood there before.

    Raises:
        StudyError: it is no CSV with this column, there is no plan, a level reads as a formula, or the rules forbid a cell.
    """
    plan = store.plan()
    if plan is None:
        raise StudyError("there is no plan yet; `autoresearch run` makes the first one")
    head, rows = _read(text, column)
    if ours := [name for name in head if name.startswith(PREFIX)]:
        raise StudyError(f"the list has the column {ours[0]} already: export from the list as it was before")
    made = Rendered(variables, template, rules)
    out, left, lines, known = io.StringIO(), Counter[str](), dict[str, int](), 0
    write = csv.writer(out, lineterminator="\n")
    write.writerow([defused(name) for name in head] + [UNIT, CELL, PROOF, *made.columns])
    done: set[str] = set()
    for batch in _batches(rows):
        people = {number: unit(salt, row[column]) for number, row in batch}
        firsts, gone = store.firsts(list(people.values())), store.suppressed(list(people.values()))
        for number, row in batch:
            who = people[number]
            if why := _why_not(row[column], who, gone, done):
                left[why] += 1
                lines.setdefault(why, number)
                continue
            done.add(who)
            first = firsts.get(who)
            exposure = first or _given(plan, study, live, who, row)
            texts = made.of(exposure.cell)
            if texts is None:
                left["their words are not there any more"] += 1
                lines.setdefault("their words are not there any more", number)
                continue
            known += first is not None
            word = proof.of(salt, exposure)
            write.writerow([*(defused(row[name]) for name in head), who, exposure.cell, word, *texts])
    count = len(done) - left["their words are not there any more"]
    return Exported(out.getvalue(), count, known, dict(left), lines)


def sent(text: str, salt: bytes, at: float, column: str = COLUMN) -> tuple[list[AnyRecord], int]:
    """
    The exposures of a list that was sent, to be added to the store, and how many rows were passed over because they have no proof: the sending tool
    added them itself.

    Raises:
        StudyError: a row's address and proof are not of this study, or do not belong together; the message names the line, and nothing is
            to be recorded.
    """
    head, rows = _read(text, column)
    if PROOF not in head:
        raise StudyError(f"the list has no column {PROOF}: give the one that `autoresearch live export` made")
    found: dict[str, AnyRecord] = {}
    without = 0
    for number, row in rows:
        if not row[PROOF].strip():
            without += 1
            continue
        who = unit(salt, row[column])
        exposure = proof.exposure(salt, who, row[PROOF].strip(), at)
        if exposure is None:
            raise StudyError(
                f"line {number}: {PROOF} was not given to the address in {column!r} by this study; nothing was recorded"
            )
        found.setdefault(who, exposure)
    return list(found.values()), without


class Rendered:
    """The columns of texts for each cell, made once. A level is not altered, so one that would be run is refused."""

    def __init__(self, variables: Variables, template: Template | None, rules: Brand | None) -> None:
        self.variables, self.template, self.rules = variables, template, rules
        self.is_text = template is not None and template.name.endswith(".txt")
        default = template.render(shown(variables, variables.default)) if template and self.is_text else ""
        self.is_mail = SUBJECT in default
        self.columns = [PREFIX + name.replace("-", "_") for name in sorted(variables.variables)]
        self.columns += [SUBJECT_LINE, BODY] if self.is_mail else [TEXT] if self.is_text else []
        if twice := [name for name, count in Counter([UNIT, CELL, PROOF, *self.columns]).items() if count > 1]:
            raise StudyError(
                f"variables.toml: {twice[0].removeprefix(PREFIX)} would make a second column {twice[0]}; rename it"
            )
        self._made: dict[str, list[str] | None] = {}

    def of(self, cell: str) -> list[str] | None:
        if cell not in self._made:
            self._made[cell] = self._make(cell)
        return self._made[cell]

    def _make(self, cell: str) -> list[str] | None:
        try:
            levels = cell_of(cell)
            texts = shown(self.variables, levels)
        except (KeyError, ValueError):
            return None
        if texts.keys() != self.variables.variables.keys():
            return None
        if self.rules is not None and (wrong := forbidden(self.variables, levels, self.template, self.rules)):
            raise StudyError(wrong[0])
        for name, text in texts.items():
            if is_formula(text):
                raise StudyError(
                    f"variables.toml: {name}.levels.{levels[name]} begins like a formula ({text[:20]!r}), which a spreadsheet would run; "
                    "begin it with a word"
                )
        made = [texts[name] for name in sorted(texts)]
        if self.is_text:
            assert self.template is not None
            whole = self.template.render(texts, cell)
            fields = msgspec.structs.astuple(mail(whole, self.template.name)) if self.is_mail else (whole,)
            if any(map(is_formula, fields)):
                raise StudyError(
                    f"{self.template.name}: begins like a formula, which a spreadsheet would run; begin it with a word"
                )
            made += fields
        return [one_line_end(text) for text in made]


def _given(plan: Plan, study: str, live: Live, who: str, row: Mapping[str, str]) -> Exposure:
    """What the plan gives. Its `at` is the plan's, so that the same list comes out the same."""
    facts = {"list": _slug(row.get("list", "")), "language": _slug(row.get("language", ""))[:2]}
    where = segment(live.segments, facts)
    given = assign(plan, study, who, where)
    return proof.shown(who, given.cell, where, plan.number, given.chance, given.held, plan.at)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.strip().lower()).strip("-")[:24]


def _why_not(address: str, who: str, gone: Set[str], done: Set[str]) -> str:
    if not _ADDRESS.fullmatch(address.strip()):
        return "no address"
    return "suppressed" if who in gone else "twice in the list" if who in done else ""


def _read(text: str, column: str) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns, and each row with the line that it begins at."""
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    numbered = table.numbered(reader)
    try:
        head = [name.strip() for name in next(numbered, (1, list[str]()))[1]]
    except table.Broken as error:
        raise StudyError(f"line {error.line}: {error}") from None
    if column not in head:
        raise StudyError(
            f"the list has no column {column!r}; it has: {', '.join(head)[:300] or 'nothing'} (--column names another)"
        )
    if len(set(head)) < len(head):
        raise StudyError("line 1: two columns have the same name")

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        count = 0
        try:
            for line, row in numbered:
                if not any(row):
                    continue
                count += 1
                if len(row) != len(head):
                    raise StudyError(f"line {line}: has {len(row)} fields, and the first line has {len(head)}")
                if count > MOST_ROWS or any(len(field) > MOST_FIELD for field in row):
                    raise StudyError(
                        f"line {line}: more than {MOST_ROWS:,} rows, or than {MOST_FIELD:,} characters in a field"
                    )
                yield line, dict(zip(head, row, strict=True))
        except table.Broken as error:
            raise StudyError(f"line {error.line}: {error}") from None

    return head, rows()


def _batches(rows: Iterable[tuple[int, dict[str, str]]]) -> Iterator[Sequence[tuple[int, dict[str, str]]]]:
    batch: list[tuple[int, dict[str, str]]] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
