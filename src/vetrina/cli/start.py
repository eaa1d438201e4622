"""Commands that create a shop: ``init`` and ``demo``."""

import time
from pathlib import Path

import click

from vetrina.cli.context import CliContext
from vetrina.cli.settings_template import SETTINGS_TEMPLATE
from vetrina.core.errors import BadInput


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Create a shop's folder with a commented vetrina.toml."""
    from vetrina.core.files import write_bytes

    target = folder / "vetrina.toml"
    if target.exists():
        raise BadInput(str(target), "exists already", "choose another folder")
    write_bytes(target, SETTINGS_TEMPLATE.encode())
    click.echo(f"{target} written. Next: vetrina --shop-dir {folder} ingest --products FILE --events FILE")


@click.command()
@click.option("--exit", "exit_when_trained", is_flag=True, help="Stop once the full versions are trained.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8337, show_default=True, help="Port of the service.")
@click.pass_obj
def demo(state: CliContext, exit_when_trained: bool, host: str, port: int) -> None:
    """Serve, train and release on one year of a real grocer's data."""
    from vetrina.cli.progress import TerminalProgress
    from vetrina.demo.run import run_demo

    started = time.perf_counter()

    def elapsed_seconds() -> float:
        return time.perf_counter() - started

    folder = state.shop_dir_or("demo-shop")
    run_demo(folder, host, port, exit_when_trained, TerminalProgress(), click.echo, elapsed_seconds)


COMMANDS = (init, demo)
