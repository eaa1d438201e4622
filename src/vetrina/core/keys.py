"""Secret keys of a shop: pseudonymisation, encryption of ids, signing and the API token.

Keys are created once, for a shop without data, and only their owner can read them.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vetrina.core.errors import BadInput, VetrinaError
from vetrina.core.files import PRIVATE_FOLDER, create_file, make_private, waiting_lock

PSEUDONYM_LENGTH = 24  # hex digits, so 96 bits
# An e-mail address from the last letter of its name on; a pattern that Python and Polars match in the same way.
ADDRESS = r"[^\s@]@[^\s@]+\.[^\W\d_]{2}"
_ADDRESS = re.compile(ADDRESS)
_KEY_BYTES = 32
_WAY_OUT = "copy keys/ from another machine of the shop, or restore it from your backup of the shop folder"
_SESSION_MARK = "s-"
_SESSION_PSEUDONYM = re.compile(f"{_SESSION_MARK}[0-9a-f]{{{PSEUDONYM_LENGTH}}}")
# UTF-8 text does not contain 0xff, so no user id has the hash of a session.
_SESSION_PREFIX = b"\xffsession:"
_ADDRESS_PREFIX = b"\xffaddress:"
_FINGERPRINT_PREFIX = b"\xfffingerprint:"


class BadSignature(VetrinaError):
    """The content was changed after the shop signed or encrypted it; it must never be served."""


@dataclass(frozen=True)
class Keys:
    """Secret keys of a shop.

    Attributes:
        pseudonym_key: Key of the HMAC that makes pseudonyms of user and session ids.
        sealing_key: Key of the encryption (AES-GCM) of ids and addresses.
        signing_key: Private Ed25519 key that signs bundles, promotions and decisions.
        api_token: Bearer token of the HTTP service.
    """

    pseudonym_key: bytes = field(repr=False)
    sealing_key: bytes = field(repr=False)
    signing_key: bytes = field(repr=False)
    api_token: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """A name of the keys that says nothing about them; the token, which may be replaced, is not part of it."""
        digests = [hmac.digest(key, _FINGERPRINT_PREFIX, sha256) for key in (self.pseudonym_key, self.sealing_key)]
        return sha256(b"".join((*digests, self._public_key.public_bytes_raw()))).hexdigest()

    def pseudonymise(self, user_id: str) -> str:
        """Pseudonym of a user: the first 24 hex digits of HMAC-SHA256."""
        return self._digest(user_id.encode())

    def name_of_session(self, session_id: str) -> str:
        """Pseudonym of a session: "s-" and 24 hex digits, different from those of a user with the same id."""
        return _SESSION_MARK + self._digest(_SESSION_PREFIX + session_id.encode())

    def name_of_address(self, address: str, day: int) -> str:
        """Pseudonym of a network address for one day (days since 1970): nobody can be followed by it from day to day."""
        return self._digest(_ADDRESS_PREFIX + f"{day}:{address}".encode())

    def without_address(self, text: str) -> str:
        """``text``, or its pseudonym if it contains an e-mail address."""
        contains_address = "@" in text and _ADDRESS.search(text)
        return self.pseudonymise(text) if contains_address else text

    def pseudonymised(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Columns of an event or a request, without the user, with pseudonyms for the session and texts with an address."""
        pseudonymous = dict(columns)
        session = pseudonymous.pop("session_id", None)
        for name, value in pseudonymous.items():
            if isinstance(value, str):
                pseudonymous[name] = self.without_address(value)
        if session is not None:
            pseudonymous["session_id"] = self.name_of_session(session)
        return pseudonymous

    @property
    def _public_key(self) -> Ed25519PublicKey:
        return Ed25519PrivateKey.from_private_bytes(self.signing_key).public_key()

    def _digest(self, content: bytes) -> str:
        return hmac.digest(self.pseudonym_key, content, sha256).hex()[:PSEUDONYM_LENGTH]

    def seal(self, user_id: str) -> bytes:
        """The encrypted id: 12 bytes of nonce, then AES-256-GCM."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self.sealing_key).encrypt(nonce, user_id.encode(), None)

    def unseal(self, sealed: bytes) -> str:
        """The id that ``seal`` encrypted. Raises BadSignature if the bytes were changed."""
        nonce = sealed[:12]
        try:
            return AESGCM(self.sealing_key).decrypt(nonce, sealed[12:], None).decode()
        except (InvalidTag, ValueError):
            raise BadSignature("a sealed user id was changed after it was written") from None

    def sign(self, content: bytes) -> str:
        """Ed25519 signature of ``content``, in hex."""
        private_key = Ed25519PrivateKey.from_private_bytes(self.signing_key)
        return private_key.sign(content).hex()

    def verify(self, content: bytes, signature: str) -> None:
        """Check a signature. Raises BadSignature unless this shop signed ``content``."""
        try:
            self._public_key.verify(bytes.fromhex(signature), content)
        except (InvalidSignature, ValueError):
            raise BadSignature("the signature does not fit the content") from None


def is_session_pseudonym(text: str) -> bool:
    """Whether ``text`` has the form of a pseudonym of ``Keys.name_of_session``."""
    return _SESSION_PSEUDONYM.fullmatch(text) is not None


def load(folder: Path) -> Keys:
    """The keys of a shop, which are closed to other users.

    Raises BadInput for a key that is missing or damaged, and for one that belongs to somebody else and that others may read.
    """
    _close(folder)
    return Keys(
        pseudonym_key=_load_secret(folder / "pseudonym.key", _KEY_BYTES),
        sealing_key=_load_secret(folder / "sealing.key", _KEY_BYTES),
        signing_key=_load_secret(folder / "signing.key", _KEY_BYTES),
        api_token=_load_secret(folder / "token", None).decode().strip(),
    )


def load_or_create(folder: Path) -> Keys:
    """The keys of a shop without data; missing ones are created (files with mode 0600 in a folder with mode 0700).

    Raises BadInput like ``load``.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    with waiting_lock(folder):  # two processes may start a new shop together
        new_signing_key = Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        create_file(folder / "pseudonym.key", secrets.token_bytes(_KEY_BYTES))
        create_file(folder / "sealing.key", secrets.token_bytes(_KEY_BYTES))
        create_file(folder / "signing.key", new_signing_key)
        create_file(folder / "token", secrets.token_urlsafe(32).encode())
    return load(folder)


def _load_secret(path: Path, length: int | None) -> bytes:
    """Content of ``path``. Raises BadInput unless it exists and has ``length`` bytes, if given."""
    if not path.exists():
        raise BadInput(str(path), "is missing, and the shop's data cannot be read without it", _WAY_OUT)
    _close(path)
    secret = path.read_bytes()
    is_damaged = length is not None and len(secret) != length
    if not secret or is_damaged:
        raise BadInput(str(path), f"holds {len(secret)} bytes, not a key", _WAY_OUT)
    return secret


def _close(path: Path) -> None:
    """Take away other users' rights. Raises BadInput where they stay: such keys may be known to others."""
    if path.exists() and not make_private(path):
        raise BadInput(str(path), "can be read by other users", f"its owner has to run chmod go= {path}")
