"""A live study that waits for a person's word, as tests of its page make one: some of its words try to become markup."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from helpers import Recorder, git, make_study

from autoresearch import session
from autoresearch.campaign import house
from autoresearch.campaign.turns import Campaign, machine
from autoresearch.session import Goal
from autoresearch.study import load
from autoresearch.workspace import HOME

NASTY = "<img src=x onerror=\"window.hacked='{0}'\"><script>window.hacked='{0}'</script>"
VARIABLES = f"""\
[headline]
about = "the line at the top {NASTY.format("about").replace('"', "'")}"
default = "plain"
[headline.levels]
plain = "A calendar"
bold = '''{NASTY.format("level")}'''
dull = "Calendar, with a 14-day trial"

[button]
default = "go"
[button.levels]
go = "Go"

[[forbid]]
headline = "dull"
button = "go"
"""
MORE = 'wait = "Wait"\n'  # a second button, so that `dull` may be shown at all
PAGE = """\
<!doctype html><html><head><title>A page</title><style nonce="{{ nonce }}">h1 { color: rgb(1, 2, 3) }</style></head>
<body><h1>{{ headline }}</h1><a data-outcome=click href=#go>{{ button }}</a><img id=own src="static/own.svg" alt=""></body></html>
"""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="5"><rect width="7" height="5" fill="green"/></svg>'
BRAND = 'banned = ["never"]\nclaims = ["14-day trial"]\n'
MAIL = "Subject: {{ headline }}\n\nDear all,\n{{ button }}\n"


def make(folder: Path, mail: bool = False, more: str = "") -> Path:
    """A study of a page, or of a mail; its levels wait for a person's word once it was begun."""
    variables = VARIABLES.replace('go = "Go"\n', f'go = "Go"\n{MORE}')
    own = {"mail.txt": MAIL} if mail else {"page.html": PAGE, "static/own.svg": PICTURE}
    make_study(folder, asset=["variables.toml"], files={"variables.toml": variables, "brand.toml": BRAND, **own})
    channel = 'channel = "mail"\ntemplate = "mail.txt"\n' if mail else ""
    (folder / "study.toml").write_text(
        'name = "s"\nasset = ["variables.toml"]\n[metric]\nname = "click_rate"\ndirection = "maximize"\n'
        f'[live]\noutcome = "click"\nwindow_hours = 1\nholdout = 0.2\n{channel}{more}'
    )
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "-m", "live")
    return folder


@contextlib.contextmanager
def begun(folder: Path, clock: Callable[[], float] | None = None) -> Iterator[Campaign]:
    """The campaign after its first turn; the study's log is held."""
    live = load(folder).live
    assert live is not None
    with (
        session.opened(folder, Goal(), Recorder()) as lab,
        contextlib.closing(house.store_of("s", live, folder / HOME)) as store,
    ):
        session.begin(lab, machine(live))
        campaign = Campaign(lab, folder / HOME, store, *([clock] if clock else []))
        campaign.turn()
        yield campaign
