"""
Where the literals of a source file stand, and how a new one is spelled in their place.

Python through its syntax tree; TOML, JSON and YAML by scanning, every find checked against the format's own
parser. Knows texts; no files, no ranges, no search.
"""

import ast
import functools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from autoresearch.propose.ranges import Value

SEQUENCE = 8  # elements; a longer list is data, not a setting
TABLE = 64  # entries of a dict, likewise


class Literal(NamedTuple):
    """A constant in a file: its dotted name there, its value, and the bytes that spell it."""

    name: str
    value: Value
    start: int
    end: int


@functools.lru_cache(maxsize=64)  # a base is read for every proposal made on it
def find(language: str, source: bytes) -> tuple[Literal, ...]:
    """Every constant that has one name and one place. Empty where the text does not parse."""
    try:
        text = source.decode()
        found = list(SCAN[language](text))
        byte = _bytes(text)
    except (ValueError, SyntaxError, RecursionError, ImportError):
        return ()
    names = Counter(literal.name for literal in found)
    return tuple(Literal(n, v, byte(a), byte(b)) for n, v, a, b in found if names[n] == 1)


@functools.lru_cache(maxsize=64)
def values(language: str, source: bytes) -> Mapping[str, Any]:
    """
    All that the format's own parser reads from a text, flat: what an edit must leave as it was.

    Raises:
        ValueError, SyntaxError: the text does not parse.
    """
    if language == "python":
        compile(_module(source.decode()), "asset", "exec", dont_inherit=True)
        return {literal.name: literal.value for literal in find("python", source)}
    if language == "yaml":
        import yaml

        try:
            return {name: _yaml_number(leaf) for name, leaf in _flat(yaml.safe_load(source))}
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None
    return dict(_flat(tomllib.loads(source.decode()) if language == "toml" else json.loads(source)))


def _flat(data: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _flat(value, f"{name}[{index}]")
    else:
        yield name, data


def _bytes(text: str) -> Callable[[int], int]:
    """From a character's place to its byte's."""
    if text.isascii():
        return lambda place: place
    return lambda place: len(text[:place].encode())


# -- Python --------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _module(text: str) -> ast.Module:
    return ast.parse(text)


def _python(text: str) -> Iterator[Literal]:
    lines = [0]  # byte at which each line starts; the parser knows only these three line ends
    source = text.encode()
    lines += [match.end() for match in re.finditer(rb"\r\n|\r|\n", source)]
    ascii_only = text.isascii()
    for name, node in _assigned(_module(text).body, ""):
        for path, leaf in _leaves(name, node):
            value = constant(leaf)
            if value is None or leaf.end_lineno is None or leaf.end_col_offset is None:
                continue
            start, end = (
                lines[leaf.lineno - 1] + leaf.col_offset,
                lines[leaf.end_lineno - 1] + leaf.end_col_offset,
            )
            if not ascii_only:  # the parser counts bytes, a Literal's place here is in characters
                start, end = len(source[:start].decode()), len(source[:end].decode())
            yield Literal(path, value, start, end)


def _assigned(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.expr]]:
    """Names with the expressions assigned to them, at the top of a module and of its classes."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield prefix + name, value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=parts)) if len(names) == len(parts):
                yield from ((prefix + n.id, p) for n, p in zip(names, parts, strict=True) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield prefix + name, value
            case ast.ClassDef(name=name, bases=bases) if not any("Enum" in ast.unparse(base) for base in bases):
                yield from _assigned(node.body, f"{prefix}{name}.")


def _leaves(name: str, node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The parts of a dict, a short list or a `field(default=...)`, each under a name of its own."""
    match node:
        case ast.Dict(keys=keys, values=parts) if len(keys) <= TABLE:
            for key, part in zip(keys, parts, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield from _leaves(f"{name}.{key.value}", part)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) if len(parts) <= SEQUENCE:
            for index, part in enumerate(parts):
                yield from _leaves(f"{name}[{index}]", part)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            for keyword in keywords:
                if keyword.arg:
                    yield from _leaves(f"{name}.{keyword.arg}", keyword.value)
        case ast.Call(func=ast.Name(id="field") | ast.Attribute(attr="field"), keywords=keywords):
            yield from ((name, keyword.value) for keyword in keywords if keyword.arg == "default")
        case _:
            yield name, node


