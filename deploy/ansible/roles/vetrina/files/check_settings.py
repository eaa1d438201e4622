"""Ends with one line where the settings on standard input, or the database that they name, cannot be used."""

import sys
import tempfile
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from vetrina.cli.errors import error_line_and_status
from vetrina.core.errors import VetrinaError
from vetrina.core.settings import load
from vetrina.store.database import open_database

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "vetrina.toml"
    file.write_text(sys.stdin.read())
    try:
        settings = load(file)
        if settings.store.url:
            open_database(settings.store.url).connect().close()
    except (VetrinaError, SQLAlchemyError, ImportError) as error:  # ImportError: the driver is not installed
        line, status = error_line_and_status(error)
        print(line.replace(f"{folder}/", ""))
        sys.exit(status)
