"""
The shape of a file: its identity as far as it runs, whatever its comments, docstrings, quotes and layout.

Equal shapes run alike. The reverse is not promised: a name changed throughout is another shape, and what cannot be
read as its suffix says is taken as text. A program that reads its own text can tell two files of one shape apart;
so can one that lives on the order of keys in a JSON or TOML file. Knows texts; no files, no git.
"""

import ast
import hashlib
import json
import operator
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

LARGEST = 256 * 1024  # bytes; a larger file is data, and its own bytes are its shape
LARGEST_YAML = 32 * 1024  # its parser reads some 50 KB a second
DEEPEST = 150  # levels; far below where parsers and Python give up, so that the answer never depends on the caller
WIDEST = 256  # bits of a whole number that plain arithmetic is worked out to
NAMES = 12  # bytes of a shape

_COMPUTE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SIGN: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_SAYS_NOTHING = {"ctx", "kind", "type_comment", "type_ignores"}  # fields of a syntax tree


class _Unreadable(Exception):
    """Too deep, or not what its suffix says."""


def shape(path: str, content: bytes) -> str:
    """
    The shape of one file. Takes well under a second whatever the content (tests/test_shape.py tries to hang it).

    A .py file is its syntax tree, with plain arithmetic on numbers worked out: `64 * 1024` is 65536 and 1e-3 is 0.001,
    but 1 is not 1.0. A .toml, .json or .yaml file is what its parser reads. Any other file is its bytes, blanks at the
    ends of lines and empty lines at its end left out.
    """
    read = _READERS.get(PurePosixPath(path).suffix.lower())
    if read is not None and len(content) <= LARGEST:
        try:
            return read(content).hex()
        except (_Unreadable, SyntaxError, ValueError, RecursionError, MemoryError, ImportError):
            pass  # it cannot be read as what it is called
    return _digest(b"text", _trimmed(content)).hex()


def together(shapes: Mapping[str, str]) -> str:
    """The shape of several files, by path."""
    parts = (f"{path}\0{one}".encode(errors="surrogateescape") for path, one in sorted(shapes.items()))
    return _digest(b"files", *parts).hex()


def _digest(*parts: bytes) -> bytes:
    """Of parts that cannot be mistaken for other parts: each comes with its length."""
    whole = hashlib.blake2b(digest_size=NAMES)
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.digest()


def _trimmed(content: bytes) -> bytes:
    if b"\0" in content or len(content) > LARGEST:
        return content
    # A blank behind a backslash ends what it would have continued.
    lines = [line if line.rstrip(b" \t").endswith(b"\\") else line.rstrip(b" \t") for line in content.split(b"\n")]
    return b"\n".join(lines).rstrip(b"\n")


# -- data ----------------------------------------------------------------------------------------------


def _value(data: Any, depth: int = 0) -> bytes:
    """Of what a parser read. Tables are compared without the order of their keys, as TOML and JSON define them."""
    if depth > DEEPEST:
        raise _Unreadable
    match data:
        case dict():
            return _digest(b"table", *sorted(_digest(_value(k), _value(v, depth + 1)) for k, v in data.items()))
        case list():
            return _digest(b"list", *(_value(part, depth + 1) for part in data))
        case str():
            return _digest(b"str", data.encode(errors="surrogatepass"))
        case bytes():
            return _digest(b"bytes", data)
        case int() if not isinstance(data, bool):
            return _digest(b"int", hex(data).encode())  # in decimals, a long one is refused
    return _digest(type(data).__name__.encode(), repr(data).encode())  # floats, True, None, ..., dates


def _toml(content: bytes) -> bytes:
    if any(line.count(b".") > DEEPEST for line in content.splitlines()):
        raise _Unreadable  # a key of so many parts: its parser takes their square in memory
    return _value(tomllib.loads(content.decode()))


def _json(content: bytes) -> bytes:
    return _value(json.loads(content))


