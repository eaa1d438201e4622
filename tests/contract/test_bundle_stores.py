"""What every place for bundles keeps: the disk alone, a folder by URL, S3 over HTTP."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import servers
from fsspec.core import url_to_fs

from vetrina.bundle.bundles import BundleStore
from vetrina.bundle.manifest import TrainingRecord
from vetrina.bundle.object_storage import MANIFEST, ObjectStorage
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.keys import BadSignature, load_or_create


@dataclass
class Place:
    """A shop's bundles, and those of a second machine of the same shop."""

    here: BundleStore
    url: str
    root: Path

    def elsewhere(self) -> BundleStore:
        """Another machine: an empty disk, the same keys, the same object storage."""
        remote = ObjectStorage(self.url) if self.url else None
        return BundleStore(self.root / uuid.uuid4().hex, self.here.keys, remote)


@pytest.fixture(scope="session")
def s3_service() -> Iterator[str]:
    """One for the whole run."""
    with servers.s3() as address:
        yield address


@pytest.fixture(params=["disk", "folder", "s3"])
def place(request, tmp_path, monkeypatch) -> Place:
    """Empty."""
    url = ""
    if request.param == "folder":
        url = f"file://{tmp_path / 'far' / 'shop'}"
    if request.param == "s3":
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": request.getfixturevalue("s3_service"),
        }.items():
            monkeypatch.setenv(name, value)
        url = f"s3://bucket-{uuid.uuid4().hex[:12]}/shop"
    keys = load_or_create(tmp_path / "keys")
    return Place(BundleStore(tmp_path / "bundles", keys, ObjectStorage(url) if url else None), url, tmp_path)


