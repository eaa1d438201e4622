"""Bundles: what a signature proves, and what a crash leaves behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vetrina import Shop
from vetrina.bundle.bundles import BundleStore
from vetrina.bundle.manifest import TrainingRecord
from vetrina.core.keys import BadSignature
from vetrina.operate.retention import clean_up

pytestmark = pytest.mark.security

DID_NOT_RAISE = pytest.fail.Exception


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def kill(monkeypatch) -> Callable[[Callable[[], object]], None]:
    """Does some work in a process that is killed as soon as it begins to remove a folder."""

    def removed(*_: object, **__: object) -> None:
        raise Killed

    def kill_within(work: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", removed)
            with pytest.raises(Killed):
                work()

    return kill_within


@pytest.fixture
def bundles(tmp_path, keys) -> BundleStore:
    """An empty folder of bundles."""
    return BundleStore(tmp_path / "bundles", keys)


def packed(bundles: BundleStore, folder: Path, content: str = "model") -> str:
    """The version of a bundle with one file of this content."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model").write_text(content)
    return bundles.pack(folder, "recommend", TrainingRecord()).version


# What a signature proves


@pytest.mark.xfail(
    strict=True, raises=DID_NOT_RAISE, reason="S42: a manifest is not compared with the version requested"
)
def test_an_older_bundle_under_a_newer_name_is_refused(bundles, tmp_path):
    """S42: a version is opened only if its signed manifest has the digest that its name says."""
    old = packed(bundles, tmp_path / "old", "old")
    new = packed(bundles, tmp_path / "new", "new")
    shutil.rmtree(bundles.folder / new)
    shutil.copytree(bundles.folder / old, bundles.folder / new)
    with pytest.raises(BadSignature):
        bundles.unpack(new, check_parts=True)


@pytest.mark.xfail(strict=True, raises=DID_NOT_RAISE, reason="S43: files that no manifest names pass the check")
def test_a_file_that_the_manifest_does_not_name_is_refused(bundles, tmp_path):
    """S43: the files of a bundle are those of its manifest, no fewer and no more."""
    version = packed(bundles, tmp_path / "source")
    unnamed = bundles.folder / version / "trees" / "search.onnx"
    unnamed.parent.mkdir()
    unnamed.write_bytes(b"a network of somebody else")
    with pytest.raises(BadSignature):
        bundles.unpack(version, check_parts=True)


# What a crash leaves behind


def test_a_version_half_removed_can_be_made_again(bundles, tmp_path, kill):
    """S32: a clean-up that is killed leaves nothing that keeps equal content from being packed again."""
    version = packed(bundles, tmp_path / "source")
    kill(lambda: bundles.collect_garbage(keep=set()))
    assert packed(bundles, tmp_path / "source") == version
    bundles.unpack(version, check_parts=True)


def test_a_snapshot_half_removed_can_be_made_again(tmp_path, kill):
    """S32: a clean-up that is killed leaves nothing that keeps an equal snapshot from being composed again."""
    shop = Shop(tmp_path / "shop")
    digests = []
    for name, content in (("a", "title,product_id\nchair,p1"), ("b", "title,product_id\ntable,p1")):
        file = tmp_path / f"{name}.csv"
        file.write_text(content)
        digests.append(shop.ingest(products=[file]).digest)
    kill(lambda: clean_up(shop.shop_context))
    again = tmp_path / "c.csv"
    again.write_text("product_id,title\np1,chair")
    assert shop.ingest(products=[again]).digest == digests[0]
    assert shop.ingest().digest == digests[0]


def test_a_part_that_a_power_cut_emptied_is_written_again(bundles, tmp_path):
    """S33: packing uses a part that is there already only if its bytes have the digest that its name says."""
    version = packed(bundles, tmp_path / "source")
    shutil.rmtree(bundles.folder / version)
    for part in (bundles.folder / "parts").iterdir():
        part.write_bytes(b"")
    assert packed(bundles, tmp_path / "source") == version
    bundles.unpack(version, check_parts=True)
