"""The commands that ask what serves: one question on the line, or a file of them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vetrina.console.state import FILE, State
from vetrina.core.errors import BadInput


def _batch_options(command: Any) -> Any:
    command = click.option("--out", type=FILE, help="Where the batch goes (CSV, Parquet, JSON lines).")(command)
    return click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True)(command)


@click.command()
@click.argument("query", required=False)
@click.option("--user", help="Personalise for this user.")
@click.option("--queries", type=FILE, help="A file with query (and user_id).")
@_batch_options
@click.pass_obj
def search(
    state: State, query: str | None, user: str | None, queries: Path | None, limit: int, out: Path | None
) -> None:
    """Search as a shopper would."""
    shop = state.shop()
    if queries:
        _batch(state, shop, "search", queries, out, {"limit": limit})
    else:
        _print(state, shop.search(_given(query, "QUERY or --queries FILE"), user, limit=limit))


@click.command()
@click.argument("user", required=False)
@click.option("--users", type=FILE, help="A file with user_id.")
@click.option("--sessions", type=FILE, help="A file with session_id and product_ids (oldest first).")
@click.option("--placement", default="home", show_default=True, help="home, product, cart, discover, buy_again.")
@click.option("--exclude-seen/--include-seen", "exclude_seen", default=None, help="Leave out what the user had.")
@_batch_options
@click.pass_obj
def recommend(
    state: State,
    user: str | None,
    users: Path | None,
    sessions: Path | None,
    placement: str,
    exclude_seen: bool | None,
    limit: int,
    out: Path | None,
) -> None:
    """Recommend products to a user."""
    shop = state.shop()
    options = {"limit": limit, "placement": placement, "exclude_seen": exclude_seen}
    if users or sessions:
        _batch(state, shop, "sessions" if sessions else "recommend", sessions or users, out, options)
    else:
        _print(state, shop.recommend(_given(user, "USER, --users FILE or --sessions FILE"), **options))


@click.command()
@click.argument("product", required=False)
@click.option("--products", type=FILE, help="A file with product_id.")
@click.option("--looks", is_flag=True, help="Products that look like it, by their pictures.")
@_batch_options
@click.pass_obj
def similar(
    state: State, product: str | None, products: Path | None, looks: bool, limit: int, out: Path | None
) -> None:
    """Products that go with a product."""
    shop, options = state.shop(), {"limit": limit, **({"placement": "looks_like"} if looks else {})}
    if products:
        _batch(state, shop, "similar", products, out, options)
    else:
        _print(state, shop.similar(_given(product, "PRODUCT or --products FILE"), **options))


@click.command()
@click.argument("goal", default="margin")
@click.pass_obj
def tradeoff(state: State, goal: str) -> None:
    """What a weight of GOAL (margin, revenue, retention_7 or retention_28) costs in relevance, and gains."""
    from vetrina.pipeline.tradeoff import tradeoff as curve

    state.show(
        [asdict(point) for point in curve(state.shop(), goal)],
        lambda p: (
            f"{p['weight']:>5.2f}  NDCG@10 {p['relevance']['point']:.4f} "
            f"[{p['relevance']['low']:.4f}, {p['relevance']['high']:.4f}]  mean {goal} shown {p['worth']:.3f}"
        ),
    )


@click.command()
@click.argument("user", required=False)
@click.option("--users", type=FILE, help="A file with user_id.")
@click.option("--query", default="", help="What was searched for on the page.")
@click.option("--limit", default=3, show_default=True, help="Places on the page.")
@click.option("--out", type=FILE, help="Where the batch goes (CSV, Parquet, JSON lines).")
@click.pass_obj
def ads(state: State, user: str | None, users: Path | None, query: str, limit: int, out: Path | None) -> None:
    """Ads that a user would see now, with the price of a click."""
    shop = state.shop()
    if users:
        _batch(state, shop, "ads", users, out, {"slots": limit})
        return
    _print(state, shop.ads(_given(user, "USER or --users FILE"), slots=limit, query=query))


@click.command()
@click.argument("product", required=False)
@click.option("--size", default=100, show_default=True, help="How many users.")
@click.option("--like", type=FILE, help="A file with user_id: users like these, instead of for a product.")
@click.option("--segment", default="", help="best, loyal, big spenders, new, promising, at risk, lost.")
@click.option("--channel", default="csv", show_default=True, help="csv, email, push, social, webhook.")
@click.option("--products", type=FILE, help="A file with product_id: one audience for each, into one --out file.")
@click.option("--note/--no-note", default=False, help="Note them as told: they come later in the next audience.")
@click.option("--out", help="The file; for a webhook its address.")
@click.pass_obj
def audience(
    state: State,
    product: str | None,
    size: int,
    like: Path | None,
    segment: str,
    channel: str,
    products: Path | None,
    note: bool,
    out: str | None,
) -> None:
    """Users to tell about a new product."""
    from vetrina.pipeline import batch

    shop = state.shop()
    if products:
        rows = batch.audiences(shop, products, Path(_given(out, "--out FILE")), shop.workshop.progress, size)
        state.show({"rows": rows, "out": out}, lambda r: f"{r['rows']} rows in {r['out']}")
        return
    seeds = batch.ids_of(like) if like else ()
    found = shop.audience(product, size=size, like=seeds, segment=segment, channel=channel)
    handed = batch.handed_over(shop, channel, found, product, out) if out is not None else None
    if note:  # only now: whom a failed hand-over did not reach was not told
        shop.note_told(found, product, channel)
    if handed is not None:
        state.show(handed, lambda r: f"{r['users']} users to {r['out']}")
        return
    rows = [{"rank": n, "user_id": p.user_id, "score": p.score, "why": p.reason} for n, p in enumerate(found.people, 1)]
    state.show(rows, lambda r: f"{r['rank']:>5}  {r['user_id']:<16} {r['score']:>9}  ({r['why']})")


@click.command()
@click.argument("features", required=False)
@click.option("--table", type=FILE, help="A file with the table's columns.")
@click.option("--out", type=FILE, help="Where the batch goes (CSV, Parquet, JSON lines).")
@click.pass_obj
def predict(state: State, features: str | None, table: Path | None, out: Path | None) -> None:
    """A yes or no, or a number, for a row: FEATURES is a JSON list in column order, or an object by name."""
    from vetrina.pipeline.batch import predicted

    shop = state.shop()
    if table:
        rows = predicted(shop, table, _given(out, "--out FILE"), shop.workshop.progress)
        state.show({"rows": rows, "out": str(out)}, lambda r: f"{r['rows']} rows in {r['out']}")
        return
    try:
        row = json.loads(_given(features, "FEATURES or --table FILE"))
    except json.JSONDecodeError as error:
        raise BadInput(str(features), f"is no JSON ({error})", "write '[1, 2, \"red\"]'") from None
    state.show(shop.predict([row])[0], _told)


def _told(found: dict[str, Any]) -> str:
    return f"{found['prediction']}" + (f" (probability {found['probability']})" if "probability" in found else "")


def _batch(state: State, shop: Any, kind: str, file: Path | None, out: Path | None, options: dict[str, Any]) -> None:
    from vetrina.pipeline.batch import ranked

    rows = ranked(shop, kind, _given(file, "a file"), _given(out, "--out FILE"), shop.workshop.progress, options)
    state.show({"rows": rows, "out": str(out)}, lambda r: f"{r['rows']} rows in {r['out']}")


def _print(state: State, answer: Any) -> None:
    from vetrina.pipeline.batch import listed

    state.show(
        list(listed(answer)),
        lambda r: f"{r['rank']:>3}  {r['product_id']:<12} {r['score']:>8}  {r['title']}  ({r['why']})",
    )


def _given(value: Any, what: str) -> Any:
    if value is None:
        raise click.UsageError(f"give {what}")
    return value


COMMANDS = (search, recommend, similar, tradeoff, ads, audience, predict)