def _yaml(content: bytes) -> bytes:
    """Its nodes, not its values: building values out of aliases and merges can take for ever."""
    import yaml

    if len(content) > LARGEST_YAML:
        raise _Unreadable
    known: dict[int, bytes] = {}  # a node behind many aliases is read once

    def of(node: Any, depth: int) -> bytes:
        if depth > DEEPEST:
            raise _Unreadable  # or an alias leads to itself
        if (found := known.get(id(node))) is None:
            tag, value = node.tag.encode(), node.value
            if isinstance(node, yaml.MappingNode):
                pairs = (_digest(of(key, depth + 1), of(part, depth + 1)) for key, part in value)
                found = _digest(tag, *sorted(pairs))
            elif isinstance(node, yaml.SequenceNode):
                found = _digest(tag, *(of(part, depth + 1) for part in value))
            else:
                found = _digest(tag, _scalar(node.tag, value))
            known[id(node)] = found
        return found

    try:
        documents = list(yaml.compose_all(content.decode(), Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        raise _Unreadable from None
    return _digest(b"yaml", *(of(document, 0) for document in documents))


def _scalar(tag: str, value: str) -> bytes:
    """1_000 is 1000, and 1.0e-3 is 0.001; other spellings of one value stay apart."""
    kind = {"tag:yaml.org,2002:int": int, "tag:yaml.org,2002:float": float}.get(tag)
    try:
        # A leading zero makes it octal there, and a colon counts in sixties.
        return _value(kind(value)) if kind and (value.lstrip("+-")[:1] != "0" or "." in value) else _value(value)
    except ValueError:
        return _value(value)


# -- Python --------------------------------------------------------------------------------------------


def _python(content: bytes) -> bytes:
    out: list[bytes] = []
    _write(ast.parse(content), 0, out)
    return _digest(b"".join(out))


def _write(node: ast.AST, depth: int, out: list[bytes]) -> int | float | None:
    """Add a piece of syntax to `out`, unambiguously; its number, where it is plain arithmetic."""
    if depth > DEEPEST:
        raise _Unreadable
    if isinstance(node, ast.Constant):
        out.append(_leaf(node.value))
        number = node.value
        return number if isinstance(number, int | float) and not isinstance(number, bool) else None
    begin = len(out)
    out.append(type(node).__name__.encode() + b"(")
    numbers: list[int | float | None] = []
    for name in node._fields:
        if name in _SAYS_NOTHING:
            continue
        field = getattr(node, name, None)
        if field is None or field == []:
            continue  # later versions of Python add lists that are mostly empty
        out.append(name.encode() + b"=")
        if isinstance(field, list):
            for part in field:
                if not isinstance(part, ast.AST):
                    out.append(b"-" if part is None else _leaf(part))  # None: where a dict has `**more`
                elif not _does_nothing(part):
                    out.append(b",")
                    _write(part, depth + 1, out)
        elif isinstance(field, ast.AST):
            numbers.append(_write(field, depth + 1, out))
        else:
            out.append(_leaf(field))  # a name
    out.append(b")")
    if isinstance(node, ast.BinOp | ast.UnaryOp) and (number := _worked_out(node, numbers)) is not None:
        out[begin:] = [_leaf(number)]
        return number
    return None


def _leaf(value: Any) -> bytes:
    return b"#" + _value(value)


def _does_nothing(part: object) -> bool:
    """A statement that is a docstring, `pass` or `...`."""
    return isinstance(part, ast.Pass) or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))


def _worked_out(node: ast.BinOp | ast.UnaryOp, numbers: Sequence[int | float | None]) -> int | float | None:
    """Of the numbers of its operands. The operator between them is a piece of syntax too, without a number."""
    if isinstance(node, ast.UnaryOp):
        sign, number = _SIGN.get(type(node.op)), numbers[-1]
        return None if sign is None or number is None else sign(number)
    compute, left, right = _COMPUTE.get(type(node.op)), numbers[0], numbers[-1]
    if compute is None or left is None or right is None or not (_is_small(left) and _is_small(right)):
        return None
    if isinstance(node.op, ast.Pow) and isinstance(left, int) and left.bit_length() * abs(right) > WIDEST:
        return None
    try:
        result = compute(left, right)
    except (ArithmeticError, ValueError):
        return None  # as it would when it runs
    return result if _is_small(result) else None


def _is_small(number: object) -> bool:
    return isinstance(number, float) or (isinstance(number, int) and number.bit_length() <= WIDEST)


_READERS = {".py": _python, ".toml": _toml, ".json": _json, ".yaml": _yaml, ".yml": _yaml}
