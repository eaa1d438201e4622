"""`vetrina backup` and `vetrina restore`: what comes back, what is refused, and that nothing half-done is left."""

import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, select

from vetrina import Shop
from vetrina.cli.errors import error_line_and_status
from vetrina.cli.main import cli
from vetrina.core.errors import BadInput
from vetrina.core.files import exclusive_lock, waiting_lock
from vetrina.core.keys import load_or_create
from vetrina.core.rollout_types import Rollout
from vetrina.operate import backup as backup_module
from vetrina.operate import daily_backup as daily_backup_module
from vetrina.operate import restore as restore_module
from vetrina.operate.age import load_identities, new_key_pair
from vetrina.operate.backup import back_up_keys, back_up_shop
from vetrina.operate.backup_file import BackupHeader, read_backup_file, write_backup_file
from vetrina.operate.backup_names import list_backups
from vetrina.operate.daily_backup import DailyBackup
from vetrina.operate.restore import RestoreTarget, read_backup, restore_shop, with_setting
from vetrina.store.database import read
from vetrina.store.shop_folder import ShopFolder
from vetrina.store.tables import alerts, events, rollouts

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class BackedUp:
    """A shop with its backups and the private key."""

    shop: ShopFolder
    file: Path
    keys_file: Path
    identity_file: Path
    recipient: str

    @property
    def identities(self) -> list[str]:
        """The private keys."""
        return load_identities(self.identity_file)


