"""Command ``vetrina predict``."""

from pathlib import Path

import click

from vetrina.scenarios.commands import FILE_PATH, CommandContext, ScenarioCommands, output_file_option

_SCENARIO = "predict"


@click.command()
@click.argument("features", required=False)
@click.option("--table", type=FILE_PATH, help="File with the columns of the table.")
@output_file_option
@click.pass_obj
def predict(context: CommandContext, features: str | None, table: Path | None, out: Path | None) -> None:
    """Predict the label of a row: yes or no, or a number.

    FEATURES is a JSON list in column order, or an object by column name.
    """
    if table:
        context.predict_file(_SCENARIO, table, out)
        return
    context.predict(_SCENARIO, features)


COMMANDS = ScenarioCommands(5, (predict,))
