"""`python -m dragoman` is the `dragoman` command."""

import sys

from dragoman.cli.main import main

sys.exit(main())