def constant(node: ast.expr) -> Value | None:
    """The value of a literal, or of arithmetic on nothing but numbers such as `64 * 1024`."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = constant(operand)
            if isinstance(number, bool | str) or number is None:
                return None
            return -number if isinstance(sign, ast.USub) else number
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = constant(left), constant(right)
            if a is None or b is None or isinstance(a, bool | str) or isinstance(b, bool | str):
                return None
            return _arithmetic(operator, a, b)
    return None


def _arithmetic(operator: ast.operator, a: float, b: float) -> Value | None:
    try:
        match operator:
            case ast.Add():
                return a + b
            case ast.Sub():
                return a - b
            case ast.Mult():
                return a * b
            case ast.Div():
                return a / b
            case ast.FloorDiv():
                return a // b
            case ast.Pow() if abs(b) <= 128 and abs(a) <= 1024:
                power = a**b
                return power if isinstance(power, int | float) else None
            case ast.LShift() if isinstance(a, int) and isinstance(b, int) and 0 <= b <= 128:
                return a << b
    except (ZeroDivisionError, OverflowError):
        pass
    return None


# -- TOML ----------------------------------------------------------------------------------------------

_KEY = r"(?:[A-Za-z0-9_-]+|\"[^\"\\\n]*\"|'[^'\n]*')"
_KEYS = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_KEYS})[ \t]*\]\]?[ \t]*(?:#.*)?\r?\n?")
_PAIR = re.compile(rf"[ \t]*({_KEYS})[ \t]*=[ \t]*")
_SCALAR = re.compile(
    r"true|false|[+-]?[0-9][0-9_]*(?:\.[0-9_]+)?(?:[eE][+-]?[0-9_]+)?(?![\w:.-])|\"[^\"\\\n]*\"|'[^'\n]*'"
)


def _toml(text: str) -> Iterator[Literal]:
    known = dict(_flat(tomllib.loads(text)))
    table, tables = "", Counter[str]()
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    place = number = 0
    while number < len(lines):
        line = lines[number]
        if header := _HEADER.fullmatch(line):
            table = _dotted(header[2])
            if header[1] == "[[":
                tables[table] += 1
                table = f"{table}[{tables[table] - 1}]"
        elif pair := _PAIR.match(line):
            name = f"{table}.{_dotted(pair[1])}" if table else _dotted(pair[1])
            yield from _toml_values(name, line, pair.end(), place, known)
            while not _is_toml("x = " + line[pair.end() :]) and number + 1 < len(lines):
                number += 1  # a value that goes on: a text or a list over several lines
                line += lines[number]
        place, number = place + len(line), number + 1


def _toml_values(name: str, line: str, at: int, place: int, known: dict[str, Any]) -> Iterator[Literal]:
    """The scalar, or the scalars of a flat list, that stand on a line after `name =`."""
    if not line.startswith("[", at):
        names, spots = [name], [_SCALAR.match(line, at)]
    else:
        spots = list(_SCALAR.finditer(line, at, max(line.find("]", at), at)))
        names = [f"{name}[{index}]" for index in range(len(spots))]
    for path, spot in zip(names, spots, strict=True):
        if spot and path in known and isinstance(known[path], bool | int | float | str):
            value = tomllib.loads("x = " + spot[0])["x"]
            if value == known[path] and type(value) is type(known[path]):
                yield Literal(path, value, place + spot.start(), place + spot.end())


def _dotted(keys: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_KEY, keys))


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


# -- JSON and YAML -------------------------------------------------------------------------------------

_JSON_TOKEN = re.compile(r"[ \t\r\n]*(?:([{}\[\]:,])|(\"(?:[^\"\\]|\\.)*\")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\w+))")


def _json(text: str) -> Iterator[Literal]:
    json.loads(text)  # what follows assumes a text that is whole

    def walk(place: int, name: str) -> Iterator[Literal | int]:
        """The literals of one value; at last, as an int, the place after it."""
        token = _JSON_TOKEN.match(text, place)
        assert token is not None
        if token[1] not in ("{", "["):
            value = json.loads(token[2] or token[3])
            if value is not None:
                yield Literal(name, value, token.start(2 if token[2] else 3), token.end())
            yield token.end()
            return
        place, index, is_object = token.end(), 0, token[1] == "{"
        while (token := _JSON_TOKEN.match(text, place)) and token[1] not in ("}", "]"):
            if token[1] == ",":
                place = token.end()
                continue
            path = f"{name}[{index}]"
            if is_object:
                key = json.loads(token[2])
                path = f"{name}.{key}" if name else key
                colon = _JSON_TOKEN.match(text, token.end())
                assert colon is not None
                place = colon.end()
            for found in walk(place, path):
                if isinstance(found, int):
                    place = found
                else:
                    yield found
            index += 1
        assert token is not None
        yield token.end()

    yield from (found for found in walk(0, "") if isinstance(found, Literal))


_YAML_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+")


def _yaml_number(leaf: Any) -> Any:
    """PyYAML reads `1e-4`, without a point, as text; everyone who writes it means the number."""
    return float(leaf) if isinstance(leaf, str) and _YAML_NUMBER.fullmatch(leaf) else leaf


def _yaml(text: str) -> Iterator[Literal]:
    import yaml  # an extra: without it, YAML files have no constants

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        known = values("yaml", text.encode())
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None

    def walk(node: Any, name: str) -> Iterator[Literal]:
        if isinstance(node, yaml.MappingNode):
            for key, part in node.value:
                if isinstance(key, yaml.ScalarNode):
                    yield from walk(part, f"{name}.{key.value}" if name else key.value)
        elif isinstance(node, yaml.SequenceNode) and len(node.value) <= SEQUENCE:
            for index, part in enumerate(node.value):
                yield from walk(part, f"{name}[{index}]")
        elif isinstance(node, yaml.ScalarNode) and node.style in (None, "'", '"'):
            value, start, end = known.get(name), node.start_mark.index, node.end_mark.index
            if isinstance(value, bool | int | float | str) and start < end:
                yield Literal(name, value, start, end)

    found = list(walk(root, "")) if root is not None else []
    places = Counter(literal.start for literal in found)  # an aliased node has one place and two names
    yield from (literal for literal in found if places[literal.start] == 1)


SCAN: dict[str, Callable[[str], Iterator[Literal]]] = {
    "python": _python,
    "toml": _toml,
    "json": _json,
    "yaml": _yaml,
}
