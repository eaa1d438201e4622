"""The commands that ask what serves: one question on the line, or a file of them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vetrina.cli.context import FILE_PATH, CliContext
from vetrina.core.errors import BadInput


def _batch_options(command: Any) -> Any:
    command = click.option("--out", type=FILE_PATH, help="Where the batch goes (CSV, Parquet, JSON lines).")(command)
    return click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True)(command)


@click.command()
@click.argument("query", required=False)
@click.option("--user", help="Personalise for this user.")
@click.option("--queries", type=FILE_PATH, help="A file with query (and user_id).")
@_batch_options
@click.pass_obj
def search(
    state: CliContext, query: str | None, user: str | None, queries: Path | None, limit: int, out: Path | None
) -> None:
    """Search as a shopper would."""
    shop = state.open_shop()
    if queries:
        _answer_file(state, shop, "search", queries, out, {"limit": limit})
    else:
        _print_answer(state, shop.search(_require_value(query, "QUERY or --queries FILE"), user, limit=limit))


@click.command()
@click.argument("user", required=False)
@click.option("--users", type=FILE_PATH, help="A file with user_id.")
@click.option("--sessions", type=FILE_PATH, help="A file with session_id and product_ids (oldest first).")
@click.option("--placement", default="home", show_default=True, help="home, product, cart, discover, buy_again.")
@click.option("--exclude-seen/--include-seen", "exclude_seen", default=None, help="Leave out what the user had.")
@_batch_options
@click.pass_obj
def recommend(
    state: CliContext,
    user: str | None,
    users: Path | None,
    sessions: Path | None,
    placement: str,
    exclude_seen: bool | None,
    limit: int,
    out: Path | None,
) -> None:
    """Recommend products to a user."""
    shop = state.open_shop()
    options = {"limit": limit, "placement": placement, "exclude_seen": exclude_seen}
    if users or sessions:
        _answer_file(state, shop, "sessions" if sessions else "recommend", sessions or users, out, options)
    else:
        _print_answer(state, shop.recommend(_require_value(user, "USER, --users FILE or --sessions FILE"), **options))


@click.command()
@click.argument("product", required=False)
@click.option("--products", type=FILE_PATH, help="A file with product_id.")
@click.option("--looks", is_flag=True, help="Products that look like it, by their pictures.")
@_batch_options
@click.pass_obj
def similar(
    state: CliContext, product: str | None, products: Path | None, by_image: bool, limit: int, out: Path | None
) -> None:
    """Products that go with a product."""
    shop = state.open_shop()
    options = {"limit": limit, **({"placement": "looks_like"} if by_image else {})}
    if products:
        _answer_file(state, shop, "similar", products, out, options)
    else:
        _print_answer(state, shop.similar(_require_value(product, "PRODUCT or --products FILE"), **options))


@click.command()
@click.argument("goal", default="margin")
@click.pass_obj
def tradeoff(state: CliContext, goal: str) -> None:
    """What a weight of GOAL (margin, revenue, retention_7 or retention_28) costs in relevance, and gains."""
    from vetrina.pipeline.tradeoff import tradeoff_curve as curve

    state.print_rows(
        [asdict(point) for point in curve(state.open_shop(), goal)],
        lambda p: (
            f"{p['weight']:>5.2f}  NDCG@10 {p['relevance']['point']:.4f} "
            f"[{p['relevance']['low']:.4f}, {p['relevance']['high']:.4f}]  mean {goal} shown {p['worth']:.3f}"
        ),
    )


@click.command()
@click.argument("user", required=False)
@click.option("--users", type=FILE_PATH, help="A file with user_id.")
@click.option("--query", default="", help="What was searched for on the page.")
@click.option("--limit", default=3, show_default=True, help="Places on the page.")
@click.option("--out", type=FILE_PATH, help="Where the batch goes (CSV, Parquet, JSON lines).")
@click.pass_obj
def ads(state: CliContext, user: str | None, users: Path | None, query: str, limit: int, out: Path | None) -> None:
    """Ads that a user would see now, with the price of a click."""
    shop = state.open_shop()
    if users:
        _answer_file(state, shop, "ads", users, out, {"slots": limit})
        return
    _print_answer(state, shop.ads(_require_value(user, "USER or --users FILE"), slots=limit, query=query))


@click.command()
@click.argument("product", required=False)
@click.option("--size", default=100, show_default=True, help="How many users.")
@click.option("--like", type=FILE_PATH, help="A file with user_id: users like these, instead of for a product.")
@click.option("--segment", default="", help="best, loyal, big spenders, new, promising, at risk, lost.")
@click.option("--channel", default="csv", show_default=True, help="csv, email, push, social, webhook.")
@click.option("--products", type=FILE_PATH, help="A file with product_id: one audience for each, into one --out file.")
@click.option("--note/--no-note", default=False, help="Note them as told: they come later in the next audience.")
@click.option("--out", help="The file; for a webhook its address.")
@click.pass_obj
def audience(
    state: CliContext,
    product: str | None,
    size: int,
    seed_users: Path | None,
    segment: str,
    channel: str,
    products: Path | None,
    mark_contacted: bool,
    out: str | None,
) -> None:
    """Users to tell about a new product."""
    from vetrina.pipeline import batch

    shop = state.open_shop()
    if products:
        rows = batch.audience_file(
            shop, products, Path(_require_value(out, "--out FILE")), shop.shop_context.progress, size
        )
        state.print_rows({"rows": rows, "out": out}, lambda r: f"{r['rows']} rows in {r['out']}")
        return
    seeds = batch.read_user_ids(seed_users) if seed_users else ()
    found = shop.audience(product, size=size, like=seeds, segment=segment, channel=channel)
    handed = batch.deliver_audience(shop, channel, found, product, out) if out is not None else None
    if mark_contacted:  # only now: whom a failed hand-over did not reach was not told
        shop.mark_contacted(found, product, channel)
    if handed is not None:
        state.print_rows(handed, lambda r: f"{r['users']} users to {r['out']}")
        return
    rows = [
        {"rank": n, "user_id": p.user_id, "score": p.score, "why": p.reason} for n, p in enumerate(found.recipients, 1)
    ]
    state.print_rows(rows, lambda r: f"{r['rank']:>5}  {r['user_id']:<16} {r['score']:>9}  ({r['why']})")


@click.command()
@click.argument("features", required=False)
@click.option("--table", type=FILE_PATH, help="A file with the table's columns.")
@click.option("--out", type=FILE_PATH, help="Where the batch goes (CSV, Parquet, JSON lines).")
@click.pass_obj
def predict(state: CliContext, features: str | None, table: Path | None, out: Path | None) -> None:
    """A yes or no, or a number, for a row: FEATURES is a JSON list in column order, or an object by name."""
    from vetrina.pipeline.batch import predict_file

    shop = state.open_shop()
    if table:
        rows = predict_file(shop, table, _require_value(out, "--out FILE"), shop.shop_context.progress)
        state.print_rows({"rows": rows, "out": str(out)}, lambda r: f"{r['rows']} rows in {r['out']}")
        return
    try:
        row = json.loads(_require_value(features, "FEATURES or --table FILE"))
    except json.JSONDecodeError as error:
        raise BadInput(str(features), f"is no JSON ({error})", "write '[1, 2, \"red\"]'") from None
    state.print_rows(shop.predict([row])[0], _format_prediction)


def _format_prediction(prediction: dict[str, Any]) -> str:
    return f"{prediction['prediction']}" + (
        f" (probability {prediction['probability']})" if "probability" in prediction else ""
    )


def _answer_file(
    state: CliContext, shop: Any, request_kind: str, file: Path | None, out: Path | None, options: dict[str, Any]
) -> None:
    from vetrina.pipeline.batch import rank_file

    rows = rank_file(
        shop,
        request_kind,
        _require_value(file, "a file"),
        _require_value(out, "--out FILE"),
        shop.shop_context.progress,
        options,
    )
    state.print_rows({"rows": rows, "out": str(out)}, lambda r: f"{r['rows']} rows in {r['out']}")


def _print_answer(state: CliContext, answer: Any) -> None:
    from vetrina.pipeline.batch import answer_records

    state.print_rows(
        list(answer_records(answer)),
        lambda r: f"{r['rank']:>3}  {r['product_id']:<12} {r['score']:>8}  {r['title']}  ({r['why']})",
    )


def _require_value(value: Any, what: str) -> Any:
    if value is None:
        raise click.UsageError(f"give {what}")
    return value


COMMANDS = (search, recommend, similar, tradeoff, ads, audience, predict)
