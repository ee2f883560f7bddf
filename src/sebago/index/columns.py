"""How values from data sets become column values, the same for storing and for asking.

Data sets are hostile: identifiers of many kilobytes, NUL inside text, numbers beyond 64 bits. What
goes into a column is bounded here, so that no instance can make a transaction fail (PostgreSQL takes
no NUL in text, and no index entry over 2.7 kB).
"""

from __future__ import annotations

import hashlib
from typing import Final

from sebago.dicom.matching import fold, fold_name

UID_CHARACTERS: Final = 128
"""PS3.5 9.1 allows 64; longer ones are in real archives and are kept apart by what follows."""

IDENTIFIER_CHARACTERS: Final = 200
"""PS3.5 6.2 allows 64 for LO and 16 for SH."""

TEXT_CHARACTERS: Final = 512
"""Names and descriptions: 64 a component group by PS3.5 6.2."""

_DIGEST_CHARACTERS: Final = 33
_SMALL: Final = 2**31
_LARGE: Final = 2**63


def clean(text: str) -> str:
    """Text without what a database cannot keep: NUL and lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def bounded(text: str, characters: int) -> str:
    """Clean text of at most `characters`; what is longer ends in a digest of the whole of it.

    Two long identifiers that begin alike stay two.
    """
    text = clean(text)
    if len(text) <= characters:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{text[: characters - _DIGEST_CHARACTERS]}#{digest}"


def uid(text: str) -> str:
    """A UID as a column keeps it."""
    if len(text) <= UID_CHARACTERS and text.isascii() and "\0" not in text:
        return text
    return bounded(text, UID_CHARACTERS)


def identifier(text: str) -> str:
    """A patient id, an assigning authority, an accession number as a column keeps it."""
    return bounded(text, IDENTIFIER_CHARACTERS)


def words(text: str) -> str:
    """A name or a description as a column keeps it."""
    return bounded(text, TEXT_CHARACTERS)


def small(number: int | None) -> int | None:
    """A number that an INTEGER column holds, None for what is beyond 32 bits."""
    return number if number is None or -_SMALL < number < _SMALL else None


def large(number: int | None) -> int | None:
    """A number that a BIGINT column holds, None for what is beyond 64 bits."""
    return number if number is None or -_LARGE < number < _LARGE else None


def folded(text: str) -> str:
    """Text as it is compared (`sebago.dicom.matching.fold`)."""
    return words(fold(text))


def folded_name(name: str) -> tuple[str, str, str]:
    """The alphabetic, ideographic and phonetic component groups of a name, each folded."""
    alphabetic, ideographic, phonetic = fold_name(name)
    return words(alphabetic), words(ideographic), words(phonetic)
