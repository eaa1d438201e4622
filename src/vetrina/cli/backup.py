"""Commands that back up a shop and restore it: ``backup``, ``restore`` and ``backup-key``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vetrina.cli.context import CliContext
from vetrina.core.errors import BadInput

if TYPE_CHECKING:
    from vetrina.operate.backup import BackupSummary
    from vetrina.operate.restore import RestoreSummary

_FILE = click.Path(path_type=Path, dir_okay=False)
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("to", type=_PATH, required=False)
@click.option("--recipient", help="Public key of age (age1...); default: [backup] recipient.")
@click.option("--keys-to", type=_PATH, help="Back up the shop's keys, too, in this file or folder.")
@click.pass_obj
def backup(state: CliContext, to: Path | None, recipient: str | None, keys_to: Path | None) -> None:
    """Back up the shop while it runs.

    TO is a new file, or a folder. The backup is encrypted to a public key and read back before it gets its name. It holds the
    tables, the lake, settings, images, and the bundles that serve, are being released or can be rolled back to. The shop's keys
    are no part of it: back them up with --keys-to, and keep both apart.
    """
    from vetrina.cli.progress import TerminalProgress
    from vetrina.cli.supervision import interrupt_on_signals
    from vetrina.operate.backup import back_up_keys, back_up_shop
    from vetrina.operate.backup_names import backup_folder
    from vetrina.store.shop_folder import ShopFolder

    shop = ShopFolder(state.shop_dir.resolve())
    settings = shop.settings.backup
    public_key = recipient or settings.recipient
    if not public_key:
        way_out = (
            "vetrina backup-key FILE makes a pair; then --recipient age1..., or [backup] recipient in vetrina.toml"
        )
        raise BadInput("vetrina backup", "has no key to encrypt to", way_out)
    if to is None and not settings.to:
        raise BadInput("vetrina backup", "has no place to write to", "name a file or folder, or set [backup] to")
    interrupt_on_signals()
    summaries = [back_up_shop(shop, to or backup_folder(shop), public_key, TerminalProgress())]
    if keys_to is not None:
        summaries.append(back_up_keys(shop, keys_to, public_key))
    state.print_rows(summaries, _backup_text)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--identity", type=_FILE, help="File with the private key, which `vetrina backup-key` wrote.")
@click.option("--keys", "keys_source", type=_PATH, help="Backup of the shop's keys, or a folder with them.")
@click.option("--into", type=_PATH, help="Folder of the restored shop: a new or an empty one.")
@click.option(
    "--store-url",
    envvar="VETRINA_STORE_URL",
    help="Another, empty database for its tables; `sqlite` for a file in the folder. A password in it is better kept in "
    "VETRINA_STORE_URL.",
)
@click.option("--bundles-url", help="Another place for its bundles in object storage; empty for the folder.")
@click.option("--dry-run", is_flag=True, help="Read and verify the whole backup, and write nothing.")
@click.pass_obj
def restore(
    state: CliContext,
    file: Path,
    identity: Path | None,
    keys_source: Path | None,
    into: Path | None,
    store_url: str | None,
    bundles_url: str | None,
    dry_run: bool,
) -> None:
    """Restore a shop from a backup.

    It goes into an empty folder and an empty database. The shop can be used once all of it is there; where anything is wrong,
    nothing was changed. Beside a shop that still runs give --store-url and --bundles-url: two shops must share neither.
    """
    from vetrina.cli.supervision import interrupt_on_signals
    from vetrina.operate.age import load_identities
    from vetrina.operate.restore import RestoreTarget, read_backup, restore_shop

    identities = [] if identity is None else load_identities(identity)
    if dry_run:
        state.print_row(read_backup(file, identities, keys_source), _verified_text)
        return
    if into is None:
        raise BadInput("vetrina restore", "has no folder to restore into", "name a new or an empty one with --into")
    if keys_source is None:
        rule = "needs the shop's keys, without which nothing of it can be opened"
        raise BadInput("vetrina restore", rule, "give what `vetrina backup --keys-to FILE` wrote with --keys")
    interrupt_on_signals()
    target = RestoreTarget(into.resolve(), store_url, bundles_url)
    state.print_row(restore_shop(file, identities, keys_source, target), _restored_text)


@click.command("backup-key")
@click.argument("file", type=_FILE)
@click.pass_obj
def backup_key(state: CliContext, file: Path) -> None:
    """Make a key pair for backups.

    The private key goes to a new FILE, the public one to the screen. The private key opens every backup made with the pair.
    Keep it away from the shop: making backups needs the public one alone.
    """
    from vetrina.operate.age import create_identity_file

    row = {"identity": str(file), "recipient": create_identity_file(file)}
    state.print_row(row, _key_text)


def _backup_text(summary: "BackupSummary") -> str:
    lines = [f"{summary.file}: {summary.file_bytes / 1e6:,.1f} MB, read back and verified"]
    if summary.versions:
        lines.append(f"  {summary.rows:,} rows, bundles of {', '.join(summary.versions)}")
    lines += [f"  left out: {version}" for version in summary.left_out]
    return "\n".join(lines)


def _verified_text(summary: "RestoreSummary") -> str:
    signature = "signed with these keys"
    if not summary.is_signature_verified:
        signature = "its signature was not looked at, which needs --keys"
    entries = f"{summary.entries:,} entries, {summary.content_bytes / 1e6:,.1f} MB as they were written"
    return f"{_description(summary)}: {entries}; {signature}"


def _restored_text(summary: "RestoreSummary") -> str:
    lines = [
        f"{summary.folder}: {_description(summary)}, {summary.rows:,} rows",
        "  whoever was erased, or withdrew consent, since then is in it again: repeat that before it serves",
    ]
    if summary.needs_upgrade:
        lines.append(f"  its store has schema {summary.header.schema}: vetrina upgrade, or the Vetrina that it is of")
    return "\n".join(lines)


def _description(summary: "RestoreSummary") -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(summary.header.time))
    return f"{summary.header.kind} of {moment} UTC, Vetrina {summary.header.vetrina}"


def _key_text(row: dict[str, str]) -> str:
    lines = [
        f"{row['identity']}: the private key, which opens the backups; keep it away from the shop, and never lose it",
        "vetrina.toml of the shop:",
        "[backup]",
        f'recipient = "{row["recipient"]}"',
    ]
    return "\n".join(lines)


COMMANDS = (backup, restore, backup_key)
