"""Command ``vetrina search``."""

from pathlib import Path
from typing import Any

import click

from vetrina.scenarios.commands import (
    FILE_PATH,
    CommandContext,
    FileOfRequests,
    Row,
    ScenarioCommands,
    limit_option,
    output_file_option,
    require_value,
    user_of,
)

_SCENARIO = "search"


def _parameters(row: Row) -> dict[str, Any]:
    return {"query": str(row["query"]), "user": user_of(row)}


_QUERIES = FileOfRequests("search", "query", ("query",), _parameters)


@click.command()
@click.argument("query", required=False)
@click.option("--user", help="Personalise for this user id.")
@click.option("--queries", type=FILE_PATH, help="File with query (and user_id).")
@limit_option
@output_file_option
@click.pass_obj
def search(
    context: CommandContext, query: str | None, user: str | None, queries: Path | None, limit: int, out: Path | None
) -> None:
    """Rank products for a query."""
    if queries:
        context.rank_file(_SCENARIO, _QUERIES, queries, out, limit=limit)
        return
    text = require_value(query, "QUERY or --queries FILE")
    context.rank(_SCENARIO, user_id=user, query=text, limit=limit)


COMMANDS = ScenarioCommands(1, (search,))
