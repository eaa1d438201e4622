"""A version for devices: a student of what it recommends, taught here, with its shelf and a page that re-ranks in the browser."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vetrina.core.errors import BadInput, Unfit
from vetrina.core.files import folder_beside
from vetrina.core.types import Plan
from vetrina.pipeline.shop import Shop
from vetrina.retrieval.shelf import Shelf
from vetrina.scenarios.recommend.student import kind, taught
from vetrina.targets import edge

WIDTH, BUDGET = 64, 2_000_000
_PAGE = Path(edge.__file__).parent / "page"


@dataclass(frozen=True)
class Exported:
    """What was written: ``bytes`` of model and shelf together, ``agreement`` with the version's first ten on held-out
    histories (``popular``: what sells most alone), ``error`` of the file against the network."""

    folder: str
    format: str
    products: int
    bytes: int
    agreement: float
    popular: float
    error: float


def export(shop: Shop, version: str, form: str, into: Path, products: int, python: str = "") -> Exported:
    """Writes a folder that is not there yet. Raises BadInput, NotFound for an unknown version."""
    if form not in edge.FORMATS:
        raise BadInput(f"format {form!r}", "is unknown", f"use one of {', '.join(edge.FORMATS)}")
    if into.exists():
        raise BadInput(f"folder {str(into)!r}", "is there already", "name another one")
    shown = shop.workshop.registry.show(version)
    if shown["scenario"] != "recommend":
        raise BadInput(f"version {version!r}", f"is of {shown['scenario']}", "name one of recommend")
    settings, progress = shop.workshop.shop.settings.train, shop.workshop.progress
    plan = Plan(settings.seed, threads=settings.threads)
    folder = shop.workshop.open_version(version)
    shelf, found_tool = Shelf(folder / "shelf"), edge.tool(form, python)
    # Bytes of a product, before anything is taught for minutes.
    shown_at_once = min(products, len(shelf))
    student = kind(folder)
    columns, lifts = 2 * WIDTH + student.COLUMNS, min(student.LIFTS, shown_at_once)
    least = columns * edge.NUMBER[form] + lifts * edge.LIFT[form]
    _must_fit(shown_at_once, shown_at_once * least)
    try:
        found = taught(folder, products, WIDTH, plan, progress)
    except Unfit as why:
        raise BadInput(
            f"version {version!r}", f"teaches no student: {why}", "export one that knows more users"
        ) from None
    listed = {
        "version": version,
        "reads": found.student.INPUTS[1],
        "last": found.held.items.shape[1],
        "products": [{"id": shelf.id(int(i)), "title": shelf.title(int(i))} for i in found.shelf],
    }
    with folder_beside(into) as scratch:
        written = edge.write(found.student, form, scratch, found.held, found_tool)
        (scratch / "shelf.json").write_bytes(msgspec.json.encode(listed))
        size = written.bytes + (scratch / "shelf.json").stat().st_size
        _must_fit(len(found.shelf), size)
        if form == "onnx":
            shutil.copytree(_PAGE, scratch, dirs_exist_ok=True)
    return Exported(str(into), form, len(found.shelf), size, found.agreement, found.popular, written.error)


def _must_fit(products: int, size: int) -> None:
    if size > BUDGET:
        rule = f"take {size / 1e6:.1f} MB, {BUDGET / 1e6:g} MB at most"
        raise BadInput(f"{products:,} products", rule, f"ask for {int(products * BUDGET / size):,} or fewer")
