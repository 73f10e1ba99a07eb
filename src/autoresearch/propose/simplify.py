"""
What could be taken out of a Python file: a statement, a term of a sum or product, an option, a decorator.

Each cut is a deletion of whole bytes found through the syntax tree, and its result compiles. Nothing is cut
that other code visibly needs: imports, definitions, names that are read later. Whether anything is lost by a
cut is for the measurement to say. Knows texts; no files, no trials.
"""

import ast
import functools
import re
import zlib
from collections.abc import Iterator

from msgspec import Struct

KEEP_DECORATORS = {"property", "staticmethod", "classmethod", "dataclass", "abstractmethod", "overload", "setter"}
KEEP_DECORATORS |= {"contextmanager", "fixture", "register", "cached_property", "override", "wraps"}
KEEP_CALLS = {"print", "write", "flush", "exit", "main", "append", "seed", "manual_seed", "__init__", "mkdir"}
KEEP_CALLS |= {"save", "dump", "load_state_dict", "dup2", "set_flush_denormal"}
KEEP_CALLS |= {"backward", "step", "zero_grad"}  # without these nothing is learnt
KEEP_OPTIONS = {"default", "default_factory", "key", "file", "end", "dtype", "device", "dim", "axis", "shape", "size"}
KEEP_OPTIONS |= {"value", "exist_ok", "parents", "map_location", "non_blocking", "enabled", "is_causal"}
# What is most often there out of habit goes first.
HABITS = re.compile(r"clip|warm|norm|drop|smooth|decay|ema|softcap|mask|aux|scale|init|compile|fused|bias")

Placed = ast.expr | ast.stmt | ast.keyword
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Ending = ast.Return | ast.Raise | ast.Break | ast.Continue | ast.Yield | ast.Import | ast.ImportFrom


class Cut(Struct, frozen=True):
    """A deletion: the bytes from `start` to `end`, what they are in words, and a name that survives edits."""

    key: str
    start: int
    end: int
    line: int
    words: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + source[self.end :]


@functools.lru_cache(maxsize=32)
def cuts(file: str, source: bytes) -> tuple[Cut, ...]:
    """Every cut that a Python file offers, the most promising first. Empty where it does not parse."""
    try:
        reader = _Reader(file, source)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    found = {cut.key: cut for cut in reader.all()}
    return tuple(sorted(found.values(), key=_order))


