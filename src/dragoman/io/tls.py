"""The server's side of TLS: a context from the files of the configuration."""

from __future__ import annotations

import ssl

from dragoman.config import Tls
from dragoman.errors import ConfigError


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, HTTP/1.1. Raises `ConfigError` where the files are not there or do not fit together."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    load(context, tls)
    return context


def load(context: ssl.SSLContext, tls: Tls) -> None:
    """Read the files, again if need be: connections that are made from here on see what they say now."""
    for name, path in (("cert", tls.cert), ("key", tls.key)):
        if path is not None:
            _check_readable(name, path)
    where = f"the key in {tls.key or tls.cert}"
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except _PasswordWantedError:
        raise ConfigError(f"server.tls: {where} is locked with a password; give one without") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"server.tls: {where} does not belong to the certificate in {tls.cert}") from None
        files = tls.cert if tls.key is None else f"{tls.cert} and {tls.key}"
        raise ConfigError(f"server.tls: {files} hold no certificate and key in PEM format ({error.reason})") from None


class _PasswordWantedError(Exception): ...


def _no_password() -> str:
    raise _PasswordWantedError


def _check_readable(name: str, path: str) -> None:
    try:
        with open(path, "rb"):  # noqa: PTH123  to say which of the two it is: OpenSSL does not
            pass
    except OSError as error:
        raise ConfigError(f"server.tls.{name}: {path} cannot be read: {error.strerror}") from None
