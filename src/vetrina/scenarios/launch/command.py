"""Command ``vetrina audience``."""

from pathlib import Path

import click

from vetrina.scenarios.commands import FILE_PATH, CommandContext, ScenarioCommands, renamed_option

_SCENARIO = "launch"


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
    context: CommandContext,
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
    if products:
        context.select_audiences(_SCENARIO, products, out, size)
        return
    context.select_audience(
        _SCENARIO,
        product_id,
        size=size,
        seed_users=seed_users,
        segment=segment,
        channel=channel,
        mark_contacted=mark_contacted,
        out=out,
    )


COMMANDS = ScenarioCommands(4, (audience,))
