"""A version for devices: a student of what it recommends, taught here, with its shelf and a page that re-ranks in the browser."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vetrina.core.errors import BadInput, UnusableVariant
from vetrina.core.files import atomic_folder
from vetrina.core.types import TrainingPlan
from vetrina.pipeline.api import Shop
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.scenarios.recommend.blend_student import distil_student, student_class
from vetrina.targets import edge

EMBEDDING_WIDTH = 64
MAX_EXPORT_BYTES = 2_000_000
_PAGE_FOLDER = Path(edge.__file__).parent / "page"


@dataclass(frozen=True)
class ExportResult:
    """What was written: ``bytes`` of model and shelf together, ``agreement`` with the version's first ten on held-out
    histories (``popular``: what sells most alone), ``error`` of the file against the network."""

    folder: str
    format: str
    products: int
    bytes: int
    agreement: float
    popular: float
    error: float


def export_student(
    shop: Shop, version: str, file_format: str, into: Path, max_products: int, python: str = ""
) -> ExportResult:
    """Writes a folder that is not there yet. Raises BadInput, NotFound for an unknown version."""
    if file_format not in edge.FORMAT_FILES:
        raise BadInput(f"format {file_format!r}", "is unknown", f"use one of {', '.join(edge.FORMAT_FILES)}")
    if into.exists():
        raise BadInput(f"folder {str(into)!r}", "is there already", "name another one")
    shown = shop.shop_context.registry.get_version(version)
    if shown["scenario"] != "recommend":
        raise BadInput(f"version {version!r}", f"is of {shown['scenario']}", "name one of recommend")
    settings = shop.shop_context.folder.settings.train
    progress = shop.shop_context.progress
    plan = TrainingPlan(settings.seed, threads=settings.threads)
    folder = shop.shop_context.version_folder(version)
    shelf = CatalogueIndex(folder / "shelf")
    found_tool = edge.find_tool(file_format, python)
    # Bytes of a product, before anything is taught for minutes.
    shown_at_once = min(max_products, len(shelf))
    student = student_class(folder)
    columns = 2 * EMBEDDING_WIDTH + student.EXTRA_COLUMNS
    lifts = min(student.BOOSTED_NEIGHBOURS, shown_at_once)
    least = columns * edge.BYTES_PER_WEIGHT[file_format] + lifts * edge.BYTES_PER_BOOST[file_format]
    _check_export_size(shown_at_once, shown_at_once * least)
    try:
        found = distil_student(folder, max_products, EMBEDDING_WIDTH, plan, progress)
    except UnusableVariant as why:
        raise BadInput(
            f"version {version!r}", f"teaches no student: {why}", "export one that knows more users"
        ) from None
    listed = {
        "version": version,
        "reads": found.student.INPUTS[1],
        "last": found.held_out_requests.items.shape[1],
        "products": [{"id": shelf.product_id(int(i)), "title": shelf.title(int(i))} for i in found.catalogue_rows],
    }
    with atomic_folder(into) as scratch:
        written = edge.write_student(found.student, file_format, scratch, found.held_out_requests, found_tool)
        (scratch / "shelf.json").write_bytes(msgspec.json.encode(listed))
        size = written.size_bytes + (scratch / "shelf.json").stat().st_size
        _check_export_size(len(found.catalogue_rows), size)
        if file_format == "onnx":
            shutil.copytree(_PAGE_FOLDER, scratch, dirs_exist_ok=True)
    return ExportResult(
        str(into), file_format, len(found.catalogue_rows), size, found.agreement, found.popular_agreement, written.error
    )


def _check_export_size(products: int, size: int) -> None:
    if size > MAX_EXPORT_BYTES:
        rule = f"take {size / 1e6:.1f} MB, {MAX_EXPORT_BYTES / 1e6:g} MB at most"
        raise BadInput(f"{products:,} products", rule, f"ask for {int(products * MAX_EXPORT_BYTES / size):,} or fewer")
