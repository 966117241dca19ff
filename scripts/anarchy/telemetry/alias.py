"""Taking names out of what is published: hosts become node01, users, homes, addresses and secrets go."""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ADDRESS = "<address>"
SECRET = "<secret>"  # noqa: S105  what is written in its place
DOMAIN = "<domain>"
USER = "user"
HOME = "~"

SECRET_VARIABLE = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|AUTH|(^|_)(KEY|PAT)($|_)|APIKEY|PRIVATE",
    re.IGNORECASE,
)
"""Names of environment variables whose values are secrets."""
SHORTEST_SECRET = 6
"""Shorter values (`1`, `true`) would take innocent words with them."""
TECHNICAL_USERS = frozenset(
    {"root", "nobody", "slurm", "nvidia", "ubuntu", "debian", "user", "admin", "dynamo", "vllm"}
)
"""Accounts that name nobody, and that are words of the trade as well."""
GENERIC_HOSTS = frozenset({"localhost", "(none)"})

_IPV4 = re.compile(r"(?<![\w.])(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})(?!\.?\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.:]*(?:%\w+)?(?![\w:])")
_MAC = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:])")
_ANY_HOME = re.compile(r"(/home|/Users)/[^/\s\"':,;]+")
_TOKEN_SHAPES = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|nvapi-[\w-]{16,}"
    r"|AKIA[A-Z0-9]{12,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


class Anonymiser:
    """Replaces, in one pass and whole words only, names by aliases; what it does not know it leaves alone.

    `hosts` maps each host name (any case) to its alias, `users` and `homes` are names and folders of this
    run's accounts, `secrets` values that must never appear. Addresses (IPv4, IPv6, MAC), anybody's folder
    under /home, and strings of the shape of well-known tokens go in any case.
    """

    def __init__(
        self,
        hosts: Mapping[str, str] | None = None,
        *,
        users: Iterable[str] = (),
        homes: Iterable[str] = (),
        secrets: Iterable[str] = (),
    ) -> None:
        self._hosts = {name.lower(): alias for name, alias in (hosts or {}).items() if _is_name(name)}
        self._users = {name for name in users if name and name not in TECHNICAL_USERS}
        folders = {home.rstrip("/") for home in homes} - {""}
        self._secrets = _any_of(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self._homes = _any_of(folders, after=r"(?![\w.-])")
        self._host = _any_of(self._hosts, before=r"(?<![A-Za-z0-9])", after=r"(?![A-Za-z0-9])", fold=True)
        self._user = _any_of(self._users, before=r"(?<![A-Za-z0-9])", after=r"(?![A-Za-z0-9])")

    def text(self, text: str) -> str:
        """One string without names, addresses and secrets."""
        if self._secrets is not None:
            text = self._secrets.sub(SECRET, text)
        text = _LOGIN_IN_URL.sub("", _TOKEN_SHAPES.sub(SECRET, text))
        if self._homes is not None:
            text = self._homes.sub(HOME, text)
        text = _ANY_HOME.sub(HOME, text)
        text = _IPV4.sub(_address_or_version, _IPV6.sub(_address_or_time, _MAC.sub(ADDRESS, text)))
        if self._host is not None:
            text = self._host.sub(lambda found: self._hosts[found[0].lower()], text)
        return self._user.sub(USER, text) if self._user is not None else text

    def document(self, value: Any) -> Any:
        """A JSON value of which every string, the keys' too, went through `text`."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.document(entry) for key, entry in value.items()}
        if isinstance(value, Sequence):
            return [self.document(entry) for entry in value]
        return value


def node_alias(index: int) -> str:
    """Alias of a deployment's node, counted from 0: node01, node02, ..."""
    return f"node{index + 1:02d}"


def secrets_of(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Values of the variables whose names sound like secrets; kept in memory only, to be searched for."""
    return tuple(value for name, value in environment.items() if SECRET_VARIABLE.search(name) and value)


def scrubber(environment: Mapping[str, str] = os.environ) -> Anonymiser:
    """What a node applies to its own facts: its environment's secrets, which no other node knows."""
    return Anonymiser(secrets=secrets_of(environment))


def anonymiser_of(nodes: Sequence[Mapping[str, Any]]) -> Anonymiser:
    """The anonymiser of a deployment from its nodes' facts (`node_facts`) in the order of their aliases.

    Every node may know itself by several names; parts that name a domain go as well.
    """
    hosts: dict[str, str] = {}
    users: set[str] = set()
    homes: set[str] = set()
    for index, node in enumerate(nodes):
        identity = node.get("identity", {})
        for name in identity.get("host_names", ()):
            short, _, domain = name.partition(".")
            hosts.setdefault(name, node_alias(index))
            hosts.setdefault(short, node_alias(index))
            if domain and domain not in {"local", "localdomain", "internal"}:
                hosts.setdefault(domain, DOMAIN)
        users.update(identity.get("user_names", ()))
        homes.update(identity.get("homes", ()))
    return Anonymiser(hosts, users=users, homes=homes, secrets=secrets_of())


def own_names(further_hosts: Iterable[str] = ()) -> Anonymiser:
    """The anonymiser of who asks: this host and further ones, user, home, the environment's secrets."""
    hosts = {name: node_alias(index) for index, name in enumerate((socket.gethostname(), *further_hosts))}
    return Anonymiser(hosts, users={getpass.getuser()}, homes={str(Path.home())}, secrets=secrets_of())


def _is_name(name: str) -> bool:
    return bool(name) and name.lower() not in GENERIC_HOSTS


def _any_of(
    words: Iterable[str], *, before: str = "", after: str = "", fold: bool = False
) -> re.Pattern[str] | None:
    """A pattern of any of these words, the longest first; None for none."""
    ordered = sorted(set(words), key=len, reverse=True)
    if not ordered:
        return None
    choice = "|".join(re.escape(word) for word in ordered)
    return re.compile(f"{before}(?:{choice}){after}", re.IGNORECASE if fold else 0)


def _address_or_version(found: re.Match[str]) -> str:
    """Loopback names nobody; four numbers of which one is above 255 are a version."""
    try:
        address = ipaddress.IPv4Address(found[0])
    except ValueError:
        return found[0]
    return found[0] if address.is_loopback else ADDRESS


def _address_or_time(found: re.Match[str]) -> str:
    """12:30:00 and a PCI bus id have colons, too, but are no IPv6 addresses."""
    text = found[0].rstrip(".")
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return found[0]
    keep = address.is_loopback or address.is_unspecified
    return found[0] if keep else ADDRESS + found[0][len(text) :]
