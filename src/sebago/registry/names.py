"""What facilities, authorities, AE titles, logins and network places may be called.

Pure: text in, checked values out, `BadValue` where the text is not of the form. Everything that
becomes an identifier in the registry passes through here once, on its way in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sebago.errors import BadValue

_CODE: Final = re.compile(r"[A-Z0-9_-]{1,16}", re.ASCII)
_LOGIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_NAMESPACE: Final = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?", re.ASCII)
_HL7_DELIMITERS: Final = frozenset("|^&~\\")
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})", re.ASCII)
_HOST_6: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\]", re.ASCII)
NAME_CHARS_MAX: Final = 200
AE_TITLE_BYTES_MAX: Final = 16
OID_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Authority:
    """An assigning authority: who issued a patient id, without which the id means nothing.

    HL7 v2 data type HD (NAMESPACE&OID&ISO); in DICOM `namespace` is Issuer of Patient ID
    (0010,0021) and `oid` the Universal Entity ID of its qualifiers (0010,0024).
    """

    namespace: str
    oid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}&{self.oid}&ISO" if self.oid else self.namespace


@dataclass(frozen=True, slots=True)
class Place:
    """An AE title and, where it can be called, its address."""

    ae_title: str
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if not self.host:
            return self.ae_title
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


def facility_code(text: str) -> str:
    """A facility's code: 1 to 16 of A-Z, 0-9, underscore and hyphen."""
    if not _CODE.fullmatch(text):
        raise BadValue(
            f"facility code {text[:40]!r} is not 1 to 16 of A-Z, 0-9, '_' and '-'",
            do="use a short code in capitals, such as CARY or MGMC-2",
        )
    return text


def facility_name(text: str) -> str:
    """What people call the facility: printable, 1 to 200 characters, blanks around it taken off."""
    name = text.strip()
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise BadValue(
            f"a facility's name is 1 to {NAME_CHARS_MAX} printable characters",
            do="give --name 'Cary Medical Center'",
        )
    return name


def authority(text: str) -> Authority:
    """NAMESPACE or NAMESPACE&OID&ISO.

    A namespace goes into Issuer of Patient ID (LO, 64 characters, no backslash: PS3.5 6.2) and
    into HL7 messages, so it holds none of the HL7 delimiters either.
    """
    parts = text.split("&")
    namespace = parts[0].strip()
    if not _NAMESPACE.fullmatch(namespace) or _HL7_DELIMITERS & set(namespace):
        raise BadValue(
            f"authority {text[:80]!r}: the namespace is 1 to 64 printable ASCII characters, "
            "none of them | ^ & ~ or backslash",
            do="give --authority CARY  or  --authority 'CARY&1.2.3.4&ISO'",
        )
    if len(parts) == 1:
        return Authority(namespace)
    if len(parts) != 3 or parts[2].strip() != "ISO":
        raise BadValue(
            f"authority {text[:80]!r} is neither NAMESPACE nor NAMESPACE&OID&ISO",
            do="give --authority 'CARY&1.2.3.4&ISO' (in quotes: & means something to a shell)",
        )
    oid = parts[1].strip()
    if len(oid) > OID_CHARS_MAX or not _OID.fullmatch(oid):
        raise BadValue(
            f"authority {text[:80]!r}: {oid[:70]!r} is not an OID of at most 64 characters",
            do="give digits with dots between them, such as 2.16.840.1.113883.19.5",
        )
    return Authority(namespace, oid)


def ae_title(text: str) -> str:
    """An AE title: 1 to 16 characters of the default repertoire, no backslash (PS3.5 6.2).

    Blanks around it are not significant and taken off.
    """
    title = text.strip(" ")
    if (
        not title
        or len(title) > AE_TITLE_BYTES_MAX
        or "\\" in title
        or any(not " " <= character <= "~" for character in title)
    ):
        raise BadValue(
            f"AE title {text[:40]!r} is not 1 to 16 printable ASCII characters without backslash",
            do="use the title that the device calls itself by, such as CT1",
        )
    return title


def place(text: str) -> Place:
    """TITLE or TITLE@HOST:PORT; an IPv6 address stands in square brackets."""
    title, at, address = text.rpartition("@")
    if not at:
        return Place(ae_title(text))
    host, colon, port = address.rpartition(":")
    numbered = _HOST_6.fullmatch(host)
    if not colon or not (numbered or _HOST.fullmatch(host)):
        raise BadValue(
            f"{text[:80]!r} is neither TITLE nor TITLE@HOST:PORT",
            do="give CT1  or  CT1@10.0.0.7:104",
        )
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise BadValue(
            f"{text[:80]!r}: {port[:20]!r} is not a port from 1 to 65535",
            do="give the port that the device listens on, often 104 or 11112",
        )
    return Place(ae_title(title), numbered[1] if numbered else host, int(port))


def login(text: str) -> str:
    """A login: 1 to 64 of letters, digits and . _ @ -, the first a letter or digit.

    Compared without regard to case: kept in small letters.
    """
    if not _LOGIN.fullmatch(text):
        raise BadValue(
            f"login {text[:40]!r} is not 1 to 64 letters, digits, '.', '_', '@' or '-'",
            do="use a login such as ann or ann.pelletier@cary.example",
        )
    return text.lower()
