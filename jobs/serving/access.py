"""Who may ask the store process what: tokens, roles, the names that it answers to.

::

    serve: {tokens: {read: env:READ_TOKEN}} ─► Secret ─┐
    Authorization: Bearer … ───────────────────────────┴─► roles ─► may this endpoint be asked?

On a loopback address without tokens everything may be asked, from this machine's programs and from
no web page. Any other address demands a token of every role that is to be used.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from headrace.operators.errors import HeadraceError
from headrace.pipelines.pipeline import Serve

__all__ = [
    "ANYBODY",
    "PREDICT",
    "READ",
    "ROLES",
    "Access",
    "AccessError",
    "Refused",
    "Role",
    "Secret",
    "is_loopback",
]

Role = Literal["read", "predict", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
READ: frozenset[Role] = frozenset(("read", "admin"))
PREDICT: frozenset[Role] = frozenset(("predict", "admin"))
ANYBODY: None = None
"""In the place of roles: who asks needs no token."""
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))
_FEWEST_CHARACTERS = 16
_MOST_BYTES = 4096


class AccessError(HeadraceError):
    """A server that is not started, for it would answer anybody; the exit status is 2.

    >>> print(AccessError("asked to serve at 0.0.0.0", "no token is declared", "declare one"))
    asked to serve at 0.0.0.0; no token is declared; declare one
    """

    exit_status: ClassVar[int] = 2


@dataclass(eq=False)
class Refused(HeadraceError):
    """A request that is not answered, with HTTP's status for it.

    >>> print(Refused(429, "asked for features", "64 requests are under way", "ask again later"))
    asked for features; 64 requests are under way; ask again later
    """

    status: int
    asked: str
    found: str
    do: str


class Secret:
    """A text that is never shown: compare with it, or send it, by `reveal`.

    >>> Secret("a canary of 20 chars"), f"{Secret('a canary of 20 chars')}"
    (Secret(…), 'Secret(…)')
    >>> Secret("a canary of 20 chars").equals(b"a canary of 20 chars")
    True
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    @classmethod
    def of(cls, reference: str, *, fewest: int = _FEWEST_CHARACTERS) -> Secret:
        """Read the secret that ``env:NAME`` or ``file:PATH`` refers to; `fewest` characters.

        Raises
        ------
        AccessError
            Where it is not there, or shorter than 16 characters.

        """
        kind, _, place = reference.partition(":")
        asked = f"asked for the secret in {reference}"
        try:
            value = os.environ[place] if kind == "env" else _read(Path(place))
        except KeyError:
            raise AccessError(asked, "there is no such variable", f"export {place}=…") from None
        except (OSError, UnicodeDecodeError) as error:
            found = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise AccessError(asked, str(found), "write it into that file") from None
        if len(value) < fewest or not value.isascii() or not value.isprintable():
            found = f"it is no line of {fewest} or more printable ASCII characters"
            raise AccessError(asked, found, "make one by: openssl rand -hex 32")
        return cls(value)

    def reveal(self) -> str:
        """Give the text, to be sent and not to be kept."""
        return self._value

    def equals(self, other: bytes) -> bool:
        """Compare in a time that does not depend on where they differ."""
        return hmac.compare_digest(self._value.encode(), other)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).decode().strip()


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine only.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "a.b")]
    [True, True, True, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Access:
    """What is allowed to whom.

    Parameters
    ----------
    tokens
        By role; without any everybody is an admin.
    hosts
        The names that requests may be sent to, besides this machine's own.

    """

    tokens: Mapping[Role, Secret]
    hosts: frozenset[str]

    @classmethod
    def of(cls, serve: Serve) -> Access:
        """Read the tokens that are declared.

        Raises
        ------
        AccessError
            Where a token is missing, or none is declared and the address is not loopback.

        """
        if not serve.tokens and not is_loopback(serve.host):
            asked = f"asked to serve at {serve.host}, which other machines reach"
            found = "no token is declared, so anybody could ask for anything"
            do = "declare one, as in serve: {tokens: {read: env:READ_TOKEN}}, or no host: 127.0.0.1"
            raise AccessError(asked, found, do)
        tokens = {role: Secret.of(serve.tokens[role]) for role in ROLES if role in serve.tokens}
        names = (*serve.hosts, serve.host)
        # A Host header has an address of IPv6 in brackets.
        return cls(tokens, frozenset(f"[{name}]" if ":" in name else name for name in names))

    def roles(self, authorization: bytes) -> frozenset[Role]:
        """Say what the bearer of a token is; every token is compared, whichever it is."""
        if not self.tokens:
            return frozenset(ROLES)
        kind, _, token = authorization.partition(b" ")
        found = [role for role, secret in self.tokens.items() if secret.equals(token.strip())]
        if kind.lower() != b"bearer":
            return frozenset()
        return frozenset(ROLES) if "admin" in found else frozenset(found)

    def check(self, authorization: bytes, allowed: frozenset[Role], asked: str) -> None:
        """Refuse who may not ask for this.

        Raises
        ------
        Refused
            With 401 where there is no token that is known, with 403 where its role is another.

        """
        roles = self.roles(authorization)
        if not roles:
            found = "there is no token, or none that is known"
            raise Refused(401, asked, found, "send Authorization: Bearer and a token")
        if not roles & allowed:
            found = f"the token's role is {' and '.join(sorted(roles))}"
            raise Refused(403, asked, found, f"use a token for {' or '.join(sorted(allowed))}")

    def answers_to(self, host: str) -> bool:
        """Say whether a Host header, or an Origin without its scheme, names this server."""
        name, _, port = host.rpartition(":")
        name = name if name and port.isdigit() else host
        return name.lower() in _LOOPBACK or name.lower() in self.hosts
