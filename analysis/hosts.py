"""Which addresses a source may be fetched from: https, no credentials in it, and only to public hosts; beside them
only to those in-house ones that the operator has listed (NYXCORE_GIT_HOSTS).

The name is resolved here, every address it has must be public, and git is told to use just those addresses. So a
name that answers differently a second later (DNS rebinding) leads nowhere.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from analysis.errors import SourceError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
PORTS = {"https": 443, "http": 80}
# Only what lies in here is routed on the Internet; NAT64, mapped, compatible and local addresses lie outside.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Wrappers around an IPv4 address, which may be anything: 6to4 and Teredo.
WRAPPED = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32")))
# Where the servers of a house stand. Loopback and link-local addresses are none of them.
IN_HOUSE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.I)
# What curl and the C library would read as a number, and so as an address: 2130706433, 0x7f.1, 0177.0.0.1
NUMBER = re.compile(r"0x[0-9a-f]*|\d+", re.I)


@dataclass(frozen=True)
class Reach:
    """How far a fetch may go. The defaults hold for everything that comes from the web."""

    schemes: tuple[str, ...] = ("https",)
    private: bool = False  # tests only: allows hosts that are not public
    ca_file: str = ""  # further certificates that are trusted
    listed: frozenset[tuple[str, int]] = frozenset()  # hosts with their ports that may be in-house

    def allows(self, host: str, port: int, ip: IPAddress) -> bool:
        """Whether `host` may be fetched from at this address of it."""
        if is_public(ip) or self.private:
            return True
        return (host, port) in self.listed and (host == str(ip) or any(ip in network for network in IN_HOUSE))


PUBLIC = Reach()


def listed(words: Iterable[str]) -> frozenset[tuple[str, int]]:
    """Hosts and ports of a list of `host` (port 443) and `host:port`; SourceError for what is no such thing."""
    found = set()
    for word in words:
        try:
            parts = urlsplit(f"https://{word}")
            if parts.netloc != word or "@" in word or not parts.hostname:
                raise ValueError
            found.add((_host(parts.hostname), parts.port or PORTS["https"]))
        except (ValueError, SourceError):
            raise SourceError(f"{word!r} is no host and no host:port.", "address") from None
    return frozenset(found)


@dataclass(frozen=True)
class Target:
    """A checked address: the URL for git, and what its host resolves to."""

    url: str
    host: str
    port: int
    addresses: tuple[IPAddress, ...]

    @property
    def pin(self) -> str:
        """The value for git's http.curloptResolve; "" where the host is an address itself."""
        if self.host == str(self.addresses[0]):
            return ""
        listed = ",".join(f"[{ip}]" if ip.version == 6 else str(ip) for ip in self.addresses)
        return f"{self.host}:{self.port}:{listed}"


def check_form(url: str, reach: Reach = PUBLIC) -> None:
    """Refuse an address that must not even be kept: of another form, or with a secret in it. Asks no name server."""
    _parts(url, reach)


def check(url: str, reach: Reach = PUBLIC) -> Target:
    """Return the target of `url`, its host resolved; refuse what must not be fetched."""
    host, port, path, scheme = _parts(url, reach)
    addresses = _resolve(host, port)
    bad = next((ip for ip in addresses if not reach.allows(host, port, ip)), None)
    if bad is not None:
        raise _refused(
            f"{host} is {bad}, which is not a public address. Only public hosts are fetched from, and those that the "
            "operator lists in NYXCORE_GIT_HOSTS.",
            "refused_host",
        )
    shown = f"[{host}]" if ":" in host else host
    where = shown if port == PORTS[scheme] else f"{shown}:{port}"
    return Target(f"{scheme}://{where}{path}", host, port, addresses)


def is_public(ip: IPAddress) -> bool:
    """True for a unicast address of the Internet that holds no other address inside."""
    if ip.version == 6 and (ip not in GLOBAL_UNICAST or any(ip in network for network in WRAPPED)):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _refused(message: str, code: str = "address") -> SourceError:
    return SourceError(message, code)


def _parts(url: str, reach: Reach) -> tuple[str, int, str, str]:
    """Return host, port, path and scheme of an address whose form is right."""
    if len(url) > 2000 or not url.isascii() or re.search(r"[\x00-\x20\x7f\\\"'`<>^{|}]", url):
        raise _refused("The address has characters that do not belong there, or is too long. Copy it again.")
    try:
        parsed = urlsplit(url)
        port = parsed.port
    except ValueError:
        raise _refused("The address cannot be read. It looks like https://host/owner/name.git.") from None
    if parsed.scheme not in reach.schemes or not parsed.netloc:
        raise _refused("The address must begin with https://. Other ways of fetching are not offered.")
    if "@" in parsed.netloc:
        raise _refused("The address holds a user name or a password. Put the token into its own field.")
    if parsed.query or parsed.fragment or "?" in url or "#" in url:
        raise _refused(
            "The address has a part after ? or #. Leave it out; branch and folder have own fields."
        )
    host = _host(parsed.hostname or "")
    if port == 0 or not parsed.path.strip("/"):
        raise _refused("The address names no repository. It looks like https://host/owner/name.git.")
    return host, port or PORTS[parsed.scheme], parsed.path, parsed.scheme


def _host(host: str) -> str:
    """Return a host name or a plain IP address in its one form; refuse disguised numbers."""
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            address = None
        if address is None or address.scope_id:
            raise _refused(f"{host} is not a plain IPv6 address.")
        return str(address)
    host = host.removesuffix(".")
    labels = host.split(".")
    if NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _refused(f"{host} is not a host name and not a plain IPv4 address.") from None
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise _refused("The address has no proper host name. It looks like https://host/owner/name.git.")
    return host.lower()


def _resolve(host: str, port: int) -> tuple[IPAddress, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceError(
            f"The host {host} is not known to the name server. Look at its spelling, or try again later.",
            "unknown_host",
            retryable=True,
        ) from None
    texts = dict.fromkeys(str(entry[4][0]) for entry in found)
    return tuple(ipaddress.ip_address(text) for text in texts)
