"""Picture of the import graph: a row for each layer of the contract, a box for each package, arrows to what it imports.

``.venv/bin/python docs/diagrams/import_graph.py`` writes ``import_graph.svg``; a test says when the picture is no longer that of
the code. Only those imports are drawn that no chain of others implies (transitive reduction), and arrows to one package join on
the way. The rows come from ``pyproject.toml``: a package has its place once the contract knows it.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).with_suffix(".svg")
REDRAW = ".venv/bin/python docs/diagrams/import_graph.py"
STAGES = ("ingest", "validate", "train", "compress", "gate", "release", "serve", "monitor", "retrain")

# In the units of the picture.
WIDTH = 1100
MARGIN = 16
BOX_HEIGHT = 40
MIN_ROW_GAP = 30
HEIGHT_PER_ARROW = 1.8  # of the gap between two rows, for each arrow in it
LETTER_WIDTH = 8
MIN_BOX_WIDTH = 92
GAP = 14  # between boxes of a row
LINE_WIDTH = 8  # room for an arrow that passes a row

N_ORDER_SWEEPS = 60
N_POSITION_SWEEPS = 300
STRAIGHTNESS = 30.0  # weight of a segment between two rows that an arrow only passes, over that of other segments
MAX_STALE_LINES = 0.25  # relative difference of a drawn count of lines
COUNT_LABEL = re.compile(r'<text class="lines" data-package="(\w+)"([^>]*)>([\d.]+)(k?) lines</text>')

STYLE = """
  .sheet { fill: #ffffff; }
  .box { fill: #f3f4f6; stroke: #8b95a3; }
  .stage { fill: #dbeafe; stroke: #3b74c9; }
  .name { fill: #111827; font-weight: 600; font-size: 14px; }
  .lines { fill: #4b5563; font-size: 11px; }
  .arrow { fill: none; stroke: #7a8594; stroke-width: 1.3; }
  .head { fill: #7a8594; }
  text { font-family: system-ui, sans-serif; text-anchor: middle; }
  @media (prefers-color-scheme: dark) {
    .sheet { fill: #0d1117; }
    .box { fill: #1d242d; stroke: #6b7785; }
    .stage { fill: #14304f; stroke: #5b9be6; }
    .name { fill: #f0f3f6; }
    .lines { fill: #aab4c0; }
    .arrow { stroke: #8793a1; }
    .head { fill: #8793a1; }
  }
"""

Import = tuple[str, str]  # importing package, imported package


@dataclass(frozen=True)
class Slot:
    """A place in a row: the box of a package, or an arrow that passes the row on its way to a package."""

    package: str
    row: int
    is_box: bool

    @property
    def width(self) -> int:
        """Width in the picture."""
        if not self.is_box:
            return LINE_WIDTH
        return max(MIN_BOX_WIDTH, LETTER_WIDTH * len(self.package) + 2 * GAP)


Segment = tuple[Slot, Slot]  # a piece of an arrow, between two rows


def read_layers(pyproject: Path) -> list[list[str]]:
    """Packages by layer of the import contract, the highest layer first."""
    contracts = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [re.findall(r"vetrina\.(\w+)", layer) for layer in layers]


def package_imports() -> set[Import]:
    """Imports between packages of ``vetrina``; those within functions count, too."""
    graph = grimp.build_graph("vetrina", cache_dir=None)
    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if module.count(".") == 0 or imported.count(".") == 0:
                continue
            pair = (module.split(".")[1], imported.split(".")[1])
            if pair[0] != pair[1]:
                found.add(pair)
    return found


def transitive_reduction(imports: Iterable[Import]) -> list[Import]:
    """Imports without those that a chain of other imports implies, sorted."""
    kept = set(imports)
    for pair in sorted(kept):
        others = kept - {pair}
        if _is_reachable(pair[0], pair[1], others):
            kept = others
    return sorted(kept)


def _is_reachable(start: str, target: str, imports: set[Import]) -> bool:
    reached = {start}
    frontier = [start]
    while frontier:
        package = frontier.pop()
        for importer, imported in imports:
            if importer == package and imported not in reached:
                reached.add(imported)
                frontier.append(imported)
    return target in reached


def count_lines(package: str) -> int:
    """Lines of the Python files of a package."""
    folder = ROOT / "src" / "vetrina" / package
    return sum(len(file.read_text().splitlines()) for file in folder.rglob("*.py"))


def split_arrows(layers: list[list[str]], imports: list[Import]) -> tuple[list[list[Slot]], list[Segment]]:
    """Slots of each row and the segments between them. Arrows to one package share the slots that they pass."""
    row_of = {package: row for row, layer in enumerate(layers) for package in layer}
    rows = []
    for row, layer in enumerate(layers):
        rows.append([Slot(package, row, is_box=True) for package in layer])
    segments: set[Segment] = set()
    for importer, imported in imports:
        above = Slot(importer, row_of[importer], is_box=True)
        for row in range(row_of[importer] + 1, row_of[imported] + 1):
            below = Slot(imported, row, is_box=row == row_of[imported])
            if below not in rows[row]:
                rows[row].append(below)
            segments.add((above, below))
            above = below
    return rows, sorted(segments, key=lambda segment: (segment[0].row, segment[0].package, segment[1].package))


def order_slots(rows: list[list[Slot]], segments: list[Segment], imports: list[Import]) -> list[list[Slot]]:
    """Rows in an order with few crossings: the best of repeated sorting by the mean place of neighbours.

    Stages keep the order of the path, and a package stands beside the one of its row that imports it.
    """
    best = rows
    for sweep in range(N_ORDER_SWEEPS):
        is_downwards = sweep % 2 == 0
        place = {slot: index / len(row) for row in rows for index, slot in enumerate(row)}
        ordered = []
        for row in rows if is_downwards else reversed(rows):
            key = {slot: _mean_place(slot, segments, place, is_downwards) for slot in row}
            boxes = {slot.package: slot for slot in row if slot.is_box}
            for importer, imported in imports:
                if importer in boxes and imported in boxes:
                    key[boxes[imported]] = key[boxes[importer]] + 1e-6
            by_place = sorted(row, key=key.__getitem__)
            for index, slot in enumerate(by_place):
                place[slot] = index / len(row)
            ordered.append(by_place)
        rows = ordered if is_downwards else ordered[::-1]
        if sweep == 0 or count_crossings(rows, segments) < count_crossings(best, segments):
            best = rows
    return best


def _mean_place(slot: Slot, segments: list[Segment], place: dict[Slot, float], is_downwards: bool) -> float:
    """Mean place of the slot's neighbours above (on the way down) or below; its own where it has none."""
    if slot.is_box and slot.package in STAGES:
        return (STAGES.index(slot.package) + 0.5) / len(STAGES)
    if is_downwards:
        neighbours = [place[above] for above, below in segments if below == slot]
    else:
        neighbours = [place[below] for above, below in segments if above == slot]
    if not neighbours:
        return place[slot]
    return sum(neighbours) / len(neighbours)


def count_crossings(rows: list[list[Slot]], segments: list[Segment]) -> int:
    """Pairs of segments that cross."""
    place = {slot: index for row in rows for index, slot in enumerate(row)}
    crossings = 0
    for first in segments:
        for second in segments:
            is_same_gap = first[0].row == second[0].row
            if is_same_gap and place[first[0]] < place[second[0]] and place[first[1]] > place[second[1]]:
                crossings += 1
    return crossings


def horizontal_positions(rows: list[list[Slot]], segments: list[Segment]) -> dict[Slot, float]:
    """The centre of each slot: near those of its neighbours, in the order of the row, without overlap."""
    neighbours: dict[Slot, list[tuple[Slot, float]]] = {slot: [] for row in rows for slot in row}
    for above, below in segments:
        is_passing = not above.is_box and not below.is_box
        weight = STRAIGHTNESS if is_passing else 1.0
        neighbours[above].append((below, weight))
        neighbours[below].append((above, weight))
    centre: dict[Slot, float] = {}
    for row in rows:
        centre |= _spread(row, [WIDTH / 2] * len(row), [1.0] * len(row))
    for sweep in range(N_POSITION_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = []
            weights = []
            for slot in row:
                weight = sum(weight for _, weight in neighbours[slot])
                wanted.append(sum(centre[other] * weight for other, weight in neighbours[slot]) / weight)
                weights.append(weight)
            centre |= _spread(row, wanted, weights)
    return centre


def _spread(row: list[Slot], wanted: list[float], weights: list[float]) -> dict[Slot, float]:
    """Centres nearest to the wanted ones (weighted least squares) that keep order and gaps: isotonic regression."""
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + GAP)
    blocks: list[list[tuple[float, float]]] = []  # starts and weights of slots that move together
    for centre, offset, weight in zip(wanted, offsets, weights, strict=True):
        blocks.append([(centre - offset, weight)])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = blocks[-1] + last
    lowest = MARGIN + row[0].width / 2
    highest = WIDTH - MARGIN - row[-1].width / 2 - offsets[-1]
    starts = [min(max(_mean(block), lowest), highest) for block in blocks for _ in block]
    return {slot: start + offset for slot, start, offset in zip(row, starts, offsets, strict=True)}


def _mean(values: list[tuple[float, float]]) -> float:
    """Mean of values with weights."""
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def vertical_positions(rows: list[list[Slot]], segments: list[Segment]) -> list[int]:
    """The upper edge of each row; the more arrows leave a row, the wider is the gap below it."""
    tops = [MARGIN]
    for row in range(len(rows) - 1):
        n_arrows = sum(above.row == row for above, _ in segments)
        tops.append(round(tops[-1] + BOX_HEIGHT + MIN_ROW_GAP + HEIGHT_PER_ARROW * n_arrows))
    return tops


def draw() -> str:
    """The picture as SVG."""
    layers = read_layers(ROOT / "pyproject.toml")
    imports = transitive_reduction(package_imports())
    rows, segments = split_arrows(layers, imports)
    rows = order_slots(rows, segments, imports)
    centre = horizontal_positions(rows, segments)
    top = vertical_positions(rows, segments)
    height = top[-1] + BOX_HEIGHT + MARGIN
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>Packages of Vetrina and which of them import each other</title>",
        f"<style>{STYLE}</style>",
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 0 8 4 0 8z"/></marker>',
        f'<rect class="sheet" width="{WIDTH}" height="{height}"/>',
    ]
    for above, below in segments:
        start = (round(centre[above]), top[above.row] + BOX_HEIGHT)
        end = (round(centre[below]), top[below.row])
        parts.append(_arrow(start, end, below.is_box))
    boxes = {slot.package: slot for row in rows for slot in row if slot.is_box}
    for importer, imported in imports:
        if boxes[importer].row == boxes[imported].row:
            y = top[boxes[importer].row] + BOX_HEIGHT // 2
            parts.append(_arrow_beside(boxes[importer], boxes[imported], centre, y))
    for package in sorted(boxes):
        slot = boxes[package]
        parts.append(_box(slot, round(centre[slot]), top[slot.row]))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _arrow(start: tuple[int, int], end: tuple[int, int], is_at_box: bool) -> str:
    """A segment between two points (x, y): with a head where it ends at a box, else on through the row, straight down."""
    middle = (start[1] + end[1]) // 2
    path = f"M{start[0]} {start[1]}C{start[0]} {middle} {end[0]} {middle} {end[0]} {end[1]}"
    if is_at_box:
        return f'<path class="arrow" marker-end="url(#head)" d="{path}"/>'
    return f'<path class="arrow" d="{path}v{BOX_HEIGHT}"/>'


def _arrow_beside(importer: Slot, imported: Slot, centre: dict[Slot, float], y: int) -> str:
    """An arrow between neighbours of one row."""
    direction = 1 if centre[importer] < centre[imported] else -1
    start = round(centre[importer]) + direction * importer.width // 2
    end = round(centre[imported]) - direction * imported.width // 2
    return f'<path class="arrow" marker-end="url(#head)" d="M{start} {y}H{end}"/>'


def _box(slot: Slot, x: int, y: int) -> str:
    """The box of a package, centred at ``x``, with its upper edge at ``y``."""
    kind = "box stage" if slot.package in STAGES else "box"
    left = x - slot.width // 2
    return (
        f'<rect class="{kind}" x="{left}" y="{y}" width="{slot.width}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text class="name" x="{x}" y="{y + 18}">{slot.package}</text>'
        f'<text class="lines" data-package="{slot.package}" x="{x}" y="{y + 33}">{_count_label(slot.package)} lines</text>'
    )


def _count_label(package: str) -> str:
    n_lines = count_lines(package)
    if n_lines < 1000:
        return str(n_lines)
    return f"{n_lines / 1000:.1f}k"


def find_difference(picture: str, current: str) -> str:
    """What is wrong with a picture beside that of the code as it is, empty where nothing is.

    Counts of lines may be off by a quarter, arrows may not.
    """
    if COUNT_LABEL.sub("", picture) != COUNT_LABEL.sub("", current):
        return f"the import graph is no longer that of {PICTURE.name}; run `{REDRAW}`"
    for package, _, number, thousands in COUNT_LABEL.findall(picture):
        drawn = float(number) * (1000 if thousands else 1)
        counted = count_lines(package)
        if abs(drawn - counted) > MAX_STALE_LINES * counted:
            return f"{package} has {counted} lines, no longer {drawn:.0f}; run `{REDRAW}`"
    return ""


if __name__ == "__main__":
    PICTURE.write_text(draw())
    sys.stdout.write(f"{PICTURE} written\n")
