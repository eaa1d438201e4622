"""Commands ``vetrina recommend`` and ``vetrina similar``."""

from pathlib import Path
from typing import Any

import click

from vetrina.scenarios.commands import (
    FILE_PATH,
    CommandContext,
    FileOfRequests,
    Row,
    ScenarioCommands,
    engine_option,
    limit_option,
    output_file_option,
    renamed_option,
    require_value,
    user_of,
)

_SCENARIO = "recommend"


def _user_parameters(row: Row) -> dict[str, Any]:
    return {"user": user_of(row)}


def _session_parameters(row: Row) -> dict[str, Any]:
    return {"product_ids": _parse_ids(row["product_ids"])}


def _product_parameters(row: Row) -> dict[str, Any]:
    return {"product_ids": (str(row["product_id"]),)}


def _parse_ids(value: Any) -> tuple[str, ...]:
    """Ids from a list, or from text such as ``["a", "b"]`` or ``a b``."""
    if isinstance(value, list | tuple):
        return tuple(str(part) for part in value)
    text = str(value)
    for separator in "[]\"',":
        text = text.replace(separator, " ")
    return tuple(text.split())


USERS = FileOfRequests("recommend", "user_id", ("user_id",), _user_parameters)
_SESSIONS = FileOfRequests("sessions", "session_id", ("session_id", "product_ids"), _session_parameters)
_PRODUCTS = FileOfRequests("similar", "product_id", ("product_id",), _product_parameters)


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
@engine_option
@click.pass_obj
def recommend(
    context: CommandContext,
    user_id: str | None,
    users: Path | None,
    sessions: Path | None,
    placement: str,
    exclude_seen: bool | None,
    limit: int,
    out: Path | None,
    engine: str | None,
) -> None:
    """Recommend products to a user."""
    options: dict[str, Any] = {"limit": limit, "placement": placement, "exclude_seen": exclude_seen}
    if sessions:
        context.rank_file(_SCENARIO, _SESSIONS, sessions, out, engine, **options)
        return
    if users:
        context.rank_file(_SCENARIO, USERS, users, out, engine, **options)
        return
    user = require_value(user_id, "USER_ID, --users FILE or --sessions FILE")
    context.rank(_SCENARIO, user_id=user, **options)


@click.command()
@click.argument("product_id", required=False, metavar="[PRODUCT_ID]")
@click.option("--products", type=FILE_PATH, help="File with product_id.")
@click.option("--by-image", is_flag=True, help="Rank by similarity of images instead of behaviour and content.")
@limit_option
@output_file_option
@renamed_option("--looks", "--by-image")
@click.pass_obj
def similar(
    context: CommandContext,
    product_id: str | None,
    products: Path | None,
    by_image: bool,
    limit: int,
    out: Path | None,
) -> None:
    """Recommend products to go with a product, or similar ones."""
    placement = "looks_like" if by_image else "product"
    if products:
        context.rank_file(_SCENARIO, _PRODUCTS, products, out, limit=limit, placement=placement)
        return
    product = require_value(product_id, "PRODUCT_ID or --products FILE")
    context.rank(_SCENARIO, product_ids=[product], limit=limit, placement=placement)


COMMANDS = ScenarioCommands(2, (recommend, similar))
