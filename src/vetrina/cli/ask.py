"""Commands that query the released models: one request on the command line, or a file of requests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vetrina.cli import formatting
from vetrina.cli.context import CliContext
from vetrina.cli.options import FILE_PATH, limit_option, output_file_option, renamed_option
from vetrina.core.errors import BadInput
from vetrina.serve.local.client import query_service
from vetrina.serve.local.query import LocalItem, LocalQuery

if TYPE_CHECKING:
    from vetrina.core.types import RankedItem

Value = TypeVar("Value")


@click.command()
@click.argument("query", required=False)
@click.option("--user", help="Personalise for this user id.")
@click.option("--queries", type=FILE_PATH, help="File with query (and user_id).")
@limit_option
@output_file_option
@click.pass_obj
def search(
    state: CliContext, query: str | None, user: str | None, queries: Path | None, limit: int, out: Path | None
) -> None:
    """Rank products for a query."""
    if queries:
        _rank_file(state, "search", queries, out, {"limit": limit})
        return
    text = _require_value(query, "QUERY or --queries FILE")
    _print_answer(state, LocalQuery("search", user_id=user, query=text, limit=limit))


@click.command()
@click.argument("user_id", required=False, metavar="[USER_ID]")
@click.option("--users", type=FILE_PATH, help="File with user_id.")
@click.option("--sessions", type=FILE_PATH, help="File with session_id and product_ids (oldest first).")
@click.option("--placement", default="home", show_default=True, help="home, product, cart, discover or buy_again.")
@click.option(
    "--exclude-seen/--include-seen",
    "exclude_seen",
    default=None,
    help="Whether to leave out products that the user has interacted with (default: as the data suggests).",
)
@limit_option
@output_file_option
@click.pass_obj
def recommend(
    state: CliContext,
    user_id: str | None,
    users: Path | None,
    sessions: Path | None,
    placement: str,
    exclude_seen: bool | None,
    limit: int,
    out: Path | None,
) -> None:
    """Recommend products to a user."""
    options: dict[str, Any] = {"limit": limit, "placement": placement, "exclude_seen": exclude_seen}
    if sessions:
        _rank_file(state, "sessions", sessions, out, options)
        return
    if users:
        _rank_file(state, "recommend", users, out, options)
        return
    user = _require_value(user_id, "USER_ID, --users FILE or --sessions FILE")
    _print_answer(state, LocalQuery("recommend", user_id=user, **options))


@click.command()
@click.argument("product_id", required=False, metavar="[PRODUCT_ID]")
@click.option("--products", type=FILE_PATH, help="File with product_id.")
@click.option("--by-image", is_flag=True, help="Rank by similarity of images instead of behaviour and content.")
@limit_option
@output_file_option
@renamed_option("--looks", "--by-image")
@click.pass_obj
def similar(
    state: CliContext, product_id: str | None, products: Path | None, by_image: bool, limit: int, out: Path | None
) -> None:
    """Recommend products to go with a product, or similar ones."""
    placement = "looks_like" if by_image else "product"
    options: dict[str, Any] = {"limit": limit, "placement": placement}
    if products:
        _rank_file(state, "similar", products, out, options)
        return
    product = _require_value(product_id, "PRODUCT_ID or --products FILE")
    _print_answer(state, LocalQuery("recommend", product_ids=[product], **options))


@click.command()
@click.argument("user_id", required=False, metavar="[USER_ID]")
@click.option("--users", type=FILE_PATH, help="File with user_id.")
@click.option("--query", default="", help="Search query of the page, if any.")
@click.option("--slots", default=3, show_default=True, help="Number of ad slots on the page.")
@output_file_option
@renamed_option("--limit", "--slots")
@click.pass_obj
def ads(state: CliContext, user_id: str | None, users: Path | None, query: str, slots: int, out: Path | None) -> None:
    """Run the ad auction for a user, with prices per click."""
    if users:
        _rank_file(state, "ads", users, out, {"slots": slots})
        return
    user = _require_value(user_id, "USER_ID or --users FILE")
    answer = state.open_shop().ads(user, slots=slots, query=query)
    _print_items(state, answer.items)


@click.command()
@click.argument("product_id", required=False, metavar="[PRODUCT_ID]")
@click.option("--size", default=100, show_default=True, help="Number of users.")
@click.option(
    "--seed-users", type=FILE_PATH, help="File with user_id: select users similar to these, not buyers of a product."
)
@click.option(
    "--segment", default="", help="Segment of users: best, loyal, big spenders, new, promising, at risk or lost."
)
@click.option("--channel", default="csv", show_default=True, help="csv, email, push, social or webhook.")
@click.option("--products", type=FILE_PATH, help="File with product_id: one audience for each, written to --out.")
@click.option(
    "--mark-contacted/--no-mark-contacted",
    default=False,
    help="Record the users as contacted, which lowers their rank in later audiences.",
)
@click.option("--out", help="Output file, or the address of a webhook.")
@renamed_option("--like", "--seed-users")
@renamed_option("--note", "--mark-contacted")
@renamed_option("--no-note", "--no-mark-contacted")
@click.pass_obj
def audience(
    state: CliContext,
    product_id: str | None,
    size: int,
    seed_users: Path | None,
    segment: str,
    channel: str,
    products: Path | None,
    mark_contacted: bool,
    out: str | None,
) -> None:
    """Select users to contact about a new product."""
    from vetrina.api import batch

    shop = state.open_shop()
    if products:
        output_file = Path(_require_value(out, "--out FILE"))
        n_rows = batch.audience_file(shop, products, output_file, shop.shop_context.progress, size)
        state.print_row({"rows": n_rows, "out": out}, formatting.format_output_file)
        return
    seed_user_ids = batch.read_user_ids(seed_users) if seed_users else ()
    selected = shop.audience(product_id, size=size, like=seed_user_ids, segment=segment, channel=channel)
    delivery = None
    if out is not None:
        delivery = batch.deliver_audience(shop, channel, selected, product_id, out)
    if mark_contacted:  # after the delivery, which raises where it reaches nobody
        shop.mark_contacted(selected, product_id, channel)
    if delivery is not None:
        state.print_row(delivery, formatting.format_delivery)
        return
    rows = []
    for rank, recipient in enumerate(selected.recipients, start=1):
        rows.append({"rank": rank, "user_id": recipient.user_id, "score": recipient.score, "why": recipient.reason})
    state.print_rows(rows, formatting.format_recipient)


@click.command()
@click.argument("features", required=False)
@click.option("--table", type=FILE_PATH, help="File with the columns of the table.")
@output_file_option
@click.pass_obj
def predict(state: CliContext, features: str | None, table: Path | None, out: Path | None) -> None:
    """Predict the label of a row: yes or no, or a number.

    FEATURES is a JSON list in column order, or an object by column name.
    """
    from vetrina.api.batch import predict_file

    shop = state.open_shop()
    if table:
        n_rows = predict_file(shop, table, _require_value(out, "--out FILE"), shop.shop_context.progress)
        state.print_row({"rows": n_rows, "out": str(out)}, formatting.format_output_file)
        return
    text = _require_value(features, "FEATURES or --table FILE")
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(text, f"is no JSON ({error})", "write '[1, 2, \"red\"]'") from None
    state.print_row(shop.predict([row])[0], formatting.format_prediction)


def _rank_file(state: CliContext, request_kind: str, file: Path, out: Path | None, options: dict[str, Any]) -> None:
    """Answer a file of requests into the file of ``--out``, and print how many rows were written."""
    from vetrina.api.batch import rank_file

    output_file = _require_value(out, "--out FILE")
    shop = state.open_shop()
    n_rows = rank_file(shop, request_kind, file, output_file, shop.shop_context.progress, options)
    state.print_row({"rows": n_rows, "out": str(out)}, formatting.format_output_file)


def _print_answer(state: CliContext, query: LocalQuery) -> None:
    """Print the answer of the running service, else that of the bundle."""
    shop_dir = state.shop_dir.resolve()
    items = query_service(shop_dir, query)
    if items is None:
        from vetrina.serve.released_models import answer_from_bundle

        items = answer_from_bundle(shop_dir, query)
    _print_items(state, items)


def _print_items(state: CliContext, items: "Sequence[LocalItem | RankedItem]") -> None:
    rows = []
    for rank, item in enumerate(items, start=1):
        rows.append(
            {
                "rank": rank,
                "product_id": item.product_id,
                "title": item.title,
                "score": round(item.score, 4),
                "why": item.reasons[0] if item.reasons else "",
            }
        )
    state.print_rows(rows, formatting.format_ranked_product)


def _require_value(value: Value | None, name: str) -> Value:
    if value is None:
        raise click.UsageError(f"give {name}")
    return value


COMMANDS = (search, recommend, similar, ads, audience, predict)
