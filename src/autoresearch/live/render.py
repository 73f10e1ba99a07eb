"""
A template with a cell's texts put in: a page, a mail or an advertisement.

The template is the person's, and frozen. A level's text is data: it is escaped where it becomes HTML, it is never read as a
template, and a template has nothing but it to work with. In a plain-text template nothing is escaped, since nothing is markup there.
"""

import difflib
from collections.abc import Mapping
from html.parser import HTMLParser

import msgspec
from msgspec import Struct

from autoresearch.errors import MissingExtra, StudyError
from autoresearch.live import brand
from autoresearch.live.variables import FILE, Cell, Variables, key

try:
    from jinja2 import StrictUndefined, TemplateError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError:
    raise MissingExtra("jinja2", "live", "a live study") from None

MOST_TEMPLATE = 512_000  # bytes
MOST_WHOLE = 1_000_000  # characters
OWN = frozenset({"nonce", "cell"})  # what a template is given beside the variables
SUBJECT = "Subject:"
_BLOCK_TAGS = (
    "address article aside blockquote body br button dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr img input label li main nav ol option p pre section select table td th title tr ul"
)
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_UNSEEN = frozenset({"script", "style", "template", "noscript"})
_READ = ("alt", "title", "placeholder", "aria-label")  # attributes whose words a reader gets


class Mail(Struct, frozen=True):
    """A rendered text whose first line is its subject."""

    subject: str
    body: str


class Template:
    """
    A file of a study, read once.

    Raises:
        StudyError: it cannot be read, or is no template.
    """

    def __init__(self, source: str, name: str = "page.html") -> None:
        self.name = name
        self.html = name.endswith((".html", ".htm"))
        self._made = ImmutableSandboxedEnvironment(
            autoescape=self.html, undefined=StrictUndefined, keep_trailing_newline=True, cache_size=0
        )
        self._made.globals.clear()  # range, cycler, lipsum: nothing that a page needs
        try:
            self.names = frozenset(meta.find_undeclared_variables(self._made.parse(source)))
            self._template = self._made.from_string(source)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise StudyError(f"{name}{f', line {line}' if line else ''}: {error}") from None

    def render(self, texts: Mapping[str, str], cell: str = "", nonce: str = "") -> str:
        """
        Raises:
            StudyError: the template wants a name that no variable has, or does what it must not.
        """
        try:
            made = self._template.render(values(texts) | {"cell": cell, "nonce": nonce})
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise StudyError(f"{self.name}: {error}") from None
        if len(made) > MOST_WHOLE:
            raise StudyError(f"{self.name}: renders to {len(made):,} characters, and {MOST_WHOLE:,} is the most")
        return made


def values(texts: Mapping[str, str]) -> dict[str, str]:
    """Variable -> text as a template names it: a - in a variable's name is a _ there."""
    return {name.replace("-", "_"): text for name, text in texts.items()}


def shown(variables: Variables, cell: Cell) -> dict[str, str]:
    """
    Variable -> what is shown; an image of the study's own as the address under which it is served.

    Raises:
        KeyError: a level is not there any more.
    """
    texts = variables.texts(cell)
    for name, text in texts.items():
        if variables.variables[name].kind == "image" and not text.startswith("https://"):
            texts[name] = f"static/{text}"
    return texts


def mail(rendered: str, name: str = "mail.txt") -> Mail:
    """
    Raises:
        StudyError: the first line is no subject, or there is no line for one between it and the body.
    """
    first, _, rest = rendered.replace("\r\n", "\n").partition("\n")
    gap, _, body = rest.partition("\n")
    subject = first.removeprefix(SUBJECT).strip()
    if not first.startswith(SUBJECT) or not subject or gap.strip():
        raise StudyError(
            f"{name}: must begin with one line '{SUBJECT} ...' and an empty line; a subject has no line break"
        )
    return Mail(subject, body.strip() + "\n")


