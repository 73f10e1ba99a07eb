"""
The tools that a live study hears from, as study.toml names them: webhooks that are ready to be called, feeds that can be asked.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from autoresearch.errors import StudyError
from autoresearch.live import hooks, polling
from autoresearch.live.desk import Delivered, Hook, Refused
from autoresearch.live.plan import unit
from autoresearch.live.settings import Live


def unit_of(salt: bytes) -> Callable[[str], str]:
    """An address or an id -> its unit."""
    return partial(unit, salt)


def called(live: Live, salt: bytes, env: Mapping[str, str] = os.environ) -> dict[str, Hook]:
    """
    Webhooks by name.

    Raises:
        StudyError: a secret is missing or too short; the message names its key.
    """
    found: dict[str, Hook] = {}
    for number, hook in enumerate(live.hooks):
        secret = _secret(hook.secret, f"live.hooks[{number}].secret", env)
        try:
            source = hooks.Source(hook.name, secret, hook.shape, hook.proof)
        except ValueError as error:
            raise StudyError(f"study.toml: live.hooks[{number}].{error} (it is taken from {hook.secret})") from None

        def receive(
            body: bytes, headers: Mapping[str, str], now: float, token: str, source: hooks.Source = source
        ) -> Delivered | Refused:
            return hooks.receive(body, headers, now, source, unit_of(salt), token)

        found[hook.name] = receive
    return found


def asked(live: Live, env: Mapping[str, str] = os.environ) -> list[polling.Feed]:
    """Feeds. Errors as in `called`."""
    found = []
    for number, feed in enumerate(live.feeds):
        secret = _secret(feed.secret, f"live.feeds[{number}].secret", env) if feed.secret else ""
        found.append(polling.Feed(**{**msgspec.structs.asdict(feed), "secret": secret}))
    return found


def _secret(said: str, key: str, env: Mapping[str, str]) -> str:
    if not said.startswith("$"):
        return said
    if not (found := env.get(said[1:], "").strip()):
        raise StudyError(f"study.toml: {key} names {said}, which is not set; set it to the tool's secret")
    return found
