"""The shop's settings: wrong values and names of earlier versions are refused in one line that says what to write."""

import json
from pathlib import Path

import msgspec
import pytest

from vetrina.core.errors import BadInput
from vetrina.core.settings import RENAMED, ReleaseSettings, Settings, load, with_current_names


def _tables() -> list[tuple[str, str, str]]:
    return [(table, old, new) for table, names in RENAMED.items() for old, new in names.items()]


@pytest.mark.parametrize(("table", "old", "new"), _tables())
def test_an_old_name_is_refused_with_the_new_one(tmp_path: Path, table: str, old: str, new: str):
    file = tmp_path / "vetrina.toml"
    file.write_text(f"[{table}]\n{old} = 1\n")
    with pytest.raises(BadInput, match=rf"\[{table}\] {old}: has a new name; write {new} instead"):
        load(file)


@pytest.mark.parametrize(("table", "old", "new"), _tables())
def test_each_new_name_is_a_setting_and_no_old_one_is(table: str, old: str, new: str):
    settings = Settings()
    for part in table.split("."):
        settings = getattr(settings, part)
    assert hasattr(settings, new)
    assert not hasattr(settings, old)


def test_release_settings_that_an_earlier_version_stored_are_read():
    stored = {"primary": "revenue", "screen": 0.1, "least_units": 300, "alpha": 0.1}
    settings = msgspec.convert(with_current_names("release", json.loads(json.dumps(stored))), ReleaseSettings)
    assert settings == ReleaseSettings(
        primary_metric="revenue", interleaving_share=0.1, min_units_per_arm=300, alpha=0.1
    )


@pytest.mark.parametrize("text", ["ingest = 5\n", "transfer = [1]\n", "[transfer]\ntext = 'x'\n"])
def test_a_value_in_place_of_a_table_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "vetrina.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match="Expected `object`"):
        load(file)


@pytest.mark.parametrize("host", ["", "http://images.shop", "images.shop:8080", "images.shop/a", "user@images.shop"])
def test_a_host_of_images_is_a_name_alone(tmp_path: Path, host: str):
    file = tmp_path / "vetrina.toml"
    file.write_text(f'[ingest]\nimage_hosts = ["images.shop.internal", "10.0.0.7", "fd00::7", "{host}"]\n')
    with pytest.raises(BadInput, match=r"ingest.image_hosts\[3\]|\$\.ingest\.image_hosts"):
        load(file)
