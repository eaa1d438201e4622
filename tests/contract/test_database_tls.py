"""TLS to a database server: what the URL says about it is kept, and a server that cannot prove who it is gets nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import servers
from certificates import Authority
from sqlalchemy import make_url, text

from vetrina.core.errors import BadInput
from vetrina.core.keys import load_or_create
from vetrina.store.database import open_store


@dataclass
class Database:
    """A database on a server with TLS.

    Attributes:
        url: without options.
        verify: the option that names an authority, without its file.
        authority: who issued the server's certificate.
        is_encrypted: a statement that gives something else than nothing where the connection is encrypted.
    """

    url: str
    verify: str
    authority: Authority
    is_encrypted: str


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def database(request, tmp_path_factory) -> Iterator[Database]:
    """PostgreSQL with psycopg's options, MariaDB with PyMySQL's."""
    root: Path = tmp_path_factory.mktemp("tls")
    authority = Authority(root / "authority")
    certificate = authority.issue("server")
    (root / "server").mkdir()
    if request.param == "postgresql":
        with servers.postgresql_with_tls(root / "server", certificate) as url:
            encrypted = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            yield Database(url, "sslmode=verify-full&sslrootcert=", authority, encrypted)
    else:
        with servers.mariadb(root / "server", certificate) as url:
            created = servers.fresh_database(f"{url}?ssl_ca={authority.file}", "shop")
            plain_url = make_url(created).set(query={}).render_as_string(hide_password=False)
            encrypted = (
                "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Ssl_version'"
            )
            yield Database(plain_url, "ssl_ca=", authority, encrypted)


def test_a_server_whose_authority_is_named_is_used_over_tls(database, tmp_path):
    engine = open_store(f"{database.url}?{database.verify}{database.authority.file}", load_or_create(tmp_path / "keys"))
    with engine.connect() as connection:
        assert str(connection.execute(text(database.is_encrypted)).scalar()).startswith("TLSv1")
    engine.dispose()


def test_a_server_that_another_authority_vouches_for_is_refused(database, tmp_path):
    other = Authority(tmp_path / "other")
    with pytest.raises(BadInput, match=r"\[store\] url: is refused by TLS") as refusal:
        open_store(f"{database.url}?{database.verify}{other.file}", load_or_create(tmp_path / "keys"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("options", ["{verify}/nowhere.pem", "ssl_nonsense=1"])
def test_options_that_cannot_be_right_are_refused(database, tmp_path, options):
    url = f"{database.url}?{options.format(verify=database.verify)}"
    with pytest.raises(BadInput, match=r"\[store\] url"):
        open_store(url, load_or_create(tmp_path / "keys"))