def vetrina(*words: str) -> "subprocess.CompletedProcess[str]":
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "vetrina.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a command that refuses its input."""
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return line


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> BackedUp:
    """The small shop of 0.1.0 with its backups, made by the commands; only ever read."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(FIXTURES / "shop-0.1.0.tar.gz") as file:
        file.extractall(folder, filter="data")
    key = vetrina("--json", "backup-key", str(folder / "identity"))
    recipient = msgspec.json.decode(key.stdout)["recipient"]
    files = (str(folder / "backup.age"), "--keys-to", str(folder / "keys.age"))
    done = vetrina("--shop-dir", str(folder / "shop"), "backup", *files, "--recipient", recipient)
    assert done.returncode == 0, done.stderr
    shop = ShopFolder(folder / "shop")
    return BackedUp(shop, folder / "backup.age", folder / "keys.age", folder / "identity", recipient)


def restored(backed_up: BackedUp, into: Path, file: Path | None = None, **target: str) -> None:
    """Restore a backup."""
    where = RestoreTarget(into, **target)
    restore_shop(file or backed_up.file, backed_up.identities, backed_up.keys_file, where)


def test_a_restored_shop_gives_the_same_answers_and_has_the_same_events(pristine, tmp_path):
    folder = shutil.copytree(pristine[0], tmp_path / "shop")
    (folder / "vetrina.toml").write_text("# kept\n[serve]\nport = 1234\n")
    (folder / "products.csv").write_text("a file of the shop's own, with plain ids")
    shop = Shop(folder)
    body = '{"product_id":"p003","type":"view"}'
    event = {"event_id": "e1", "user": shop.folder.keys.pseudonymise("u007"), "time": time.time(), "body": body}
    with shop.shop_context.engine.begin() as connection:
        connection.execute(insert(events).values(**event, arrived=time.time(), source="server"))
    before = answers(shop)
    stored_events = logged(shop)
    shop.shop_context.engine.dispose()
    identity, recipient = new_key_pair()
    (tmp_path / "identity").write_text(identity)
    file = Path(back_up_shop(shop.folder, tmp_path, recipient).file)
    keys_file = Path(back_up_keys(shop.folder, tmp_path / "keys.age", recipient).file)

    done = vetrina("restore", str(file), "--identity", str(tmp_path / "identity"), "--keys", str(keys_file),
                   "--into", str(tmp_path / "restored"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "erased" in done.stdout
    for path in (tmp_path / "restored").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    again = Shop(tmp_path / "restored")
    assert again.folder.settings.serve.port == 1234
    assert answers(again) == before
    assert logged(again) == stored_events != []
    assert again.ingest().digest == shop.ingest().digest, "the lake goes on where it was"
    again.shop_context.engine.dispose()
    shop.shop_context.engine.dispose()
    assert not (tmp_path / "restored" / "products.csv").exists()


def logged(shop: Shop) -> list[tuple[object, ...]]:
    """The log of events."""
    with read(shop.shop_context.engine) as connection:
        return [tuple(row) for row in connection.execute(select(events).order_by(events.c.seq))]


def answers(shop: Shop) -> list[list[tuple[str, float]]]:
    """What the shop recommends and finds."""
    found = [shop.recommend(user, limit=5) for user in ("u001", "u010", "somebody")]
    found += [shop.search(query, limit=5) for query in ("red shoes", "lamp", "number 7")]
    return [[(item.product_id, item.score) for item in answer.items] for answer in found]


def test_a_backup_holds_neither_the_keys_nor_what_nobody_needs(old):
    with read_backup_file(old.file, old.identities) as reader:
        names = [entry.name for entry in reader.entries()]
    assert not [name for name in names if name.startswith(("keys", "work", "store.db")) or ".lock" in name]
    assert {name.split("/")[0] for name in names} == {"store", "lake", "snapshots", "bundles"}
    secrets = [file.read_bytes() for file in (old.shop.root / "keys").iterdir() if not file.name.startswith(".")]
    with read_backup_file(old.file, old.identities) as reader:
        for entry in reader.entries():
            content = entry.content.read()
            assert not [secret for secret in secrets if secret in content], entry.name


def test_the_dry_run_reads_everything_and_writes_nothing(old):
    options = ("--identity", str(old.identity_file), "--keys", str(old.keys_file), "--dry-run")
    done = vetrina("--json", "restore", str(old.file), *options)
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(done.stdout)
    assert report["is_signature_verified"]
    assert report["entries"] > 50
    assert not read_backup(old.file, old.identities).is_signature_verified


def test_age_itself_opens_a_backup(old, tmp_path):
    age = shutil.which("age")
    if age is None:
        pytest.skip("age is not installed: apt-get install age")
    opened = tmp_path / "backup.tar.zst"
    subprocess.run([age, "-d", "-i", old.identity_file, "-o", opened, old.file], check=True)
    with read_backup_file(opened, []) as reader:
        assert len(list(reader.entries())) > 50


def cut_off(content: bytes) -> bytes:
    """Without its end."""
    return content[:-100]


def changed(content: bytes) -> bytes:
    """With one byte in the middle changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def cut_at_a_chunk(content: bytes) -> bytes:
    """Without its last chunk of 64 KiB, so that each chunk that is left is whole."""
    return content[: len(content) - 66_000]


def of_another_kind(content: bytes) -> bytes:
    """No backup at all."""
    return b"%PDF-1.7" + content


@pytest.mark.parametrize("damage", [cut_off, changed, cut_at_a_chunk, of_another_kind])
def test_a_damaged_backup_is_refused_and_nothing_is_changed(old, tmp_path, damage):
    file = tmp_path / "damaged.age"
    file.write_bytes(damage(old.file.read_bytes()))
    (tmp_path / "into").mkdir()
    with pytest.raises(BadInput, match=r"cut off, or was changed|is no backup"):
        restored(old, tmp_path / "into", file)
    assert list((tmp_path / "into").iterdir()) == []
    with pytest.raises(BadInput, match=r"cut off, or was changed|is no backup"):
        read_backup(file, old.identities)


def written(folder: Path, header: BackupHeader, content: bytes, sign) -> Path:
    """A backup made by hand, not encrypted, with one file in it."""
    file = folder / "made.tar.zst"
    file.touch()
    with write_backup_file(file, []) as writer:
        writer.add_bytes("header.json", msgspec.json.encode(header))
        writer.add_bytes("store/layouts.json", b"[]")
        writer.add_bytes("lake/parts.json", content)
        writer.finish(sign)
    return file


