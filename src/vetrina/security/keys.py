"""The shop's secrets, made once and readable by their owner only."""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vetrina.core.errors import BadInput, VetrinaError
from vetrina.core.files import write_bytes

PSEUDONYM_LENGTH = 24
# An e-mail address from the last letter of its name on, read alike by Python and by Polars.
ADDRESS = r"[^\s@]@[^\s@]+\.[^\W\d_]{2}"
_ADDRESS = re.compile(ADDRESS)
_SESSION_MARK = "s-"
_SESSION_PSEUDONYM = re.compile(f"{_SESSION_MARK}[0-9a-f]{{{PSEUDONYM_LENGTH}}}")
_SESSION_PREFIX = b"\xffsession:"  # no UTF-8 text holds 0xff, so no user id is hashed as a session


class BadSignature(VetrinaError):
    """Content is not what the shop signed; never serve it."""


@dataclass(frozen=True)
class Keys:
    """``pseudonym`` keys the HMAC of users' and sessions' ids, ``sealing`` the AES-GCM table of ids, ``signing`` bundles and
    promotions."""

    pseudonym_key: bytes
    sealing_key: bytes
    signing_key: bytes
    api_token: str

    def pseudonymise(self, user_id: str) -> str:
        """The user's pseudonym: 24 hex digits of HMAC-SHA256, so 96 bits."""
        return self._digest(user_id.encode())

    def name_of_session(self, session_id: str) -> str:
        """The session's pseudonym: "s-" and 24 hex digits, never those of a user with the same id."""
        return _SESSION_MARK + self._digest(_SESSION_PREFIX + session_id.encode())

    def without_address(self, text: str) -> str:
        """``text``, or its pseudonym if it holds an e-mail address."""
        return self.pseudonymise(text) if "@" in text and _ADDRESS.search(text) else text

    def pseudonymised(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Columns of an event or a request but the user: the session's pseudonym, and no text with an e-mail address."""
        named = dict(columns)
        session = named.pop("session_id", None)
        for name, value in named.items():
            if isinstance(value, str):
                named[name] = self.without_address(value)
        if session is not None:
            named["session_id"] = self.name_of_session(session)
        return named

    def _digest(self, content: bytes) -> str:
        return hmac.digest(self.pseudonym_key, content, sha256).hex()[:PSEUDONYM_LENGTH]

    def seal(self, user_id: str) -> bytes:
        """Encrypt an id: 12 bytes nonce, then AES-256-GCM."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self.sealing_key).encrypt(nonce, user_id.encode(), None)

    def unseal(self, sealed: bytes) -> str:
        """The id back. Raises BadSignature if the bytes were changed."""
        try:
            return AESGCM(self.sealing_key).decrypt(sealed[:12], sealed[12:], None).decode()
        except InvalidTag:
            raise BadSignature("a sealed user id was changed after it was written") from None

    def sign(self, content: bytes) -> str:
        """Ed25519 signature, hex."""
        return Ed25519PrivateKey.from_private_bytes(self.signing_key).sign(content).hex()

    def verify(self, content: bytes, signature: str) -> None:
        """Raises BadSignature unless this shop signed ``content``."""
        public = Ed25519PrivateKey.from_private_bytes(self.signing_key).public_key()
        try:
            public.verify(bytes.fromhex(signature), content)
        except (InvalidSignature, ValueError):
            raise BadSignature("the signature does not fit the content") from None


def is_session_pseudonym(text: str) -> bool:
    """Whether ``text`` looks as ``Keys.name_of_session`` writes."""
    return _SESSION_PSEUDONYM.fullmatch(text) is not None


def load_or_create(folder: Path) -> Keys:
    """Read the keys of a shop, or make them (mode 0600, folder 0700)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    new_signing = Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return Keys(
        pseudonym_key=_load_or_create_secret(folder / "pseudonym.key", secrets.token_bytes(32), 32),
        sealing_key=_load_or_create_secret(folder / "sealing.key", secrets.token_bytes(32), 32),
        signing_key=_load_or_create_secret(folder / "signing.key", new_signing, 32),
        api_token=_load_or_create_secret(folder / "token", secrets.token_urlsafe(32).encode(), None).decode().strip(),
    )


def _load_or_create_secret(path: Path, fresh: bytes, length: int | None) -> bytes:
    if not path.exists():
        write_bytes(path, fresh, mode=0o600)
    found = path.read_bytes()
    if not found or (length is not None and len(found) != length):
        raise BadInput(
            str(path),
            f"holds {len(found)} bytes, not a key",
            "restore it from your backup of the shop folder",
        )
    return found
