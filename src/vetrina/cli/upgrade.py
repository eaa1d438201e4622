"""Command that brings the store of an earlier Vetrina up to date: ``upgrade``."""

from typing import TYPE_CHECKING

import click

from vetrina.cli.context import CliContext

if TYPE_CHECKING:
    from vetrina.store.upgrade import StoreUpgrade


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--copied", "is_copied", is_flag=True, help="You have a copy of the database; do not make one.")
@click.pass_obj
def upgrade(state: CliContext, dry_run: bool, is_copied: bool) -> None:
    """Upgrade the store of an earlier Vetrina, after a copy of it.

    Stop everything that uses the shop before. A SQLite database is copied to a file beside it; of a database on a server make a
    dump first, then give --copied. An upgrade that was cut off goes on where it stopped.
    """
    from vetrina.store.shop_folder import ShopFolder
    from vetrina.store.upgrade import plan_upgrade, upgrade_shop

    folder = ShopFolder(state.shop_dir.resolve())
    if dry_run:
        state.print_row(plan_upgrade(folder.store_url), _plan_text)
        return
    state.print_row(upgrade_shop(folder.store_url, folder.keys, is_copied=is_copied), _result_text)


def _plan_text(plan: "StoreUpgrade") -> str:
    if not plan.steps:
        return _up_to_date(plan)
    return "\n".join([f"the store has schema {plan.from_schema}; vetrina upgrade would do:", *_step_lines(plan)])


def _result_text(done: "StoreUpgrade") -> str:
    if not done.steps:
        return _up_to_date(done)
    lines = [f"the store had schema {done.from_schema}; done:", *_step_lines(done)]
    if done.copy is not None:
        lines.append(f"the database as it was: {done.copy}; remove it once everything works")
    return "\n".join(lines)


def _step_lines(upgrade: "StoreUpgrade") -> list[str]:
    return [f"  {step}" for step in upgrade.steps]


def _up_to_date(upgrade: "StoreUpgrade") -> str:
    return f"nothing to do: the store has schema {upgrade.from_schema}, as this Vetrina needs it"


COMMANDS = (upgrade,)
