"""Leadership among controllers: a lease that a thread of its own renews, however long a job of the controller takes."""

import logging
import threading
import time

from vetrina.core.errors import describe_cause
from vetrina.store.leases import Lease

LEASE_SECONDS = 8.0  # after which another controller may lead
RENEWAL_SECONDS = 2.0  # between two renewals by the leader: three may fail before the lease is lost
ATTEMPT_SECONDS = 1.0  # between two attempts of the others to get it
# A leader whose turn takes longer hangs: it renews no more. No statement of a job takes that long.
_MAX_TURN_SECONDS = 900.0
_LOG = logging.getLogger("vetrina.operate")


class Leadership:
    """Whether this controller leads.

    It is known without the store: until so many seconds after the last renewal, by the monotonic clock, which goes on while a
    process is stopped. So a leader that was paused knows that it leads no more before it begins another job. What it was in the
    middle of is refused by the fence of whatever it changes.

    Args:
        lease: the lease of the controllers.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._lock = threading.Lock()  # of a renewal
        self._leads_until = 0.0
        self._asked_at = -LEASE_SECONDS
        self._turn_began_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_forever, name="leadership", daemon=True)

    @property
    def is_held(self) -> bool:
        """Whether this controller leads now."""
        return time.monotonic() < self._leads_until

    def begin_turn(self) -> bool:
        """Whether this controller leads, at the beginning of a turn; the lease is renewed if that is due."""
        self._turn_began_at = time.monotonic()
        if self._turn_began_at - self._asked_at >= self._interval_seconds():
            self._renew()
        return self.is_held

    def start(self) -> None:
        """Renew the lease, or try to get it, in a thread until ``close``."""
        self._thread.start()

    def close(self) -> None:
        """Let another controller lead."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._leads_until = 0.0
        self._lease.release()

    def _interval_seconds(self) -> float:
        if self.is_held:
            return RENEWAL_SECONDS
        return ATTEMPT_SECONDS

    def _renew(self) -> None:
        with self._lock:
            asked_at = time.monotonic()
            self._asked_at = asked_at
            fence = self._lease.acquire_or_renew()
            leads_until = 0.0
            if fence is not None:
                leads_until = asked_at + LEASE_SECONDS  # no later than the lease ends by the database's clock
            self._leads_until = leads_until  # once: the other thread must never see a leader without its lead

    def _renew_forever(self) -> None:
        is_failing = False
        while not self._stop.wait(self._interval_seconds()):
            if time.monotonic() - self._turn_began_at > _MAX_TURN_SECONDS:
                continue
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001 - the store may be away for any reason: the lease ends by itself then
                if not is_failing:
                    _LOG.error("the lease cannot be renewed (%s); trying again", describe_cause(error))
                is_failing = True
                continue
            is_failing = False
