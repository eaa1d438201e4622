"""Commands that inspect, compare and release versions, and export them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vetrina.cli import formatting
from vetrina.cli.context import CliContext, to_json_value
from vetrina.cli.load import load
from vetrina.core.errors import BadInput
from vetrina.scenarios.commands import renamed_option

if TYPE_CHECKING:
    from vetrina.store.registry import Version


@click.command()
@click.pass_obj
def versions(state: CliContext) -> None:
    """List all versions, newest first; * marks the champions."""
    state.print_rows(state.open_shop().shop_context.registry.list_versions(), formatting.format_version)


@click.command()
@click.argument("version")
@click.pass_obj
def show(state: CliContext, version: str) -> None:
    """Show a version: verdict, blend, compression, cost."""
    from vetrina.reports.cost import cost, serving_cost
    from vetrina.store.registry import version_to_json

    shop_context = state.open_shop().shop_context
    name = shop_context.registry.find_reference(version)
    record = version_to_json(shop_context.registry.get_version(name))
    record["notes"].pop("samples", None)  # only programs read them
    version_cost = cost(shop_context, name)
    record["cost"] = asdict(version_cost) if version_cost else None
    cost_of_answers = serving_cost(shop_context, name)
    record["serving_cost"] = asdict(cost_of_answers) if cost_of_answers else None

    def format_record(row: dict[str, Any]) -> str:
        return json.dumps(row, indent=2, default=to_json_value)

    state.print_row(record, format_record)


@click.command()
@click.argument("first_version", metavar="VERSION")
@click.argument("second_version", metavar="VERSION")
@click.pass_obj
def compare(state: CliContext, first_version: str, second_version: str) -> None:
    """Compare what the gate measured of two versions."""
    registry = state.open_shop().shop_context.registry
    rows = []
    for reference in (first_version, second_version):
        rows.append(_gate_numbers(registry.get_version(registry.find_reference(reference))))
    state.print_rows(rows, formatting.format_gate_numbers)


def _gate_numbers(version: "Version") -> dict[str, Any]:
    """The name of a version, and its metric in each comparison of the gate."""
    row: dict[str, Any] = {"version": version.name}
    if version.verdict is not None:
        for reason in version.verdict.reasons:
            if "candidate" in reason.numbers:
                row[reason.code] = reason.numbers["candidate"]
    return row


@click.command()
@click.argument("version")
@click.pass_obj
def report(state: CliContext, version: str) -> None:
    """Write an HTML report about a version."""
    from vetrina.reports.version_page import write_version_page

    shop = state.open_shop()
    page = write_version_page(shop, shop.shop_context.registry.find_reference(version))
    state.print_row({"report": str(page)}, formatting.format_report)


@click.group()
def bench() -> None:
    """Measure a version on held-out data, or a service under load."""


bench.add_command(load)


@bench.command()
@click.argument("scenario", default="recommend")
@click.option("--version", help="Version to evaluate (default: the champion).")
@click.option("--against", help="Version to compare with, over the same evaluation units.")
@click.pass_obj
def quality(state: CliContext, scenario: str, version: str | None, against: str | None) -> None:
    """Evaluate a version on its holdout.

    Prints metrics with intervals, slices, each model alone, beyond-accuracy metrics of the lists and a paired gain.
    """
    from vetrina.reports.quality import measure_quality, quality_text

    state.print_row(measure_quality(state.open_shop(), scenario, version, against), quality_text)


@click.command()
@click.argument("goal", default="margin")
@click.pass_obj
def tradeoff(state: CliContext, goal: str) -> None:
    """Measure what a business goal costs in relevance.

    For each weight of GOAL (margin, revenue, retention_7 or retention_28): the NDCG on the holdout, and the mean business
    value of the products that are shown.
    """
    from vetrina.reports.tradeoff import tradeoff_curve

    rows = [asdict(point) for point in tradeoff_curve(state.open_shop(), goal)]

    def format_point(row: dict[str, Any]) -> str:
        return formatting.format_tradeoff_point(row, goal)

    state.print_rows(rows, format_point)


@click.command()
@click.argument("version")
@click.pass_obj
def promote(state: CliContext, version: str) -> None:
    """Make a version the champion without further tests."""
    from vetrina.store import operator_actions

    shop_context = state.open_shop().shop_context
    name = shop_context.registry.find_reference(version)
    promoted = operator_actions.promote(shop_context.registry, shop_context.folder.bundles, name)
    state.print_row(promoted, formatting.format_promotion)


@click.command()
@click.argument("scenario")
@click.option("--from", "leaving", metavar="VERSION", help="Version to leave (default: the newest that users see).")
@click.pass_obj
def rollback(state: CliContext, scenario: str, leaving: str | None) -> None:
    """End a running release, else restore the last champion.

    Every server follows within a second. Repeated it changes nothing: to go back further, name the version to leave with --from.
    """
    from vetrina.store import operator_actions

    shop_context = state.open_shop().shop_context
    result = operator_actions.rollback(
        shop_context.registry, shop_context.rollouts, shop_context.folder.bundles, scenario, leaving
    )
    state.print_row(result, formatting.format_rollback)


@click.command()
@click.argument("release_id", required=False, metavar="[RELEASE_ID]")
@click.pass_obj
def releases(state: CliContext, release_id: str | None) -> None:
    """List live releases, or the decisions of one.

    A canary tests a change on users: in the shadow, by interleaving, then alone for a growing share. A watch follows a version
    that was promoted. Newest first; for one release, each decision with its reasons.
    """
    rollouts = state.open_shop().shop_context.rollouts
    if release_id is None:
        state.print_rows(rollouts.list_rollouts(), formatting.format_rollout)
        return
    state.print_rows(rollouts.decision_log(release_id), formatting.format_decision)


@click.command()
@click.argument("version")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["onnx", "litert", "executorch"]),
    default="onnx",
    show_default=True,
    help="File format of the model.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Output folder, a new one (default: VERSION-FORMAT).")
@click.option(
    "--max-products",
    type=click.IntRange(20),
    default=2_000,
    show_default=True,
    help="Size of the catalogue: the most popular products.",
)
@click.option("--python", default="", help="For litert and executorch: a Python that has their tools.")
@renamed_option("--products", "--max-products")
@click.pass_obj
def export(state: CliContext, version: str, file_format: str, out: Path | None, max_products: int, python: str) -> None:
    """Export a student model for browsers and phones.

    The student is distilled from a version of recommend; with its catalogue it takes at most 2 MB.
    """
    from vetrina.cli.progress import TerminalProgress
    from vetrina.store.shop_folder import ShopFolder

    try:
        from vetrina.edge.export import export_student
    except ModuleNotFoundError as error:
        raise BadInput("export", f"needs {error.name}", 'pip install "vetrina[edge]"') from None
    into = out or Path(f"{version}-{file_format}")
    folder = ShopFolder(state.shop_dir.resolve())
    result = export_student(folder, version, file_format, into, max_products, TerminalProgress(), python)
    state.print_row(asdict(result), formatting.format_export)


COMMANDS = (versions, show, compare, report, bench, tradeoff, promote, rollback, releases, export)