def content(folder: Path, **files: str) -> Path:
    """A folder to pack."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_what_is_packed_is_what_is_unpacked_here_and_elsewhere(place, tmp_path):
    source = content(tmp_path / "a", model="weights", shelf="ids")
    bundle = place.here.pack(source, "search", TrainingRecord(snapshot="1"))
    assert place.here.pack(source, "search", TrainingRecord(snapshot="1")) == bundle
    for bundles in (place.here, place.elsewhere()) if place.url else (place.here,):
        opened, folder = bundles.unpack(bundle.version, check_parts=True)
        assert opened == bundle
        assert (folder / "model").read_text() == "weights"
        assert bundles.unpack(bundle.version)[1] == folder
    with pytest.raises(NotFound):
        place.here.unpack("search-nothing")


def test_equal_parts_are_kept_once(place, tmp_path):
    place.here.pack(content(tmp_path / "a", one="same", two="same"), "search", TrainingRecord())
    place.here.pack(content(tmp_path / "b", one="same", other="more"), "search", TrainingRecord())
    assert len(list((place.here.folder / "parts").iterdir())) == 2
    if place.url:
        fs, root = url_to_fs(place.url)
        assert len(fs.ls(f"{root}/parts")) == 2


def test_changed_bytes_are_noticed_wherever_they_lie(place, tmp_path):
    bundle = place.here.pack(content(tmp_path / "a", model="weights"), "search", TrainingRecord())
    digest = bundle.parts["model"]
    if place.url:
        fs, root = url_to_fs(place.url)
        fs.pipe_file(f"{root}/parts/{digest}", b"other")
        other = place.elsewhere()
        with pytest.raises(BadSignature):
            other.unpack(bundle.version)
        assert not (other.folder / bundle.version).exists(), "nothing is left half fetched"
        assert not list((other.folder / "parts").iterdir())
    (place.here.folder / bundle.version / "model").write_text("changed")
    with pytest.raises(BadSignature):
        place.here.unpack(bundle.version, check_parts=True)


def test_collecting_spares_what_is_kept(place, tmp_path, monkeypatch):
    old = place.here.pack(content(tmp_path / "a", shared="same", own="old"), "search", TrainingRecord())
    new = place.here.pack(content(tmp_path / "b", shared="same", own="new"), "search", TrainingRecord())
    monkeypatch.setattr("vetrina.bundle.object_storage._GRACE_PERIOD", timedelta(hours=-1))
    place.here.collect_garbage({new.version})
    assert place.here.unpack(new.version, check_parts=True)[0] == new
    with pytest.raises(NotFound):
        place.here.unpack(old.version)
    if place.url:
        with pytest.raises(NotFound):
            place.elsewhere().unpack(old.version)
        assert place.elsewhere().unpack(new.version, check_parts=True)[0] == new


def test_a_version_that_another_machine_has_just_packed_is_spared(place, tmp_path):
    """S38: its machine records it in a moment; until then nobody here can know it."""
    if not place.url:
        pytest.skip("the disk alone has no other machines")
    kept_bundle = place.here.pack(content(tmp_path / "a", own="kept"), "search", TrainingRecord())
    packed = place.elsewhere().pack(content(tmp_path / "b", own="packed"), "search", TrainingRecord())
    place.here.collect_garbage({kept_bundle.version})
    assert place.elsewhere().unpack(packed.version, check_parts=True)[0] == packed


def test_parts_whose_day_is_over_go_from_object_storage_too(place, tmp_path, monkeypatch):
    if not place.url:
        pytest.skip("the disk alone has no other machines to wait for")
    old = place.here.pack(content(tmp_path / "a", own="old"), "search", TrainingRecord())
    new = place.here.pack(content(tmp_path / "b", own="new"), "search", TrainingRecord())
    monkeypatch.setattr("vetrina.bundle.object_storage._GRACE_PERIOD", timedelta(hours=-1))
    assert place.here.collect_garbage({new.version}) == 2 * len("old"), "three bytes here, three there"
    fs, root = url_to_fs(place.url, use_listings_cache=False)
    assert not fs.exists(f"{root}/parts/{old.parts['own']}")
    assert fs.exists(f"{root}/parts/{new.parts['own']}")


def test_what_another_machine_sent_meanwhile_is_seen_and_spared(place, tmp_path, monkeypatch):
    if not place.url:
        pytest.skip("the disk alone has no other machines")
    monkeypatch.setattr("vetrina.bundle.object_storage._GRACE_PERIOD", timedelta(hours=-1))
    first = place.here.pack(content(tmp_path / "a", own="first"), "search", TrainingRecord())
    place.here.collect_garbage({first.version})
    other = place.elsewhere()
    second = other.pack(content(tmp_path / "b", own="second"), "search", TrainingRecord())
    place.here.collect_garbage({first.version, second.version})
    assert place.elsewhere().unpack(second.version, check_parts=True)[0] == second


def test_a_part_cut_off_on_its_way_is_sent_again(place, tmp_path):
    if not place.url:
        pytest.skip("nothing is sent")
    fs, root = url_to_fs(place.url, use_listings_cache=False)
    source = content(tmp_path / "a", model="weights")
    digest = sha256(b"weights").hexdigest()
    fs.makedirs(f"{root}/parts", exist_ok=True)
    fs.pipe_file(f"{root}/parts/{digest}", b"wei")
    bundle = place.here.pack(source, "search", TrainingRecord())
    assert place.elsewhere().unpack(bundle.version, check_parts=True)[0] == bundle


def test_an_upload_that_was_cut_off_is_no_version_and_goes_on(place, tmp_path, monkeypatch):
    if not place.url:
        pytest.skip("nothing is sent")
    source = content(tmp_path / "a", one="1", two="2")
    sent = ObjectStorage._upload

    def cut(self, file, name):
        if name.endswith(MANIFEST):
            raise KeyboardInterrupt
        sent(self, file, name)

    monkeypatch.setattr(ObjectStorage, "_upload", cut)
    with pytest.raises(KeyboardInterrupt):
        place.here.pack(source, "search", TrainingRecord())
    monkeypatch.setattr(ObjectStorage, "_upload", sent)
    version = next(p.name for p in place.here.folder.iterdir() if p.name != "parts")
    with pytest.raises(NotFound):
        place.elsewhere().unpack(version)
    place.here.pack(source, "search", TrainingRecord())
    assert place.elsewhere().unpack(version, check_parts=True)[1].exists()


def test_a_wrong_address_gets_one_line(tmp_path):
    keys = load_or_create(tmp_path / "keys")
    source = content(tmp_path / "a", one="1")
    with pytest.raises(BadInput, match="fsspec URL"):
        BundleStore(tmp_path / "b", keys, ObjectStorage("nowhere://x")).pack(source, "search", TrainingRecord())
