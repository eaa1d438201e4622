"""Command that brings the store of an earlier Vetrina up to date: ``upgrade``."""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from vetrina.cli.context import CliContext
from vetrina.core.files import PRIVATE_FOLDER

if TYPE_CHECKING:
    from vetrina.store.shop_folder import ShopFolder
    from vetrina.store.upgrade import StoreUpgrade

_BACKUP_FOLDER = "backups"  # of the shop's folder, where [backup] to names none


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--no-backup", is_flag=True, help="Make no backup first: you have one.")
@click.pass_obj
def upgrade(state: CliContext, dry_run: bool, no_backup: bool) -> None:
    """Back up the shop, then upgrade its store to this Vetrina.

    Stop everything that uses the shop before. The backup lies where [backup] to says, else in the shop's folder; it is encrypted
    if [backup] recipient names a key. An upgrade that was cut off goes on where it stopped. The way back: vetrina restore.
    """
    from vetrina.store.shop_folder import ShopFolder
    from vetrina.store.upgrade import plan_upgrade, upgrade_shop

    folder = ShopFolder(state.shop_dir.resolve())
    plan = plan_upgrade(folder.store_url)
    if dry_run:
        state.print_row(plan, _plan_text)
        return
    backup_file = ""
    if plan.steps and not no_backup:
        backup_file = _back_up(folder)
    done = upgrade_shop(folder.store_url, folder.keys)
    state.print_row(replace(done, backup=backup_file), _result_text)


def _back_up(shop: "ShopFolder") -> str:
    """The file of a new backup of the shop."""
    from vetrina.cli.progress import TerminalProgress
    from vetrina.cli.supervision import interrupt_on_signals
    from vetrina.operate.backup import back_up_shop
    from vetrina.operate.backup_names import backup_folder

    interrupt_on_signals()
    settings = shop.settings.backup
    if settings.to:
        to = backup_folder(shop)
    else:
        to = shop.root / _BACKUP_FOLDER
        to.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
    return back_up_shop(shop, to, settings.recipient, TerminalProgress()).file


def _plan_text(plan: "StoreUpgrade") -> str:
    if not plan.steps:
        return _up_to_date(plan)
    return "\n".join([f"the store has schema {plan.from_schema}; vetrina upgrade would do:", *_step_lines(plan)])


def _result_text(done: "StoreUpgrade") -> str:
    if not done.steps:
        return _up_to_date(done)
    lines = [f"the store had schema {done.from_schema}; done:", *_step_lines(done)]
    if done.backup:
        lines.append(
            f"the shop as it was: {done.backup}; vetrina restore brings it back, remove it once everything works"
        )
    return "\n".join(lines)


def _step_lines(upgrade: "StoreUpgrade") -> list[str]:
    return [f"  {step}" for step in upgrade.steps]


def _up_to_date(upgrade: "StoreUpgrade") -> str:
    return f"nothing to do: the store has schema {upgrade.from_schema}, as this Vetrina needs it"


COMMANDS = (upgrade,)
