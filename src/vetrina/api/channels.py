"""Audience export by channel: CSV, e-mail list, push requests, social hashes, webhook.

csv: all users with score and reason. email: addresses, as newsletter tools import them. push: requests for OneSignal's "create
message" by external_id, at most 20,000 in each (documentation.onesignal.com/reference/push-notification). social: addresses as
SHA-256 in lower-case hex, trimmed and lower-cased before, under the header "Email" (Google Customer Match,
support.google.com/google-ads/answer/7475964; Meta and TikTok take the same), and beside it the creative feed: the product in the
columns of a Google or Meta product feed. webhook: one signed POST for every thousand users.

Texts in CSV that a spreadsheet would take for a formula get an apostrophe before them.
"""

import csv
import ipaddress
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from vetrina.api.webhook_signature import SIGNATURE_HEADER, webhook_signature
from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write
from vetrina.core.settings import ChannelSettings
from vetrina.serve.recipients import Recipient, with_email

_MAX_PUSH_RECIPIENTS = 20_000  # of one request
_MAX_WEBHOOK_RECIPIENTS = 1_000  # of one request
_TIMEOUT_SECONDS = 10.0  # of one request
_MAX_ATTEMPTS = 3
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # of a cell, in Excel, LibreOffice and Google Sheets
_FEED_COLUMNS = ("id", "title", "description", "availability", "condition", "price", "link", "image_link", "brand")
_EMAIL_COLUMNS = ("Email Address", "user_id", "product_id", "product_title", "product_link", "reason")
_SUMMARY_FIELDS = ("product_id", "title", "category", "brand", "price")

Product = Mapping[str, Any]


def write_audience(
    channel: str, recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    """Write an audience for a channel's tools; returns the files.

    Args:
        channel: ``csv``, ``email``, ``push`` or ``social``.
        recipients: Users, best first.
        product: The product that the audience is about.
        out: Output file.
        settings: Product links, currency, push app.

    Raises:
        BadInput: The channel needs a product or e-mail addresses, and there are none.
    """
    return _WRITERS[channel](recipients, product, out, settings)


def post_audience(recipients: Sequence[Recipient], product: Product | None, url: str, secret: str) -> int:
    """Send an audience to a webhook; returns the number of users sent.

    Each body is signed with the time at which it is sent (``api.webhook_signature``). Redirects are not followed.

    Args:
        recipients: Users, best first.
        product: The product that the audience is about.
        url: https address; http on this machine.
        secret: Key of the signature.

    Raises:
        BadInput: The address is of another kind, or does not accept the audience.
    """
    _require_safe_address(url)
    n_sent = 0
    for number, batch in enumerate(_batches(recipients, _MAX_WEBHOOK_RECIPIENTS)):
        users: list[dict[str, Any]] = []
        for recipient in batch:
            users.append({"user_id": recipient.user_id, "score": recipient.score, "reason": recipient.reason})
        body = json.dumps({"product": _product_summary(product), "part": number, "users": users}).encode()
        _send(url, body, secret)
        n_sent += len(batch)
    return n_sent


def escape_formula(text: str) -> str:
    """The text of a CSV cell, with an apostrophe before it where a spreadsheet would take it for a formula."""
    if text.startswith(FORMULA_STARTS):
        return f"'{text}"
    return text


def hash_email(email: str) -> str:
    """SHA-256, lower-case hex, of the address without blanks and in lower case."""
    normalised = "".join(email.split()).lower()
    return sha256(normalised.encode()).hexdigest()


class _RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: users are sent to the address that was given and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """No request follows."""
        return


_OPENER = urllib.request.build_opener(_RefuseRedirects)


def _require_safe_address(url: str) -> None:
    """Raise BadInput unless users travel encrypted or stay on this machine."""
    try:
        parts = urlsplit(url)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))
        is_safe = is_safe and bool(parts.hostname)
    except ValueError:
        is_safe = False
    if not is_safe:
        raise BadInput(url, "is no https address, nor an http one of this machine", "give --out https://HOST/PATH")


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _send(url: str, body: bytes, secret: str) -> None:
    """Send a signed body, repeated on failure. Raises BadInput after the last attempt."""
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        signature = webhook_signature(secret, body, int(clock.now()))
        headers = {"content-type": "application/json", SIGNATURE_HEADER: signature}
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - the scheme was checked
        try:
            with _OPENER.open(request, timeout=_TIMEOUT_SECONDS):
                return
        except HTTPError as error:
            cause = f"HTTP status {error.code}"
            error.close()
        except OSError as error:
            cause = str(error)
        except HTTPException:
            cause = "its answer is no HTTP"
        if attempt == _MAX_ATTEMPTS:
            way_out = "see whether it is up; users of parts sent before were accepted"
            raise BadInput(url, f"does not take the audience ({cause})", way_out)