class _Reader(HTMLParser):
    """Collects what somebody would read, and which outcomes an element reports."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.outcomes: set[str] = set()
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        self.parts += ["\n"] if tag in _BLOCKS else []
        for name, value in attrs:
            self.parts += [f"\n{value}\n"] if name in _READ and value else []
            self.outcomes |= {value} if name == "data-outcome" and value else set()

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in _UNSEEN and self._unseen > 0
        self.parts += ["\n"] if tag in _BLOCKS else []

    def handle_data(self, data: str) -> None:
        self.parts += [] if self._unseen else [data]


def seen(rendered: str, html: bool = True) -> str:
    """What somebody reads of it: no markup, no script."""
    return "".join(_read(rendered).parts) if html else rendered


def outcomes(rendered: str) -> set[str]:
    """The outcomes that its elements report, `data-outcome`."""
    return _read(rendered).outcomes


def _read(rendered: str) -> _Reader:
    reader = _Reader()
    reader.feed(rendered)
    reader.close()
    return reader


def unknown(template: Template, variables: Variables) -> tuple[str, ...]:
    """Names with which it cannot be rendered at all, one sentence each."""
    known = {name.replace("-", "_") for name in variables.variables} | OWN
    found = []
    for name in sorted(template.names - known):
        near = difflib.get_close_matches(name, known, 1)
        found.append(
            f"{template.name}: {{{{ {name} }}}} is no variable of {FILE}{f'; did you mean {near[0]}?' if near else ''}"
        )
    return tuple(found)


def problems(
    template: Template, variables: Variables, outcome: str = "", rules: brand.Brand | None = None
) -> tuple[str, ...]:
    """
    What is wrong with a template and its variables, one sentence each: names that do not meet, an outcome that nothing reports, and what
    the brand's rules forbid. Each level is rendered once, with as many defaults beside it as may be.
    """
    known = {name.replace("-", "_"): name for name in variables.variables}
    found = list(unknown(template, variables))
    found += [
        f"{FILE}: {known[name]} is not in {template.name}, so that nobody would see a difference; write {{{{ {name} }}}} there"
        for name in sorted(known.keys() - template.names)
        if variables.variables[known[name]].kind != "hour"
    ]
    found += [
        f"{FILE}: {known[name]} is a name of our own in a template; take another" for name in sorted(known.keys() & OWN)
    ]
    if rules is not None:
        found += brand.breaches(rules, variables)
    if found:
        return tuple(found)
    for cell in _each_level_once(variables):
        try:
            made = template.render(shown(variables, cell), key(cell))
            if template.name.endswith(".txt") and made.startswith(SUBJECT):
                mail(made, template.name)
        except StudyError as error:
            found.append(f"{key(cell)}: {error}")
            continue
        found += forbidden(variables, cell, template, rules) if rules is not None else ()
        if outcome and template.html and outcome not in outcomes(made):
            found.append(
                f'{template.name}: nothing in it has data-outcome="{outcome}", so that the outcome is never reported'
            )
            break
    return tuple(found)


def forbidden(
    variables: Variables, cell: Cell, template: Template | None, rules: brand.Brand, file: str = brand.FILE
) -> tuple[str, ...]:
    """
    What the brand's rules have against this cell: against its levels, and against the whole that they make in the template, or side by side
    where there is none.

    Raises:
        StudyError: it cannot be rendered.
    """
    only = {name: variables.variables[name] for name in cell}
    chosen = {
        name: msgspec.structs.replace(variable, levels={cell[name]: variable.levels[cell[name]]}, default=cell[name])
        for name, variable in only.items()
    }
    found = brand.breaches(
        msgspec.structs.replace(rules, max_length=_of(rules.max_length, cell)), Variables(chosen), file
    )
    texts = shown(variables, cell)
    text = "\n".join(texts.values()) if template is None else seen(template.render(texts, key(cell)), template.html)
    return (*found, *brand.whole(rules, key(cell), text, file))


def _of(bounds: Mapping[str, int], cell: Cell) -> dict[str, int]:
    return {name: bound for name, bound in bounds.items() if name in cell}


def _each_level_once(variables: Variables) -> list[dict[str, str]]:
    """Cells in which each level stands at least once, where it may stand at all; the default first."""
    made = [variables.default]
    missing = {(name, level) for name, variable in variables.variables.items() for level in variable.levels}
    missing -= set(variables.default.items())
    for name, level in sorted(missing):
        cell = {**variables.default, name: level}
        if variables.allowed(cell):
            made.append(cell)
            missing = missing - {(name, level)}
    for cell in variables.cells() if missing else ():
        if missing & set(cell.items()):
            made.append(cell)
            missing = missing - set(cell.items())
        if not missing:
            break
    return made
