"""
Hosts as the contract writes them: the one place where a text becomes an origin, by shape and never by guess.

Knows no network and no secret: a key is named here, not held.
"""

import re

from msgspec import Struct

_HOST = re.compile(r"(?:(https?)://)?([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::([0-9]{1,5}))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USUAL = {"https": 443, "http": 80}


class Origin(Struct, frozen=True):
    """One scheme, one host, one port. `host` is in lower case; an IPv6 address keeps its brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def as_header(self) -> str:
        """What a client writes behind `Host:`."""
        return self.host if self.port == _USUAL[self.scheme] else self.authority


class Allow(Struct, frozen=True, forbid_unknown_fields=True):
    """
    A host that proposers may reach through our proxy. `key` names the variable of the person that holds its key;
    `address` the variable in which a proposer finds the address that it is to use instead of the host's.
    """

    host: str
    key: str | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        for what, name in (("key", self.key), ("address", self.address)):
            if name is not None and (not _VARIABLE.fullmatch(name) or name.startswith("AUTORESEARCH_")):
                raise ValueError(f"{what} = {name!r} must be the name of a variable of yours, like EXAMPLE_API_KEY")
        if self.key and not self.address:
            raise ValueError(
                f"key = {self.key!r} needs `address`, the variable in which your proposer looks for the model's "
                "address: only there can the proxy put the key in, since it sees nothing of a connection encrypted "
                "end to end"
            )
        _ = self.origin

    @property
    def origin(self) -> Origin:
        match = _HOST.fullmatch(self.host.lower())
        scheme = (match[1] or "https") if match else ""
        port = int(match[3] or _USUAL[scheme]) if match else 0
        if match is None or not 0 < port < 1 << 16:
            raise ValueError(
                f"host {self.host!r} must be one host, like 'api.example.com', 'api.example.com:8443' or "
                "'http://127.0.0.1:11434': no path, no pattern, no name and password"
            )
        return Origin(scheme, match[2], port)
