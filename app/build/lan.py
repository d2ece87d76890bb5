"""The names and addresses by which other devices reach this machine. Standard library only."""

import ipaddress
import socket
from dataclasses import dataclass

# No packet is sent to these: the system says from which address it would reach them. One public
# documentation address, and one of each private range, for networks without a way out.
PROBES = ("203.0.113.1", "192.168.255.254", "10.255.255.254", "172.31.255.254", "2001:db8::1")
EVERY = ("", "0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Names:
    """What a certificate must name: DNS names and IP addresses. `listed` are those that other
    devices can use, the likeliest first; `shown` is the one to type.
    """

    dns: tuple
    ips: tuple
    listed: tuple

    @property
    def shown(self):
        return self.listed[0] if self.listed else "localhost"


def addresses():
    """This machine's addresses on its networks, IPv4 first; no loopback, no link-local ones."""
    found = [address for probe in PROBES if (address := _source_of(probe))]
    try:
        found += [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)]
    except OSError:
        pass  # a host name that resolves nowhere
    usable = dict.fromkeys(address for address in found if _usable(address))
    return sorted(usable, key=lambda address: ":" in address)


def names(host):
    """The Names for a server that listens on `host`: on every interface where it is of EVERY."""
    name = socket.gethostname().split(".")[0].lower()
    # A host name with other characters cannot stand in a certificate.
    plain = (name, f"{name}.local") if name.replace("-", "").isalnum() and name.isascii() else ()
    dns = tuple(dict.fromkeys(("localhost", *plain)))
    if host in EVERY:
        # A server on 0.0.0.0 is not reached by IPv6.
        listed = tuple(a for a in addresses() if host == "::" or ":" not in a)
    elif _is_ip(host):
        listed = (host,) if _usable(host) else ()
    elif host == "localhost":
        listed = ()
    else:
        listed, dns = (host,), tuple(dict.fromkeys((*dns, host)))
    ips = (*LOOPBACK, *(a for a in listed if _is_ip(a)))
    return Names(dns, tuple(dict.fromkeys(ips)), listed)


def in_url(host):
    """A host as URLs have it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _source_of(probe):
    family = socket.AF_INET6 if ":" in probe else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.connect((probe, 9))
            return s.getsockname()[0]
    except OSError:
        return None


def _is_ip(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _usable(address):
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False  # with a zone, so link-local
    return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast)
