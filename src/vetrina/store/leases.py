"""One leader among many: a lease that expires, and a fence that grows whenever it changes hands."""

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.core import clock
from vetrina.store.tables import leases


class Lease:
    """The wish of one ``holder`` to lead. Clocks of the machines that share a store must agree to a few seconds."""

    def __init__(self, engine: Engine, name: str, holder: str, seconds: float) -> None:
        self._engine = engine
        self._name = name
        self._holder = holder
        self._seconds = seconds

    def acquire_or_renew(self) -> int | None:
        """Take or prolong the lease. Its fence while it is ours, None while another holds it."""
        now = clock.now()
        mine = {"holder": self._holder, "expires": now + self._seconds}
        try:
            with self._engine.begin() as connection:
                query = select(leases).where(leases.c.name == self._name).with_for_update()
                row = connection.execute(query).first()
                if row is None:
                    connection.execute(insert(leases).values(name=self._name, fence=1, **mine))
                    return 1
                if row.holder != self._holder and row.expires > now:
                    return None
                fence = row.fence if row.holder == self._holder and row.expires > now else row.fence + 1
                connection.execute(update(leases).where(leases.c.name == self._name).values(fence=fence, **mine))
                return fence
        except IntegrityError:  # two who found no row: the other one was first
            return None

    def holder(self) -> str | None:
        """Who leads now."""
        query = select(leases.c.holder).where(leases.c.name == self._name, leases.c.expires > clock.now())
        with self._engine.connect().execution_options(read_only=True) as connection:
            return connection.execute(query).scalar()

    def release(self) -> None:
        """Let another one lead at once."""
        here = (leases.c.name == self._name, leases.c.holder == self._holder)
        with self._engine.begin() as connection:
            connection.execute(update(leases).where(*here).values(expires=0.0))
