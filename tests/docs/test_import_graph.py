"""The picture of the import graph: that of the code, and only arrows that others do not imply."""

from docs.diagrams import import_graph


def test_the_picture_is_that_of_the_code():
    current = import_graph.draw()
    picture = import_graph.PICTURE.read_text()
    assert import_graph.find_difference(picture, current) == ""
    without_an_arrow = "\n".join(line for line in picture.splitlines() if "H" not in line)
    other_package = picture.replace(">core</text>", ">kernel</text>")
    other_counts = picture.replace("k lines", " lines")
    for stale in (without_an_arrow, other_package, other_counts):
        assert import_graph.REDRAW in import_graph.find_difference(stale, current)


def test_an_arrow_that_others_imply_is_not_drawn():
    imports = {("cli", "serve"), ("serve", "core"), ("cli", "core"), ("store", "core")}
    assert import_graph.transitive_reduction(imports) == [("cli", "serve"), ("serve", "core"), ("store", "core")]
