"""Passwords and bearer tokens: made, hashed, compared. No database, no clock.

A token is `sbg_<id>_<secret>`: 12 hex digits that name it and 64 that prove it. The secret is 256
random bits, so a plain SHA-256 of it is kept: there is nothing to guess, and a check takes
microseconds. A password is chosen by a person, so it is kept as argon2id (RFC 9106, the 64 MiB
profile), and at most `HASHING_AT_ONCE` checks run at once in a process: their memory is bounded.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import unicodedata
from dataclasses import dataclass
from typing import Final

import argon2

from sebago.errors import BadValue

TOKEN_CHARS_MAX: Final = 128
PASSWORD_BYTES_MAX: Final = 1024
HASHING_AT_ONCE: Final = 2

_HASHER: Final = argon2.PasswordHasher(
    time_cost=3, memory_cost=64 * 1024, parallelism=4, hash_len=32, salt_len=16
)
_hashing = threading.BoundedSemaphore(HASHING_AT_ONCE)

# The hash of 32 random bytes that were thrown away: what a password is compared with where the
# login is unknown, so that the answer takes as long as for a wrong password.
NOBODYS_PASSWORD_HASH: Final = "$argon2id$v=19$m=65536,t=3,p=4$jw7TTgGcW6gxyqHA+0rR6A$eXyZBJyRQNCSdNhncpRYKQdxjsiDgY12nd3XH6caN/M"  # noqa: S105 (opens nothing)
NOBODYS_SECRET_SHA256: Final = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made. `text` is shown once and kept nowhere."""

    token_id: str
    text: str
    secret_sha256: str


def make_token() -> NewToken:
    """A new random token."""
    token_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    return NewToken(token_id, f"sbg_{token_id}_{secret}", secret_sha256(secret))


def split_token(text: str) -> tuple[str, str]:
    """A token's id and secret; two empty texts where it has not the form of one."""
    if len(text) > TOKEN_CHARS_MAX or not text.isascii():
        return "", ""
    parts = text.split("_", 2)
    if len(parts) != 3 or parts[0] != "sbg":
        return "", ""
    return parts[1], parts[2]


def secret_sha256(secret: str) -> str:
    """What is kept of a token's secret: hexadecimal SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_matches(secret: str, kept_sha256: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return hmac.compare_digest(secret_sha256(secret), kept_sha256)


def hash_password(password: str) -> str:
    """The argon2id hash to keep of a new password.

    Raises:
        BadValue: the password is empty or longer than `PASSWORD_BYTES_MAX`.
    """
    data = _password_bytes(password)
    if data is None:
        raise BadValue(
            f"a password has 1 to {PASSWORD_BYTES_MAX} bytes", do="choose another password"
        )
    with _hashing:
        return _HASHER.hash(data)


def password_matches(password: str, kept_hash: str) -> bool:
    """Whether a password is the one that was hashed; an overlong one is refused unhashed."""
    data = _password_bytes(password)
    if data is None:
        return False
    with _hashing:
        try:
            return _HASHER.verify(kept_hash, data)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def hash_is_current(kept_hash: str) -> bool:
    """Whether a hash was made with today's parameters."""
    return not _HASHER.check_needs_rehash(kept_hash)


def _password_bytes(password: str) -> bytes | None:
    if not 0 < len(password) <= PASSWORD_BYTES_MAX:
        return None
    # The same password typed on another keyboard may arrive composed differently.
    data = unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")
    return data if len(data) <= PASSWORD_BYTES_MAX else None
