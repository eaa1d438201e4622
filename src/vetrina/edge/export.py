"""Export of a recommend version to devices: a distilled student with its item list.

It reads the bundle and the registry, no events, so it needs none of the libraries that read a shop's data. The ONNX format
comes with a page that runs the student in a browser.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.errors import BadInput, UnusableVariant
from vetrina.core.files import atomic_folder
from vetrina.core.progress import Progress
from vetrina.core.training_plan import TrainingPlan
from vetrina.edge import formats
from vetrina.edge.blend_student import distil_student, student_class
from vetrina.store.database import open_store
from vetrina.store.registry import Registry
from vetrina.store.shop_folder import ShopFolder

EMBEDDING_WIDTH = 64
MAX_EXPORT_BYTES = 2_000_000  # of the student and its item list
_PAGE_FOLDER = Path(__file__).parent / "page"


@dataclass(frozen=True)
class ExportResult:
    """An exported student.

    ``bytes`` counts model and item list together. ``agreement`` is the share of the version's first ten products that the
    student gives on held-out histories, ``popular`` that of the most popular products alone, ``error`` the difference of the
    file's scores from those of the network.
    """

    folder: str
    format: str
    products: int
    bytes: int
    agreement: float
    popular: float
    error: float


def export_student(
    shop_folder: ShopFolder,
    version: str,
    file_format: str,
    into: Path,
    max_products: int,
    progress: Progress,
    python: str = "",
) -> ExportResult:
    """Distil a student of a version and write it into a new folder.

    Args:
        shop_folder: The shop's folder.
        version: Version of recommend.
        file_format: One of ``formats.FORMAT_FILES``.
        into: Output folder; must not exist.
        max_products: Products that the student knows at most.
        progress: Reports the distillation.
        python: Python interpreter with the converter of the format, where it needs one.

    Raises:
        BadInput: Unknown format, existing folder, a version of another scenario or without a student, or too large a result.
        NotFound: Unknown version.
    """
    if file_format not in formats.FORMAT_FILES:
        raise BadInput(f"format {file_format!r}", "is unknown", f"use one of {', '.join(formats.FORMAT_FILES)}")
    if into.exists():
        raise BadInput(f"folder {str(into)!r}", "is there already", "name another one")
    scenario = _scenario_of(shop_folder, version)
    if scenario != "recommend":
        raise BadInput(f"version {version!r}", f"is of {scenario}", "name one of recommend")
    settings = shop_folder.settings.train
    plan = TrainingPlan(settings.seed, threads=settings.threads)
    _, folder = shop_folder.bundles.unpack(version)
    catalogue = CatalogueIndex(folder / "catalogue")
    tool = formats.find_tool(file_format, python)
    _check_least_size(folder, file_format, min(max_products, len(catalogue)))
    try:
        distilled = distil_student(folder, max_products, EMBEDDING_WIDTH, plan, progress)
    except UnusableVariant as error:
        rule = f"has no student: {error}"
        raise BadInput(f"version {version!r}", rule, "export one that knows more users") from None
    products = []
    for row in distilled.catalogue_rows:
        products.append({"id": catalogue.product_id(int(row)), "title": catalogue.title(int(row))})
    item_list = {
        "version": version,
        "reads": distilled.student.INPUTS[1],
        "last": distilled.held_out_requests.items.shape[1],
        "products": products,
    }
    with atomic_folder(into) as scratch:
        written = formats.write_student(distilled.student, file_format, scratch, distilled.held_out_requests, tool)
        item_list_file = scratch / "shelf.json"
        item_list_file.write_bytes(msgspec.json.encode(item_list))
        size = written.size_bytes + item_list_file.stat().st_size
        _check_export_size(len(products), size)
        if file_format == "onnx":
            shutil.copytree(_PAGE_FOLDER, scratch, dirs_exist_ok=True)
    return ExportResult(
        folder=str(into),
        format=file_format,
        products=len(products),
        bytes=size,
        agreement=distilled.agreement,
        popular=distilled.popular_agreement,
        error=written.error,
    )


def _scenario_of(shop_folder: ShopFolder, version: str) -> str:
    """The scenario of a version. Raises NotFound."""
    engine = open_store(shop_folder.store_url, shop_folder.keys)
    try:
        return Registry(engine, shop_folder.keys).get_version(version).scenario
    finally:
        engine.dispose()


def _check_least_size(folder: Path, file_format: str, n_products: int) -> None:
    """Raise BadInput where the products alone take too many bytes, before a student is distilled for minutes."""
    student = student_class(folder)
    columns = 2 * EMBEDDING_WIDTH + student.EXTRA_COLUMNS
    boosts = min(student.BOOSTED_NEIGHBOURS, n_products)
    bytes_per_product = columns * formats.BYTES_PER_WEIGHT[file_format] + boosts * formats.BYTES_PER_BOOST[file_format]
    _check_export_size(n_products, n_products * bytes_per_product)


def _check_export_size(n_products: int, size: float) -> None:
    if size > MAX_EXPORT_BYTES:
        rule = f"take {size / 1e6:.1f} MB, {MAX_EXPORT_BYTES / 1e6:g} MB at most"
        largest = int(n_products * MAX_EXPORT_BYTES / size)
        raise BadInput(f"{n_products:,} products", rule, f"ask for {largest:,} or fewer")