def test_a_backup_of_a_later_version_or_another_shop_is_refused(old, tmp_path):
    keys = old.shop.keys
    now = BackupHeader(1, "shop", "9.9", 4, 0.0, keys.fingerprint)
    cases = {
        "format 99": msgspec.structs.replace(now, format=99),
        "later Vetrina": msgspec.structs.replace(now, schema=99),
        "other keys": msgspec.structs.replace(now, keys="0" * 64),
        "backup of keys alone": msgspec.structs.replace(now, kind="keys"),
    }
    for rule, header in cases.items():
        with pytest.raises(BadInput, match=rule):
            restored(old, tmp_path / "into", written(tmp_path, header, b"[]", keys.sign))
    # Whoever knows the public key can encrypt, but not sign.
    stranger = load_or_create(tmp_path / "stranger")
    with pytest.raises(BadInput, match="not signed with these keys"):
        restored(old, tmp_path / "into", written(tmp_path, now, b"[]", stranger.sign))
    assert not (tmp_path / "into").exists()


def test_what_a_backup_says_is_not_followed_before_its_signature_is_verified(old, tmp_path):
    """Whoever can write a backup could name a file of this machine, or a database of his own, as the store."""
    victim = tmp_path / "victim"
    victim.write_text("not a store")
    victim.chmod(0o644)
    made = tmp_path / "made.tar.zst"
    made.touch()
    header = BackupHeader(1, "shop", "9.9", 4, 0.0, old.shop.keys.fingerprint)
    with write_backup_file(made, []) as writer:
        writer.add_bytes("header.json", msgspec.json.encode(header))
        writer.add_bytes("vetrina.toml", f'[store]\nurl = "sqlite:///{victim}"\n'.encode())
        writer.add_bytes("store/layouts.json", b"[]")
        writer.finish(load_or_create(tmp_path / "stranger").sign)
    with pytest.raises(BadInput, match="not signed with these keys"):
        restored(old, tmp_path / "into", made)
    assert (stat.S_IMODE(victim.stat().st_mode), victim.read_text()) == (0o644, "not a store")


def test_a_header_that_fills_the_memory_is_refused(old, tmp_path):
    header = BackupHeader(1, "shop", "9" * 100_000, 4, 0.0, old.shop.keys.fingerprint)
    with pytest.raises(BadInput, match="was changed"):
        read_backup(written(tmp_path, header, b"[]", old.shop.keys.sign), [])


def test_a_restore_that_waited_for_another_one_leaves_its_shop_alone(old, tmp_path, monkeypatch):
    @contextmanager
    def lock_after_another_restore(staging: Path) -> Iterator[None]:
        (staging.parent / "keys").mkdir()
        with exclusive_lock(staging):
            yield

    monkeypatch.setattr(restore_module, "exclusive_lock", lock_after_another_restore)
    with pytest.raises(BadInput, match="is not empty"):
        restored(old, tmp_path / "into")
    assert (tmp_path / "into" / "keys").exists()


