"""What both drivers ask of the system."""

from __future__ import annotations

BACKLOG = 65_535
"""Connections that may wait to be accepted: as many as the system allows. A client whose connection does not fit asks again
after a second, and then after two more."""
