"""Command ``vetrina ads``."""

from pathlib import Path
from typing import Any

import click

from vetrina.scenarios.commands import (
    FILE_PATH,
    CommandContext,
    FileOfRequests,
    Row,
    ScenarioCommands,
    output_file_option,
    renamed_option,
    require_value,
    user_of,
)

_SCENARIO = "ads"


def _parameters(row: Row) -> dict[str, Any]:
    return {"user": user_of(row)}


_USERS = FileOfRequests("ads", "user_id", ("user_id",), _parameters)


@click.command()
@click.argument("user_id", required=False, metavar="[USER_ID]")
@click.option("--users", type=FILE_PATH, help="File with user_id.")
@click.option("--query", default="", help="Search query of the page, if any.")
@click.option("--slots", default=3, show_default=True, help="Number of ad slots on the page.")
@output_file_option
@renamed_option("--limit", "--slots")
@click.pass_obj
def ads(
    context: CommandContext, user_id: str | None, users: Path | None, query: str, slots: int, out: Path | None
) -> None:
    """Run the ad auction for a user, with prices per click."""
    if users:
        context.rank_file(_SCENARIO, _USERS, users, out, limit=slots)
        return
    user = require_value(user_id, "USER_ID or --users FILE")
    context.rank(_SCENARIO, user_id=user, query=query, limit=slots)


COMMANDS = ScenarioCommands(3, (ads,))
