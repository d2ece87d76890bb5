"""Jird's own certificate authority and the server certificate that it signs, kept in the cache.

A tablet trusts the authority once; server certificates change with this machine's addresses. Runs
in the venv, after `venv.ensure("https")`. Limits are Apple's for certificates of an own authority
(support.apple.com/103769): EC or RSA 2048, SHA-256, names in subjectAltName, serverAuth, 825 days.
"""

import datetime
import ipaddress
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.build.console import step

CA_FILE, SERVER_FILE = "ca.pem", "server.pem"  # each a private key and its certificate
CA_DAYS, SERVER_DAYS, RENEW_DAYS = 3650, 397, 30
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """`chain`: file with the server's key and certificate, for `ssl`; `ca`: the authority, DER."""

    chain: Path
    ca: bytes

    @property
    def name(self):
        """What devices call the authority."""
        subject = x509.load_der_x509_certificate(self.ca).subject
        return subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value

    @property
    def fingerprint(self):
        """SHA-256 of the authority, as devices show it: AB:CD:..."""
        return x509.load_der_x509_certificate(self.ca).fingerprint(hashes.SHA256()).hex(":").upper()


def ensure(folder, names, now=None):
    """The Certificates in `folder` for `names` (lan.Names), made or renewed where they must be.

    The authority stays until it expires; the server's is renewed when it has other names, another
    authority, or under 30 days left. Keys are readable by their owner only.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(folder, 0o700)
    ca = _load(folder / CA_FILE, now)
    if ca is None:
        step("making a certificate authority of this machine's own: devices must trust it once")
        ca = _make_ca(now)
        _save(folder / CA_FILE, *ca)
    server = _load(folder / SERVER_FILE, now)
    if server is None or _names_of(server[1]) != _wanted(names) or not _signed(server[1], ca[1]):
        step("making a server certificate for " + ", ".join((*names.dns, *names.ips)))
        _save(folder / SERVER_FILE, *_make_server(ca, names, now))
    return Certificates(folder / SERVER_FILE, ca[1].public_bytes(serialization.Encoding.DER))


def _load(path, now):
    """(key, certificate) of a file, or None: absent, damaged, or to be renewed."""
    try:
        data = path.read_bytes()
        os.chmod(path, 0o600)
        key = serialization.load_pem_private_key(data, None)
        certificate = x509.load_pem_x509_certificate(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        step(f"{path.name} cannot be read ({error}): making it anew")
        return None
    known = key.public_key() == certificate.public_key()
    fresh = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
    lasts = certificate.not_valid_after_utc - now > RENEW_DAYS * DAY
    return (key, certificate) if known and fresh and lasts else None


def _save(path, key, certificate):
    """Write both whole, the key never readable by others, not even for a moment."""
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    handle, part = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # made with mode 0600
    with os.fdopen(handle, "wb") as file:
        file.write(text)
    os.replace(part, path)


def _make_ca(now):
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Jird on {socket.gethostname()}"[:64])
    builder = _builder(name, name, key, now, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return key, builder.sign(key, hashes.SHA256())


def _make_server(ca, names, now):
    ca_key, authority = ca
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name("Jird"), authority.subject, key, now, SERVER_DAYS)
    alternatives = [x509.DNSName(name) for name in names.dns]
    alternatives += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in names.ips]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    for extension, critical in (
        (x509.SubjectAlternativeName(alternatives), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (issuer, False),
    ):
        builder = builder.add_extension(extension, critical)
    return key, builder.sign(ca_key, hashes.SHA256())


def _builder(subject, issuer, key, now, days):
    """What both kinds have; valid since yesterday, because tablets' clocks are not exact."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(identifier, critical=False)
    )


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(signs_certificates):
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names_of(certificate):
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    dns = found.get_values_for_type(x509.DNSName)
    return {*dns, *map(str, found.get_values_for_type(x509.IPAddress))}


def _wanted(names):
    return {*names.dns, *(str(ipaddress.ip_address(ip)) for ip in names.ips)}


def _signed(certificate, authority):
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
