"""Secret and signature of webhooks, in the form of Stripe's: a time, and an HMAC of the time and the body.

The secret proves who sent a body and nothing else: whoever has it can neither read from the shop nor change it.
"""

import hmac
import secrets
from hashlib import sha256
from pathlib import Path

from vetrina.core.files import waiting_lock, write_bytes

SIGNATURE_HEADER = "X-Vetrina-Signature"
_FILE = "webhook"  # in the folder of keys
_SECRET_BYTES = 32


def load_webhook_secret(keys_folder: Path) -> str:
    """The secret of the shop's webhooks, made when it is first needed (file ``webhook`` with mode 0600)."""
    file = keys_folder / _FILE
    with waiting_lock(keys_folder):  # two commands may need it first
        if not file.exists():
            write_bytes(file, secrets.token_urlsafe(_SECRET_BYTES).encode())
    return file.read_text().strip()


def webhook_signature(secret: str, body: bytes, timestamp: int) -> str:
    """Value of the signature's header: ``t=TIME,v1=HMAC``.

    Args:
        secret: The secret of the shop's webhooks.
        body: The body that is sent.
        timestamp: Seconds since 1970 at which it is sent.
    """
    signed = str(timestamp).encode() + b"." + body
    return f"t={timestamp},v1={hmac.digest(secret.encode(), signed, sha256).hex()}"