def compiles(source: bytes) -> bool:
    try:
        compile(source, "asset", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _order(cut: Cut) -> tuple[bool, int]:
    """Habits first; then without favour for the top of the file, the same on every machine."""
    return not HABITS.search(cut.words.lower()), zlib.crc32(cut.key.encode())


class _Reader:
    """One parse of a file, and what must be known of all of it before any part may go."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source = file, source
        self.module = ast.parse(source)
        self.lines = [0] + [match.end() for match in re.finditer(rb"\r\n|\r|\n", source)]
        if source.startswith(b"\xef\xbb\xbf"):
            self.lines[0] = 3
        nodes = list(ast.walk(self.module))
        self.read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        self.attributes = {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}

    def all(self) -> Iterator[Cut]:
        for node in self.module.body:
            if isinstance(node, Definition):
                yield from self._definition(node, node.name)
            elif isinstance(node, ast.For | ast.While | ast.If | ast.With | ast.Try):
                yield from self._block(node, "", _bound(self.module))
            else:
                yield from self._options(node, "")
                if isinstance(node, ast.Expr) and len(self.module.body) > 1:
                    yield from self._statement(node, "", {})

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: str) -> Iterator[Cut]:
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
            if _called(call) not in KEEP_DECORATORS:
                start = self._at(decorator.lineno, 0)
                yield self._cut(scope, decorator, start, self._line_end(decorator), "the decorator")
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Definition):
                    yield from self._definition(inner, f"{scope}.{inner.name}")
        else:
            yield from self._block(node, scope, _bound(node))

    def _block(self, node: ast.stmt | ast.ExceptHandler, scope: str, bound: dict[str, int]) -> Iterator[Cut]:
        """Cuts within a statement that holds statements."""
        for field in ("body", "orelse", "finalbody", "handlers"):
            body: list[ast.stmt | ast.ExceptHandler] = getattr(node, field, [])
            for inner in body:
                if isinstance(inner, Definition):
                    yield from self._definition(inner, f"{scope}.{inner.name}")
                    continue
                if isinstance(inner, ast.stmt) and len(body) > 1:  # the only one of a body cannot go
                    yield from self._statement(inner, scope, bound)
                if hasattr(inner, "body"):
                    yield from self._block(inner, scope, bound)
                elif isinstance(inner, ast.stmt):
                    yield from self._options(inner, scope)
                    yield from self._terms(inner, scope)

    def _statement(self, node: ast.stmt, scope: str, bound: dict[str, int]) -> Iterator[Cut]:
        match node:
            case ast.Expr(value=ast.Call() as call):
                may_go = _called(call) not in KEEP_CALLS
            case ast.AugAssign(value=value):
                may_go = not isinstance(value, ast.Constant)  # `step += 1` counts what a loop waits for
            case ast.Assign() | ast.AnnAssign() | ast.If(orelse=[]) | ast.For(orelse=[]):
                may_go = self._is_spare(node, bound)
            case _:
                may_go = False
        if may_go:
            start, end = self._at(node.lineno, 0), self._line_end(node)
            alone = not self.source[start : self._at(node.lineno, node.col_offset)].strip()
            if alone and self._only_comment(self._end(node), end):
                yield self._cut(scope, node, start, end, "")

    def _is_spare(self, node: ast.stmt, bound: dict[str, int]) -> bool:
        """Whether every name a statement sets was set before it or is never read, and it ends nothing."""
        for child in ast.walk(node):
            if isinstance(
                child,
                ast.Return | ast.Raise | ast.Break | ast.Continue | ast.Yield | ast.Import | ast.ImportFrom,
            ):
                return False
            if isinstance(child, ast.Call) and _called(child) in KEEP_CALLS:
                return False
            if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store) and child.attr in self.attributes:
                return False
        return all(bound.get(name, line) < line or name not in self.read for name, line in _bound(node).items())

    def _terms(self, node: ast.stmt, scope: str) -> Iterator[Cut]:
        """The terms of the sum or product that a statement computes, each with its operator."""
        if not isinstance(node, ast.Assign | ast.AugAssign | ast.Return) or node.value is None:
            return
        whole = node.value
        while isinstance(whole, ast.BinOp) and isinstance(whole.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
            left, right = whole.left, whole.right
            if any(isinstance(part, ast.JoinedStr) or _is_text(part) for part in (left, right)):
                return
            between = self.source[self._end(left) : self._start(right)]
            closed = between.rfind(b")") + 1  # parentheses around the left term stay, those of the right go
            closing = re.compile(rb"(?:\s*\))" * between.count(b"(", closed))
            if tail := closing.match(self.source, self._end(right)):
                yield self._cut(scope, right, self._end(left) + closed, tail.end(), "the term")
            if not isinstance(left, ast.BinOp) and isinstance(whole.op, ast.Add | ast.Mult) and not closed:
                start = self._start(right) - between.count(b"(")
                yield self._cut(scope, left, self._start(left), start, "the term")
            whole = left

    def _options(self, node: ast.stmt, scope: str) -> Iterator[Cut]:
        """Keyword arguments, each with the comma before it, or after it where it comes first."""
        for call in ast.walk(node):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") in ("dict", "print", "field"):
                continue
            before = self._end(call.args[-1]) if call.args else None
            for index, keyword in enumerate(call.keywords):
                start, end = self._start(keyword), self._end(keyword.value)
                if before is not None:
                    start = before
                elif index + 1 < len(call.keywords):
                    end = self._start(call.keywords[index + 1])
                before = self._end(keyword.value)
                if keyword.arg is not None and keyword.arg not in KEEP_OPTIONS and start < end:
                    yield self._cut(scope, keyword, start, end, "the option")

    # -- places ----------------------------------------------------------------------------------------

    def _cut(self, scope: str, node: Placed, start: int, end: int, what: str) -> Cut:
        text = " ".join(ast.unparse(node).split())
        key = f"{self.file}:{scope}:{what}:{text}"[:160]
        return Cut(key, start, end, node.lineno, f"{what} `{_short(text)}`".strip())

    def _at(self, line: int, column: int) -> int:
        return self.lines[line - 1] + column

    def _start(self, node: Placed) -> int:
        return self._at(node.lineno, node.col_offset)

    def _end(self, node: Placed) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.end_lineno, node.end_col_offset)

    def _line_end(self, node: Placed) -> int:
        assert node.end_lineno is not None
        return self.lines[node.end_lineno] if node.end_lineno < len(self.lines) else len(self.source)

    def _only_comment(self, start: int, end: int) -> bool:
        rest = self.source[start:end].strip()
        return not rest or rest.startswith(b"#")


def _bound(node: ast.AST) -> dict[str, int]:
    """Every name that is set within, with the first line that does so; arguments before all lines."""
    lines: dict[str, int] = {}
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            lines[child.id] = min(lines.get(child.id, child.lineno), child.lineno)
        elif isinstance(child, ast.arg):
            lines[child.arg] = 0
    return lines


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
