"""A QIDO-RS request's query string, read into `retrieve.Query` (PS3.18 8.3.4, 10.6.1).

An attribute is named by keyword (`PatientName`), by tag (`00100010`, private ones too), or by a path
of either through sequences, with dots. What is no attribute and no parameter of the standard is an
error: a filter that is silently left out finds too much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from pydicom.datadict import tag_for_keyword

from sebago.dicom.identifier import vr_of
from sebago.errors import BadRequest
from sebago.retrieve.answers import Level, Path, Query

FIELDS_MAX = 2000
VALUE_CHARS_MAX = 64 * 1024
PATH_DEPTH_MAX = 8
LIMIT_MAX = 2**31 - 1

STUDY_INSTANCE_UID: Final = (0x0020000D,)
SERIES_INSTANCE_UID: Final = (0x0020000E,)

_LISTS: Final = frozenset({"UI", "CS"})
"""VRs whose values hold no comma: a comma separates alternatives (PS3.18 8.3.4.1; CS by usage)."""
_NOT_ATTRIBUTES: Final = frozenset({"accept", "charset", "_"})
_SWITCHES: Final = frozenset({"fuzzymatching", "emptyvaluematching", "multiplevaluematching"})


@dataclass(frozen=True, slots=True)
class Search:
    """A search request as read."""

    query: Query
    fuzzy: bool
    """Fuzzy matching was asked for."""
    accept: tuple[str, ...]
    """Values of `?accept=`."""


def parse_query_string(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values of a query string, decoded as UTF-8, in order.

    Raises:
        BadRequest: too many, not UTF-8, or control characters in it.
    """
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"),
            keep_blank_values=True,
            max_num_fields=FIELDS_MAX,
            encoding="utf-8",
            errors="strict",
        )
    except UnicodeDecodeError as error:
        raise BadRequest("the query is not percent-encoded UTF-8") from error
    except ValueError as error:
        raise BadRequest(f"the query has more than {FIELDS_MAX} parameters") from error
    for name, value in pairs:
        if not name.isprintable() or not value.isprintable():
            raise BadRequest("the query holds control characters")
    return pairs


def one_of(pairs: list[tuple[str, str]], name: str) -> str | None:
    """The value of a parameter that may stand once.

    Raises:
        BadRequest: it stands more than once, with different values.
    """
    values = {value for given, value in pairs if given == name}
    if len(values) > 1:
        raise BadRequest(f"the parameter {name} stands more than once")
    return values.pop() if values else None


def parse_search(
    query_string: bytes,
    level: Level,
    within: Mapping[Path, str],
    *,
    page_default: int | None = None,
) -> Search:
    """Read a search request.

    Args:
        within: keys that the path of the resource sets (study, series); they win over the query's.
        page_default: the limit where the request names none.

    Raises:
        BadRequest: a parameter that is no attribute, or a value that cannot be one.
    """
    keys: dict[Path, str] = {}
    include: set[Path] = set()
    include_all = False
    limit = page_default
    offset = 0
    fuzzy = False
    accept = []
    for name, value in parse_query_string(query_string):
        if name == "includefield":
            for field in filter(None, (part.strip() for part in value.split(","))):
                if field == "all":
                    include_all = True
                else:
                    include.add(attribute_path(field))
        elif name == "limit":
            limit = _whole_number(name, value, at_least=1)
        elif name == "offset":
            offset = _whole_number(name, value, at_least=0)
        elif name in _SWITCHES:
            fuzzy |= _switch(name, value) and name == "fuzzymatching"
        elif name == "accept":
            accept.append(value)
        elif name not in _NOT_ATTRIBUTES:
            path = attribute_path(name)
            _add_key(keys, path, value)
    for path, value in within.items():
        if path in keys and value not in keys[path].split("\\"):
            raise BadRequest(
                "the query names another study or series than the path",
                do="leave the UID out of the query, or search without it in the path",
            )
        keys[path] = value
    query = Query(
        level=level,
        keys=keys,
        include="all" if include_all else frozenset(include),
        limit=limit,
        offset=offset,
        newest_first=False,  # pages neither repeat nor skip while studies arrive
    )
    return Search(query, fuzzy, tuple(accept))


@lru_cache(maxsize=4096)
def attribute_path(name: str) -> Path:
    """The path of tags that an attribute id names.

    Raises:
        BadRequest: a part of it is neither a keyword nor eight hexadecimal digits.
    """
    parts = name.split(".")
    if len(parts) > PATH_DEPTH_MAX:
        raise BadRequest(f"an attribute path is deeper than {PATH_DEPTH_MAX} sequences")
    return tuple(_tag(part) for part in parts)


def _tag(part: str) -> int:
    if len(part) == 8 and all(c in "0123456789abcdefABCDEF" for c in part):
        return int(part, 16)
    tag = tag_for_keyword(part) if part.isascii() and part else None
    if tag is None:
        raise BadRequest(
            f"{shown(part)} is neither an attribute nor a parameter of this resource",
            do="name attributes by keyword or by tag, eight hexadecimal digits",
        )
    return int(tag)


def shown(name: str) -> str:
    """A parameter's name as an answer may repeat it: if it looks like one."""
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else "a parameter"


def _add_key(keys: dict[Path, str], path: Path, value: str) -> None:
    if len(value) > VALUE_CHARS_MAX:
        raise BadRequest(f"a value is longer than {VALUE_CHARS_MAX} characters")
    vr = vr_of(path[-1])
    if vr in _LISTS:
        value = "\\".join(part.strip() for part in value.replace("\\", ",").split(","))
    given = keys.get(path, "")
    if given and value and given != value:
        value = f"{given}\\{value}"
    keys[path] = value or given


def _whole_number(name: str, value: str, *, at_least: int) -> int:
    digits = value.lstrip("0") or "0"
    if not (value.isascii() and value.isdigit()) or (digits == "0" and at_least):
        raise BadRequest(f"{name} is a whole number, {at_least} or more")
    return LIMIT_MAX if len(digits) > 10 else min(int(digits), LIMIT_MAX)


def _switch(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise BadRequest(f"{name} is true or false")
    return value.lower() == "true"
