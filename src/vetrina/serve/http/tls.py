"""Certificate of the service, read again when it is renewed on disk. It knows nothing of requests."""

import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from vetrina.core.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
    from cryptography.x509 import Certificate

RELOAD_SECONDS = 10.0  # between two looks at the files
HANDSHAKE_SECONDS = 10.0  # that a client gets to agree on a cipher
_CERTIFICATE_SETTING = "[serve] tls_cert"
_KEY_SETTING = "[serve] tls_key"
_WAY_OUT = "name a certificate with its chain and its key, both in PEM form"
_LOG = logging.getLogger("vetrina.serve")


class ServerCertificate:
    """Certificate and private key of the service.

    New connections use ``context``; those that are open keep theirs.

    Args:
        certificate_file: the certificate, followed by those of its issuers, in PEM form.
        key_file: its private key in PEM form, without a password.

    Raises:
        BadInput: a file cannot be read, the two do not belong together, or the certificate is not valid now.
    """

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._version = self._version_on_disk()
        self.context = _load(certificate_file, key_file)

    def reload(self) -> None:
        """Use what is on disk, if it has changed and is right; otherwise go on with what was used so far."""
        version = self._version_on_disk()
        if version == self._version:
            return
        self._version = version
        try:
            self.context = _load(self._certificate_file, self._key_file)
        except BadInput as error:  # perhaps only one of the two files has been replaced yet
            _LOG.error("%s; the certificate of before is used on", error)
            return
        _LOG.warning("the certificate of %s is used from now on", self._certificate_file)

    def _version_on_disk(self) -> tuple[int, ...]:
        """Times and numbers of the files, which change when they are replaced; 0 where one is missing."""
        version: list[int] = []
        for file in (self._certificate_file, self._key_file):
            try:
                status = file.stat()
            except OSError:
                version += [0, 0]
            else:
                version += [status.st_mtime_ns, status.st_ino]
        return tuple(version)


def trusting_context(certificate_file: Path) -> ssl.SSLContext:
    """A client's context that trusts the very certificate of a service on this machine, whatever address it is called by."""
    context = ssl.create_default_context(cafile=certificate_file)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _load(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """A server's context. Raises BadInput."""
    certificate, certified_key = _read_certificate(certificate_file)
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        rule = f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
        raise BadInput(f"{_CERTIFICATE_SETTING} {certificate_file}", rule, "renew it")
    if certificate.not_valid_before_utc > now:
        rule = f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise BadInput(f"{_CERTIFICATE_SETTING} {certificate_file}", rule, "look at the clock of this machine")
    if _encoded(certified_key) != _encoded(_read_public_key(key_file)):
        rule = f"does not belong to the certificate {certificate_file}"
        raise BadInput(f"{_KEY_SETTING} {key_file}", rule, "name the key that the certificate was made for")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate_file, key_file)
    except (ssl.SSLError, OSError) as error:
        raise BadInput(f"{_CERTIFICATE_SETTING} {certificate_file}", f"is not accepted ({error})", _WAY_OUT) from None
    return context


def _read_certificate(file: Path) -> "tuple[Certificate, CertificatePublicKeyTypes]":
    """The first certificate of a file, which is the server's, and its public key."""
    from cryptography import x509  # which every start would take time for, with TLS or without

    content = _read(file, _CERTIFICATE_SETTING)
    try:
        certificate = x509.load_pem_x509_certificate(content)
        return certificate, certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadInput(f"{_CERTIFICATE_SETTING} {file}", "holds no certificate in PEM form", _WAY_OUT) from None


def _read_public_key(file: Path) -> PublicKeyTypes:
    """The public key of the private key in a file."""
    content = _read(file, _KEY_SETTING)
    try:
        return load_pem_private_key(content, password=None).public_key()
    except TypeError:
        raise BadInput(
            f"{_KEY_SETTING} {file}", "has a password", "store the key without one, with mode 0600"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadInput(f"{_KEY_SETTING} {file}", "holds no private key in PEM form", _WAY_OUT) from None


def _read(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"{setting} {file}", f"cannot be read ({error.strerror})", _WAY_OUT) from None


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