def test_sigterm_ends_a_backup_like_ctrl_c(old, tmp_path):
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(old.shop.root), "backup", str(tmp_path),
               "--recipient", old.recipient]  # fmt: skip
    lock = old.shop.work / "backup" / ".lock"
    lock.unlink(missing_ok=True)
    with waiting_lock(old.shop.lake), subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not lock.exists():  # it waits for the lake
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_or_wrong_on_the_command_line_is_one_line(old, tmp_path):
    other_identity, _ = new_key_pair()
    (tmp_path / "other").write_text(other_identity)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    into = ("--into", str(tmp_path / "into"))
    opened = ("restore", str(old.file), "--identity", str(old.identity_file))
    keys = ("--keys", str(old.keys_file))
    shop = ("--shop-dir", str(old.shop.root), "backup")
    recipient = ("--recipient", old.recipient)
    cases = {
        (*shop, str(tmp_path)): "has no key to encrypt to; vetrina backup-key",
        (*shop, *recipient): "has no place to write to",
        (*shop, str(old.file), *recipient): "exists already",
        (*shop, str(tmp_path), "--recipient", "age1abc"): "is no public key of age",
        (*shop, str(tmp_path / "not-there" / "file"), *recipient): "is no folder",
        ("--shop-dir", str(tmp_path / "empty"), "backup", str(tmp_path), *recipient): "does not exist",
        ("backup-key", str(old.identity_file)): "exists already",
        ("restore", str(old.file), *keys, *into): "is encrypted; name the file of its private key",
        (
            "restore",
            str(old.file),
            "--identity",
            str(tmp_path / "other"),
            *keys,
            *into,
        ): "not encrypted to this private key",
        ("restore", str(old.file), "--identity", str(old.file), *keys, *into): "holds no private key of age",
        ("restore", str(tmp_path / "not-there"), *keys, *into): "is no file",
        (*opened, *into): "needs the shop's keys",
        (*opened, *keys): "has no folder to restore into",
        (*opened, *keys, "--into", str(tmp_path / "used")): "is not empty",
        (*opened, "--keys", str(old.file), *into): "is no backup of keys",
    }
    for words, rule in cases.items():
        with pytest.raises(BadInput) as caught:
            cli.main([*words], standalone_mode=False)
        line, status = error_line_and_status(caught.value)
        assert (rule in line, status) == (True, 2), words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "used"]