def _write_csv(recipients: Sequence[Recipient], product: Product | None, out: Path, _: ChannelSettings) -> list[Path]:
    rows: list[tuple[Any, ...]] = []
    for rank, recipient in enumerate(recipients, start=1):
        rows.append((recipient.user_id, rank, recipient.score, recipient.reason))
    return [_write_table(out, ("user_id", "rank", "score", "reason"), rows)]


def _write_email_list(
    recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    if product is None:
        product = {}
    product_fields = (product.get("product_id", ""), product.get("title", ""), _product_link(product, settings))
    rows: list[tuple[Any, ...]] = []
    for recipient in _require_email(recipients):
        rows.append((recipient.email, recipient.user_id, *product_fields, recipient.reason))
    return [_write_table(out, _EMAIL_COLUMNS, rows)]


def _write_push_requests(
    recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    if product is None:
        raise BadInput("push", "announces a product", "name the product, or take another channel")
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for batch in _batches(recipients, _MAX_PUSH_RECIPIENTS):
            message = {
                "app_id": settings.push_app,
                "target_channel": "push",
                "include_aliases": {"external_id": [recipient.user_id for recipient in batch]},
                "headings": {"en": settings.push_heading},
                "contents": {"en": str(product["title"])},
            }
            if settings.product_url:
                message["url"] = _product_link(product, settings)
            message["custom_data"] = {"product_id": product["product_id"]}
            file.write(json.dumps(message, ensure_ascii=False) + "\n")
    return [out]


def _write_social_audience(
    recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    rows: list[tuple[Any, ...]] = []
    for recipient in _require_email(recipients):
        rows.append((hash_email(str(recipient.email)),))
    files = [_write_table(out, ("Email",), rows)]
    if product is not None:
        feed_file = out.with_name(f"{out.stem}-creatives{out.suffix}")
        files.append(_write_table(feed_file, _FEED_COLUMNS, [_creative_row(product, settings)]))
    return files


def _creative_row(product: Product, settings: ChannelSettings) -> tuple[str, ...]:
    """A product in the columns of a product feed."""
    price = ""
    if product.get("price") is not None:
        currency = product.get("currency") or settings.currency
        price = f"{float(product['price']):.2f} {currency}"
    stock = product.get("stock")
    availability = "in stock"
    if stock is not None and not stock > 0:  # NaN is no stock either
        availability = "out of stock"
    description = product.get("description") or product["title"]
    return (
        str(product["product_id"]),
        str(product["title"]),
        str(description),
        availability,
        "new",
        price,
        _product_link(product, settings),
        str(product.get("image") or ""),
        str(product.get("brand") or ""),
    )


def _product_link(product: Product, settings: ChannelSettings) -> str:
    return settings.product_url.replace("{product_id}", str(product.get("product_id", "")))


def _product_summary(product: Product | None) -> dict[str, Any] | None:
    if product is None:
        return None
    return {name: product.get(name) for name in _SUMMARY_FIELDS}


def _require_email(recipients: Sequence[Recipient]) -> list[Recipient]:
    """The recipients with an e-mail address. Raises BadInput where none of them has one."""
    reachable = with_email(recipients)
    if recipients and not reachable:
        way_out = "ingest --users-file with a column email"
        raise BadInput(f"{len(recipients)} users", "have no e-mail address on file", way_out)
    return reachable


def _write_table(out: Path, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> Path:
    with atomic_write(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([escape_formula(cell) if isinstance(cell, str) else cell for cell in row])
    return out


def _batches(recipients: Sequence[Recipient], batch_size: int) -> Iterator[Sequence[Recipient]]:
    for start in range(0, len(recipients), batch_size):
        yield recipients[start : start + batch_size]


_Writer = Callable[[Sequence[Recipient], Product | None, Path, ChannelSettings], list[Path]]
_WRITERS: dict[str, _Writer] = {
    "csv": _write_csv,
    "email": _write_email_list,
    "push": _write_push_requests,
    "social": _write_social_audience,
}
