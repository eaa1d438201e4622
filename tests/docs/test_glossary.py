"""The glossary names the new spelling of every setting that has one."""

import re
from pathlib import Path

import pytest

from vetrina.core.settings import RENAMED

GLOSSARY = (Path(__file__).parents[2] / "docs/reference/glossary.md").read_text()


@pytest.mark.parametrize("table", RENAMED)
def test_every_renamed_setting_stands_in_the_glossary(table: str):
    rows = [line for line in GLOSSARY.splitlines() if f"`[{table}]" in line]
    renamed = {old: new for line in rows for old, new in re.findall(r"(\w+)` \| `(\w+)` \|$", line)}
    assert renamed == dict(RENAMED[table])
