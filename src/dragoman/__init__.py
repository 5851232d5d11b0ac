"""Dragoman lets any LLM client talk to any LLM provider."""

__version__ = "0.1.0"
