"""Daily backup by the controller, in a process of its own, and the alert where there is none of the last two days."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from vetrina.core import clock
from vetrina.operate.alerting import send_alert
from vetrina.operate.backup import BackupSummary
from vetrina.operate.backup_names import backup_folder, list_backups
from vetrina.pipeline.shop_context import ShopContext
from vetrina.store.shop_folder import ShopFolder

_INTERVAL_SECONDS = clock.DAY
_MAX_AGE_SECONDS = 2 * clock.DAY
_CHECK_SECONDS = 60.0
_RETRY_SECONDS = 3_600.0  # after a backup failed
_STOP_SECONDS = 10.0
_ALERT_KEY = "operate:backup"
_LEFT_OUT_NEXT_STEP = "they cannot be restored; vetrina run makes new versions"
_NEXT_STEP = "vetrina backup on the controller's machine says what is wrong; the controller tries again every hour"


class DailyBackup:
    """Makes a backup a day of a shop whose settings name a folder and a public key; it does nothing for others.

    Args:
        shop_context: The shop.
        echo: Receives one line for each backup.
    """

    def __init__(self, shop_context: ShopContext, echo: Callable[[str], None]) -> None:
        self._shop_context = shop_context
        self._echo = echo
        self._process: subprocess.Popen[bytes] | None = None
        # By the monotonic clock:
        self._next_check_at = 0.0
        self._retry_at = 0.0

    def turn(self) -> None:
        """Start the backup if it is due, or look after the one that is being made; returns at once."""
        settings = self._shop_context.folder.settings.backup
        if not settings.to or not settings.recipient:
            return
        if self._process is not None:
            self._check_process(self._process)
        now = time.monotonic()
        if now < self._next_check_at:
            return
        age_seconds = self._age_seconds()  # fails at every turn while the folder is missing, so that an alert is sent
        self._next_check_at = now + _CHECK_SECONDS
        is_due = age_seconds is None or age_seconds >= _INTERVAL_SECONDS
        if is_due and self._process is None and now >= self._retry_at:
            self._process = _start_backup(self._shop_context.folder)
        elif age_seconds is not None and age_seconds > _MAX_AGE_SECONDS:
            text = f"the newest backup is {age_seconds / clock.DAY:.1f} days old"
            send_alert(self._shop_context, f"{_ALERT_KEY}:age", text, _NEXT_STEP)

    def close(self) -> None:
        """End the backup that is being made; nothing of it is left."""
        if self._process is None:
            return
        self._process.terminate()  # which lets it remove what it has written
        try:
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _backups(self) -> list[tuple[float, Path]]:
        """Time and file of the shop's backups in the folder, newest first."""
        shop = self._shop_context.folder
        return list_backups(shop, backup_folder(shop))

    def _age_seconds(self) -> float | None:
        """Age of the newest backup by its name; None without any. One of the future was made while the clock was wrong."""
        now = clock.now()
        ages = [now - moment for moment, _ in self._backups() if moment <= now]
        return min(ages, default=None)

    def _check_process(self, process: "subprocess.Popen[bytes]") -> None:
        status = process.poll()
        if status is None:
            return
        self._process = None
        output, _ = process.communicate()
        if status != 0:
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            send_alert(self._shop_context, _ALERT_KEY, f"the backup failed with status {status}", _NEXT_STEP)
            return
        self._report_backups(msgspec.json.decode(output, type=list[BackupSummary]))
        self._remove_old_backups()

    def _report_backups(self, summaries: list[BackupSummary]) -> None:
        for summary in summaries:
            self._echo(f"backup {summary.file}, {summary.file_bytes / 1e6:,.1f} MB")
            if summary.left_out:
                text = f"the backup lacks the bundles of {', '.join(summary.left_out)}"
                send_alert(self._shop_context, f"{_ALERT_KEY}:left-out", text, _LEFT_OUT_NEXT_STEP)

    def _remove_old_backups(self) -> None:
        """Remove the shop's backups beyond the number that is kept, oldest first."""
        n_kept = self._shop_context.folder.settings.backup.keep
        if n_kept:
            for _, file in self._backups()[n_kept:]:
                file.unlink()


def _start_backup(shop: ShopFolder) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop.root), "--json", "backup"]
    return subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603