def test_a_full_disk_leaves_nothing(old, tmp_path):
    """A limit on the size of files ends the write like a full disk does."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
    code = limit + "from vetrina.cli.main import main; main()"
    (tmp_path / "target").mkdir()
    backup = ("--shop-dir", str(old.shop.root), "backup", str(tmp_path / "target"), "--recipient", old.recipient)
    restore = ("restore", str(old.file), "--identity", str(old.identity_file), "--keys", str(old.keys_file),
               "--into", str(tmp_path / "into"))  # fmt: skip
    for words in (backup, restore):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert "free space or rights there" in refused(done)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert list((tmp_path / "target").iterdir()) == []


def test_what_cannot_be_read_back_is_no_backup(old, tmp_path, monkeypatch):
    """The disk changes a byte after it was written."""
    fsync = backup_module.fsync

    def fsync_and_change(path: Path) -> None:
        fsync(path)
        if path.is_file():
            path.write_bytes(changed(path.read_bytes()))

    monkeypatch.setattr(backup_module, "fsync", fsync_and_change)
    with pytest.raises(BadInput, match="was changed after it was written"):
        back_up_shop(old.shop, tmp_path, old.recipient)
    assert list(tmp_path.iterdir()) == []


def test_the_next_backup_and_the_next_restore_remove_what_killed_ones_left(old, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / ".shop.tar.zst.age.1.vetrina-partial").write_text("half a backup")
    pinned = old.shop.work / "backup" / "files" / "lake" / "gone"
    pinned.parent.mkdir(parents=True)
    pinned.touch()
    back_up_shop(old.shop, target, old.recipient)
    (file,) = target.iterdir()
    with read_backup_file(file, old.identities) as reader:
        assert "lake/gone" not in {entry.name for entry in reader.entries()}

    into = tmp_path / "into"
    (into / ".restoring" / "shop" / "lake").mkdir(parents=True)
    (into / ".restoring" / ".lock").touch()
    (into / "bundles" / "parts").mkdir(parents=True)
    assert "keys" in refused(vetrina("--shop-dir", str(into), "versions")), "half a restore opens nothing"
    assert {path.name for path in into.iterdir()} == {".restoring", "bundles"}
    restored(old, into)
    assert ".restoring" not in {path.name for path in into.iterdir()}
    assert ShopFolder(into).keys == old.shop.keys


def test_two_at_a_time_are_refused(old, tmp_path):
    with exclusive_lock(old.shop.work / "backup"), pytest.raises(BadInput, match="another vetrina process"):
        back_up_shop(old.shop, tmp_path, old.recipient)
    into = tmp_path / "into"
    with exclusive_lock(into / ".restoring"), pytest.raises(BadInput, match="another vetrina process"):
        restored(old, into)
    assert (into / ".restoring").exists(), "the one under way goes on"


def test_bundles_in_object_storage_are_in_the_backup_too(pristine, tmp_path):
    folder = shutil.copytree(pristine[0], tmp_path / "shop")
    (folder / "vetrina.toml").write_text(f'[store]\nbundles = "file://{tmp_path}/bucket"\n')
    shop = Shop(folder)
    registry = shop.shop_context.registry
    for version in registry.champions().values():
        for bundle in (version, registry.get_version(version).judged):
            parts = shop.folder.bundles.unpack(bundle)[0].parts
            shop.folder.bundles.remote.put(bundle, folder / "bundles" / bundle, parts)
    shop.shop_context.engine.dispose()
    shutil.rmtree(folder / "bundles")
    summary = back_up_shop(shop.folder, tmp_path, "")
    assert set(registry.champions().values()) <= set(summary.versions)
    assert summary.left_out == ()
    shutil.rmtree(tmp_path / "bucket")
    target = RestoreTarget(tmp_path / "restored", bundles_url="")
    restore_shop(Path(summary.file), [], folder / "keys", target)
    again = Shop(tmp_path / "restored")
    assert again.recommend("u001", limit=3).items
    again.shop_context.engine.dispose()


def test_a_version_whose_files_are_damaged_is_left_out_and_named(old, tmp_path):
    folder = shutil.copytree(old.shop.root, tmp_path / "shop")
    (champion, *others) = sorted(file.name for file in (folder / "bundles").glob("predict-*"))
    for version in (champion, *others):
        weights = folder / "bundles" / version / "logistic" / "weights.npy"
        weights.write_bytes(changed(weights.read_bytes()))
    summary = back_up_shop(ShopFolder(folder), tmp_path, "")
    (left_out,) = summary.left_out
    assert "changed after it was signed" in left_out
    assert [version.split("-")[0] for version in summary.versions] == ["recommend"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '\n[store]\nurl = "new"\n'),
        ('# a\n[store] # b\nurl = "old"\nbundles = "s3://b"\n', '# a\n[store] # b\nurl = "new"\nbundles = "s3://b"\n'),
        ('[store]\nbundles = "x"\n[serve]\nport = 1\n', '[store]\nurl = "new"\nbundles = "x"\n[serve]\nport = 1\n'),
        ("[serve]\nport = 1\n", '[serve]\nport = 1\n\n[store]\nurl = "new"\n'),
    ],
)
def test_a_setting_is_replaced_and_everything_else_stays(text, expected):
    assert with_setting(text, "store", "url", "new") == expected


@pytest.mark.parametrize("text", ['store = {url = "a"}\n', 'store.url = "a"\n'])
def test_a_setting_in_another_form_is_refused(text):
    with pytest.raises(BadInput, match="cannot be replaced"):
        with_setting(text, "store", "url", "new")


def test_a_release_under_way_goes_on(pristine, tmp_path):
    """Its versions are in the backup, and its state is as it was."""
    shop = Shop(shutil.copytree(pristine[0], tmp_path / "shop"))
    champion, _ = shop.shop_context.registry.champion("recommend")
    assert champion is not None
    candidate = shop.shop_context.registry.get_version(champion).judged
    rollout = Rollout("r1", "recommend", candidate, champion, salt="s", started=1.0, stepped=1.0, shares=(0.1,))
    body = msgspec.json.encode({"rollout": rollout}).decode()
    row = {"id": "r1", "scenario": "recommend", "state": "running", "fence": 1, "created": 1.0, "body": body}
    with shop.shop_context.engine.begin() as connection:
        connection.execute(insert(rollouts).values(**row))
    shop.shop_context.engine.dispose()
    summary = back_up_shop(shop.folder, tmp_path, "")
    assert {champion, candidate} <= set(summary.versions)
    restore_shop(Path(summary.file), [], shop.folder.root / "keys", RestoreTarget(tmp_path / "restored"))
    again = Shop(tmp_path / "restored")
    with read(again.shop_context.engine) as connection:
        assert connection.execute(select(rollouts.c.state)).scalar() == "running"
    again.folder.bundles.verified_files(candidate)
    again.shop_context.engine.dispose()


@pytest.fixture
def daily(pristine, tmp_path) -> Iterator[tuple[Shop, Path]]:
    """A shop whose settings name a folder, with four backups in it and one of another shop, and a key."""
    folder = tmp_path / "backups"
    folder.mkdir()
    root = shutil.copytree(pristine[0], tmp_path / "shop")
    (root / "vetrina.toml").write_text(
        f'[backup]\nto = "../backups"\nrecipient = "{new_key_pair()[1]}"\nkeep = 2\n[alerts]\nrepeat_interval_hours = 0\n'
    )
    shop = Shop(root)
    name = f"shop-{shop.folder.keys.fingerprint[:8]}"
    for year in (2021, 2022, 2023, 2099):  # one was made while the clock was wrong
        (folder / f"{name}-{year}0101T000000Z.tar.zst.age").touch()
    (folder / "shop-00000000-20200101T000000Z.tar.zst.age").touch()
    yield shop, folder
    shop.shop_context.engine.dispose()


def test_a_backup_a_day_is_made_and_the_oldest_are_removed(daily, monkeypatch):
    shop, folder = daily
    champion, _ = shop.shop_context.registry.champion("recommend")
    assert champion is not None
    (shop.folder.bundles.folder / champion / "manifest.json").write_text("damaged")
    messages: list[str] = []
    backup = DailyBackup(shop.shop_context, messages.append)
    deadline = time.monotonic() + 60
    while not messages and time.monotonic() < deadline:
        backup.turn()
        time.sleep(0.1)
    own = [file.name for _, file in list_backups(shop.folder, folder)]
    assert len(own) == 2
    assert own[0].endswith("-20990101T000000Z.tar.zst.age")
    assert len(list(folder.iterdir())) == 3, "that of another shop stays"
    assert own[1] in messages[0]
    with read(shop.shop_context.engine) as connection:
        texts = list(connection.execute(select(alerts.c.text)).scalars())
    assert any(f"lacks the bundles of {champion}" in text for text in texts)

    def start_another(*_: object, **__: object) -> None:
        pytest.fail("one a day is enough")

    monkeypatch.setattr(daily_backup_module.subprocess, "Popen", start_another)
    DailyBackup(shop.shop_context, messages.append).turn()


def test_a_folder_that_is_missing_is_an_error_at_every_turn(daily):
    """The controller sends an alert after several errors in a row."""
    shop, folder = daily
    shutil.rmtree(folder)
    backup = DailyBackup(shop.shop_context, lambda _: None)
    for _ in range(3):
        with pytest.raises(BadInput, match="is no folder"):
            backup.turn()


def test_a_daily_backup_that_fails_raises_an_alert(daily):
    shop, folder = daily
    backup = DailyBackup(shop.shop_context, lambda _: None)
    sent: list[str] = []
    deadline = time.monotonic() + 60
    with exclusive_lock(shop.folder.work / "backup"):
        while not sent and time.monotonic() < deadline:
            backup.turn()
            time.sleep(0.1)
            with read(shop.shop_context.engine) as connection:
                sent = list(connection.execute(select(alerts.c.text)).scalars())
    backup.close()
    assert "backup failed with status 2" in sent[0]
    assert len(list(folder.iterdir())) == 5
