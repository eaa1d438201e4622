"""Writes an audience in the form that a channel's tools take.

csv: everybody with score and reason. email: addresses, as newsletter tools import them. push: requests for OneSignal's "create
message" by external_id, at most 20,000 in each (documentation.onesignal.com/reference/push-notification). social: addresses as
SHA-256 in lower-case hex, trimmed and lower-cased before, under the header "Email" (Google Customer Match,
support.google.com/google-ads/answer/7475964; Meta and TikTok take the same), and beside it the creative feed: the product in the
columns of a Google or Meta product feed. webhook: one signed POST for every thousand users.
"""

import csv
import hmac
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.error import URLError

from vetrina.core.errors import BadInput
from vetrina.core.files import atomic_write
from vetrina.core.settings import ChannelSettings
from vetrina.serve.audience import Recipient, with_email

_MAX_PUSH_RECIPIENTS = 20_000
_MAX_WEBHOOK_RECIPIENTS = 1_000
_TIMEOUT_SECONDS = 10.0
_MAX_ATTEMPTS = 3
_FEED_COLUMNS = ("id", "title", "description", "availability", "condition", "price", "link", "image_link", "brand")

Product = Mapping[str, Any]


def write_audience(
    channel: str, recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    """The files written. Raises BadInput where a channel needs what is not there."""
    return _WRITERS[channel](recipients, product, out, settings)


def post_audience(recipients: Sequence[Recipient], product: Product | None, url: str, secret: bytes) -> int:
    """Send the audience to a webhook; each body is signed, HMAC-SHA256 in the header X-Vetrina-Signature. Raises BadInput."""
    if not url.startswith(("http://", "https://")):
        raise BadInput(url, "is no http or https address", "give --out https://HOST/PATH")
    sent = 0
    for part in _batches(recipients, _MAX_WEBHOOK_RECIPIENTS):
        users = [{"user_id": one.user_id, "score": one.score, "reason": one.reason} for one in part]
        body = json.dumps(
            {"product": _product_summary(product), "part": sent // _MAX_WEBHOOK_RECIPIENTS, "users": users}
        ).encode()
        signature = hmac.digest(secret, body, sha256).hex()
        headers = {"content-type": "application/json", "x-vetrina-signature": f"sha256={signature}"}
        _send(urllib.request.Request(url, body, headers))  # noqa: S310  the scheme was checked
        sent += len(part)
    return sent


def _send(request: urllib.request.Request) -> None:
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310
                return
        except (URLError, TimeoutError) as error:
            if attempt == _MAX_ATTEMPTS:
                way_out = "see whether it is up; users of parts sent before were taken"
                raise BadInput(request.full_url, f"does not take the audience ({error})", way_out) from None


def _write_csv(recipients: Sequence[Recipient], product: Product | None, out: Path, _: ChannelSettings) -> list[Path]:
    rows = ((one.user_id, rank, one.score, one.reason) for rank, one in enumerate(recipients, start=1))
    return [_write_table(out, ("user_id", "rank", "score", "reason"), rows)]


def _write_email_list(
    recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    about = product or {}
    columns = ("Email Address", "user_id", "product_id", "product_title", "product_link", "reason")
    found = [about.get("product_id", ""), about.get("title", ""), _product_link(about, settings)]
    rows = ((one.email, one.user_id, *found, one.reason) for one in _require_email(recipients))
    return [_write_table(out, columns, rows)]


def _write_push_requests(
    recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    if product is None:
        raise BadInput("push", "tells of a product", "name the product, or take another channel")
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for part in _batches(recipients, _MAX_PUSH_RECIPIENTS):
            message = {
                "app_id": settings.push_app,
                "target_channel": "push",
                "include_aliases": {"external_id": [one.user_id for one in part]},
                "headings": {"en": settings.push_heading},
                "contents": {"en": str(product["title"])},
                **({"url": _product_link(product, settings)} if settings.product_url else {}),
                "custom_data": {"product_id": product["product_id"]},
            }
            file.write(json.dumps(message, ensure_ascii=False) + "\n")
    return [out]


def _write_social_audience(
    recipients: Sequence[Recipient], product: Product | None, out: Path, settings: ChannelSettings
) -> list[Path]:
    files = [_write_table(out, ("Email",), ((hash_email(str(one.email)),) for one in _require_email(recipients)))]
    if product is not None:
        feed = out.with_name(f"{out.stem}-creatives{out.suffix}")
        files.append(_write_table(feed, _FEED_COLUMNS, [_creative_row(product, settings)]))
    return files


def hash_email(email: str) -> str:
    """SHA-256, lower-case hex, of the address without blanks and in lower case."""
    return sha256("".join(email.split()).lower().encode()).hexdigest()


def _creative_row(product: Product, settings: ChannelSettings) -> tuple[str, ...]:
    price = product.get("price")
    stock = product.get("stock")
    cost = f"{float(price):.2f} {product.get('currency') or settings.currency}" if price is not None else ""
    there = "in stock" if stock is None or stock > 0 else "out of stock"
    text = product.get("description") or product["title"]
    named = (str(product.get(n) or "") for n in ("image", "brand"))
    return (
        str(product["product_id"]),
        str(product["title"]),
        str(text),
        there,
        "new",
        cost,
        _product_link(product, settings),
        *named,
    )


def _product_link(product: Product, settings: ChannelSettings) -> str:
    return settings.product_url.replace("{product_id}", str(product.get("product_id", "")))


def _require_email(recipients: Sequence[Recipient]) -> list[Recipient]:
    found = with_email(recipients)
    if recipients and not found:
        raise BadInput(
            f"{len(recipients)} users", "have no e-mail address on file", "ingest --users-file with a column email"
        )
    return found


def _write_table(out: Path, columns: Sequence[str], rows: Any) -> Path:
    with atomic_write(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return out


def _batches(recipients: Sequence[Recipient], batch_size: int) -> Iterator[Sequence[Recipient]]:
    return (recipients[at : at + batch_size] for at in range(0, len(recipients), batch_size))


def _product_summary(product: Product | None) -> dict[str, Any] | None:
    named = ("product_id", "title", "category", "brand", "price")
    return None if product is None else {n: product.get(n) for n in named}


_Writer = Callable[[Sequence[Recipient], Product | None, Path, ChannelSettings], list[Path]]
_WRITERS: dict[str, _Writer] = {
    "csv": _write_csv,
    "email": _write_email_list,
    "push": _write_push_requests,
    "social": _write_social_audience,
}
