"""
The pictures of docs/live.md: what a visitor sees, what waits for a person's word, and the map.

    python -m benchmarks.live_pictures
    python -m benchmarks.live_pictures --into /tmp/looked --phone

The study is the template `landing-page` after three weeks of a simulated audience, whose clock is turned by hand; its own seed, another
each time, draws the plans, so figures differ a little from one time to the next. Needs the extras `live` and `web`, playwright, Pillow
and a Chromium.
"""

import argparse
import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from autoresearch import person, session
from autoresearch.campaign import house, levels, running, showing
from autoresearch.campaign.turns import Campaign, machine
from autoresearch.inbox import Inbox
from autoresearch.listener import Listener
from autoresearch.live.audience import DEVICES, taste
from autoresearch.live.door import Settings
from autoresearch.live.plan import assign
from autoresearch.live.records import AnyRecord, Exposure, Outcome
from autoresearch.live.serve import serving
from autoresearch.live.variables import FILE, cell_of, parse
from autoresearch.study import load
from autoresearch.web import serve
from autoresearch.workspace import HOME, Workspace

DOCS = Path(__file__).parent.parent / "docs"
DAYS, EACH_DAY, SEED = 21, 1500, 2
DAY_S = 86400.0
CHANGES = {"every_minutes = 60 ": "every_minutes = 720 ", 'approve = "human" ': 'approve = "human"\nsimulated = true '}
WAIT = {("headline", "question"), ("price", "monthly")}  # left in the queue
IDEA = 'plan = "Plan next week"\nshow = "Show me Thursday"'  # asked for through MCP
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
LARGE = 150_000  # bytes


def make(folder: Path) -> Path:
    showing.simulated(folder, "landing-page", CHANGES)
    return folder


def live_through(folder: Path, days: int) -> None:
    """So many days of visitors, of which the last is today; with none, the study only begins."""
    study = load(folder)
    assert study.live is not None
    liking, rng, came = taste(parse((folder / FILE).read_text()), SEED), random.Random(SEED), 0
    now = (time.time() // DAY_S - days) * DAY_S + DAY_S / 2
    inbox = Inbox(folder / HOME)
    with session.opened(folder, session.Goal(), Listener()) as lab:
        session.begin(lab, machine(study.live))
        with contextlib.closing(house.store_of(study.name, study.live, folder / HOME)) as store:
            campaign = Campaign(lab, folder / HOME, store, lambda: now)
            campaign.turn()
            if not days:
                return
            for number, level in levels.waiting(lab.log.state).items():
                if level.at not in WAIT:
                    inbox.approve(number, True)
            for _ in range(days):
                now += DAY_S / 2
                campaign.turn()
                plan = store.plan()
                assert plan is not None
                records: list[AnyRecord] = []
                for _ in range(EACH_DAY):
                    came += 1
                    device = rng.choices(list(DEVICES), list(DEVICES.values()))[0]
                    unit, segment, at = f"{came:032x}", f"device={device}", now + rng.random() * DAY_S / 3
                    given = assign(plan, study.name, unit, segment)
                    said = {"what": "exposure", "source": "pictures", "id": f"e{came}", "at": at, "unit": unit}
                    shown = {"cell": given.cell, "plan": plan.number, "chance": given.chance, "held": given.held}
                    records.append(msgspec.convert({**said, **shown, "segment": segment}, Exposure))
                    if rng.random() < liking.rate(cell_of(given.cell), device):
                        did = {"source": "pictures", "id": f"o{came}", "unit": unit, "kind": "click", "at": at + 60}
                        records.append(msgspec.convert({"what": "outcome", **did}, Outcome))
                store.add(records)
                now += DAY_S / 2
                campaign.turn()
            source = folder.parent / "idea"
            source.mkdir()
            (source / FILE).write_text((folder / FILE).read_text().replace('plan = "Plan next week"', IDEA))
            person.ask(folder, "name a day: it is easier to say yes to Thursday", person.changes(folder, source), "mcp")
            campaign.turn()


@contextlib.contextmanager
def visited(folder: Path) -> Iterator[str]:
    """The address of the landing page, as its visitors see it."""
    study = load(folder)
    assert study.live is not None
    with contextlib.closing(house.store_of(study.name, study.live, folder / HOME)) as store:
        desk = running.desk_of(Workspace(folder, study), study.live, store)
        with serving(desk, Settings(port=0)) as there:
            yield there.address


def take(browser: Any, begun: Path, folder: Path, into: Path, size: str, dark: bool = False) -> None:
    """`begun`: a study that has only begun, whose visitors see the template as it comes."""
    wide, high = SIZES[size]
    end = "" if size == "desktop" and not dark else f"-{size}{'-dark' if dark else ''}"
    context = browser.new_context(
        viewport={"width": wide, "height": high}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    with visited(begun) as address:
        tab.goto(address)
        tab.screenshot(path=into / f"live-page{end}.png")
    with serve.serving(folder, 0) as page:
        tab.goto(page.link)
        tab.wait_for_selector("#places tbody")
        tab.wait_for_selector("#waiting li")
        tab.set_viewport_size({"width": wide, "height": 3200})  # frames out of sight are not drawn
        tab.wait_for_timeout(1500)
        tab.locator("#queue").screenshot(path=into / f"live-queue{end}.png")
        tab.locator("#resonates").screenshot(path=into / f"live-map{end}.png")
        if end:
            tab.locator("#shown-now").screenshot(path=into / f"live-now{end}.png")
            tab.screenshot(path=into / f"live-whole{end}.png", full_page=True)
    context.close()


def smaller(path: Path) -> None:
    """In as many colours as a palette has, where it would be large."""
    from PIL import Image

    with Image.open(path) as image:
        made = image.convert("RGB")
    if path.stat().st_size > LARGE:
        made = made.quantize(256, dither=Image.Dither.NONE)
    made.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--into", type=Path, default=DOCS)
    parser.add_argument(
        "--phone", action="store_true", help="Also as on a phone, and dark, which no page of docs shows."
    )
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    options.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        begun, folder = (make(Path(name) / one / "landing-page") for one in ("begun", "lived"))
        live_through(begun, 0)
        live_through(folder, DAYS)
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        take(browser, begun, folder, options.into, "desktop")
        if options.phone:
            take(browser, begun, folder, options.into, "phone")
            take(browser, begun, folder, options.into, "desktop", dark=True)
        browser.close()
    for path in sorted(options.into.glob("live-*.png")):
        smaller(path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
