"""Commands that write what a cluster needs: ``deploy render``."""

import functools
from pathlib import Path

import click

from vetrina.cli.context import CliContext
from vetrina.deploy import TARGETS

_NEXT_STEP = {"kubernetes": "kubectl apply -k {folder}/overlays/small", "helm": "helm install vetrina {folder}"}


@click.group()
def deploy() -> None:
    """Write manifests for a cluster."""


@deploy.command()
@click.argument("target", type=click.Choice(TARGETS))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--values",
    "values_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file of values that differ from the defaults.",
)
@click.pass_obj
def render(state: CliContext, target: str, folder: Path, values_file: Path | None) -> None:
    """Write plain manifests with Kustomize overlays, or a Helm chart.

    DIR is a new folder, or one that holds nothing but what an earlier call wrote: that is replaced in one step. No cluster is
    needed or asked.
    """
    from vetrina.deploy.render import render_target
    from vetrina.deploy.values import load_values

    files = render_target(target, folder, load_values(values_file))
    format_row = functools.partial(_format_rendered, next_step=_NEXT_STEP[target].format(folder=folder))
    state.print_row({"folder": str(folder), "files": files}, format_row)


def _format_rendered(row: dict[str, object], next_step: str) -> str:
    return f"{row['folder']} written. Next: {next_step}"


COMMANDS = (deploy,)
