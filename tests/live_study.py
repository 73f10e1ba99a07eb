"""A live study on loopback: the landing page of the templates, a store in a file, a plan; and requests as visitors send them."""

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

from autoresearch.live import pictures, render, variables
from autoresearch.live.brand import Brand
from autoresearch.live.desk import Desk, Hook, Material
from autoresearch.live.door import Settings
from autoresearch.live.plan import unit
from autoresearch.live.records import AnyRecord, Exposure, Outcome, Plan
from autoresearch.live.serve import Serving, serving
from autoresearch.live.settings import Live
from autoresearch.live.store import open_store
from autoresearch.live.variables import Variables, key
from autoresearch.live.waiting import Store
from benchmarks import live_held

SALT = b"a salt of the tests"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
TEMPLATE = Path(str(resources.files("autoresearch"))) / "templates" / "landing-page"


def words(template: str = "landing-page") -> Variables:
    return variables.parse((TEMPLATE.parent / template / "variables.toml").read_text(encoding="utf-8"))


def plan(known: Variables, number: int = 1, holdout: float = 0.1, at: float = 1e9, **levels: str) -> Plan:
    """All cells alike; or, of those, the ones with these levels."""
    cells = [cell for cell in known.cells() if levels.items() <= cell.items()]
    shares = {key(cell): 1 / len(cells) for cell in cells}
    return Plan(number, at, 0, 7, key(known.default), holdout, {"": shares})


class Breakable:
    """A store that is gone while `broken` is set: a disk that is full, a database that does not answer."""

    def __init__(self, store: Store) -> None:
        self._store, self.broken = store, False

    def __getattr__(self, name: str) -> Any:
        if self.broken:
            raise OSError("the database is gone")
        return getattr(self._store, name)


class Study:
    """The store, what is read from the files, and the server around them."""

    def __init__(self, folder: Path, live: Live, page: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.live = folder, live
        self.variables = words()
        self.template: render.Template | None = render.Template(page or (TEMPLATE / "page.html").read_text())
        self.path = folder / "live.db"
        self.store = open_store(self.path, "s")
        self.between = Breakable(self.store)
        self.rules: Brand | None = None
        self.now = 1.8e9

    def material(self) -> Material:
        return Material(self.variables, self.template, self.rules, self.picture)

    def picture(self, name: str) -> tuple[bytes, str] | None:
        kind, path = pictures.kind(name), self.folder / "static" / name
        return (path.read_bytes(), kind) if kind and path.is_file() else None

    def desk(self, hooks: Mapping[str, Hook] | None = None) -> Desk:
        store = cast(Store, self.between)
        return Desk("s", self.live, SALT, store, self.material, hooks, lambda: self.now, 0.1)

    @property
    def exposures(self) -> list[Exposure]:
        return live_held.exposures(self.path, "s")

    @property
    def outcomes(self) -> list[Outcome]:
        return live_held.outcomes(self.path, "s")

    @staticmethod
    def unit(person: str) -> str:
        return unit(SALT, person)


@contextlib.contextmanager
def running(
    folder: Path,
    live: Live | None = None,
    planned: Callable[[Variables], Plan] | None = plan,
    page: str | None = None,
    hooks: Mapping[str, Hook] | None = None,
    **settings: Any,
) -> Iterator[tuple[Study, Serving]]:
    """A study that is served; without `planned` there is no plan yet."""
    study = Study(folder, live or Live("click", origins=["http://shop.example"], segments=["device"]), page)
    if planned:
        study.store.add_plan(planned(study.variables))
    with serving(study.desk(hooks), Settings(**{"port": 0} | settings)) as served:
        yield study, served
    study.store.close()


class Answer:
    def __init__(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers}
        self.json: Any = json.loads(body) if self.headers.get("content-type") == "application/json" else None

    @property
    def cookie(self) -> str:
        return self.headers.get("set-cookie", "").partition(";")[0]


def ask(
    served: Serving, path: str = "/", method: str = "GET", body: object = None, raw: bytes | None = None, **headers: Any
) -> Answer:
    """A browser's request, but for the headers that are given; `body` as JSON."""
    usual = {"user-agent": BROWSER} | ({"content-type": "application/json"} if body is not None else {})
    told = usual | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        sent = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        connection.request(method, path, sent, {name: value for name, value in told.items() if value})
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


def post(served: Serving, path: str, body: object, **headers: Any) -> Answer:
    return ask(served, path, "POST", body, None, **headers)


def records(study: Study) -> list[AnyRecord]:
    return [*study.exposures, *study.outcomes]
