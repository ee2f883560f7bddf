"""The Native DICOM Model in XML (PS3.19 A.1), to and from DICOM JSON (PS3.18 F).

Inside Sebago a data set that is not bytes travels as a DICOM JSON object; XML is spoken at the door
only. Both directions work with stacks of their own: how deep a request nests is not left to
Python's recursion. Reading takes no DOCTYPE, so no entities, and no more than the limits say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

from sebago.errors import BadRequest, TooDeep

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>'
DEPTH_MAX: Final = 256
"""Elements deep; a sequence in a sequence is two."""

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_PARTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_NUMBERS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_WHOLE: Final = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_VR: Final = re.compile(r"[A-Z]{2}\Z")

Json = Mapping[str, Any]


def to_xml(data_set: Json) -> bytes:
    """One DICOM JSON object as a NativeDicomModel document, UTF-8."""
    out: list[str] = [HEAD, f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">']
    # What is still to be written: text, or an attribute that is not opened yet.
    waiting: list[str | tuple[str, Json]] = ["</NativeDicomModel>"]
    waiting.extend(reversed(list(data_set.items())))
    while waiting:
        todo = waiting.pop()
        if isinstance(todo, str):
            out.append(todo)
            continue
        tag, attribute = todo
        vr = str(attribute.get("vr", "UN"))
        keyword = keyword_for_tag(int(tag, 16)) if _TAG.match(tag) else ""
        named = f" keyword={quoteattr(keyword)}" if keyword else ""
        out.append(f"<DicomAttribute tag={quoteattr(tag)} vr={quoteattr(vr)}{named}>")
        waiting.append("</DicomAttribute>")
        if "BulkDataURI" in attribute:
            out.append(f"<BulkData uri={quoteattr(_clean(attribute['BulkDataURI']))}/>")
        elif "InlineBinary" in attribute:
            out.append(f"<InlineBinary>{_text(attribute['InlineBinary'])}</InlineBinary>")
        elif vr == "SQ":
            items = [item or {} for item in attribute.get("Value", ())]
            for number in range(len(items), 0, -1):
                waiting.append("</Item>")
                waiting.extend(reversed(list(items[number - 1].items())))
                waiting.append(f'<Item number="{number}">')
        else:
            out.extend(_values(vr, attribute.get("Value", ())))
    return "".join(out).encode("utf-8", "replace")


def _values(vr: str, values: Iterable[Any]) -> Iterator[str]:
    for number, value in enumerate(values, 1):
        if vr == "PN":
            yield f'<PersonName number="{number}">'
            for group in _GROUPS:
                name = (value or {}).get(group)
                if name:
                    parts = zip(_PARTS, str(name).split("^", 4), strict=False)
                    inner = "".join(f"<{p}>{_text(v)}</{p}>" for p, v in parts if v)
                    yield f"<{group}>{inner}</{group}>"
            yield "</PersonName>"
        elif value is None:
            yield f'<Value number="{number}"/>'
        else:
            yield f'<Value number="{number}">{_text(value)}</Value>'


def _clean(value: object) -> str:
    return _FORBIDDEN.sub("\ufffd", str(value))


def _text(value: object) -> str:
    return escape(_clean(value))


def from_xml(document: bytes) -> list[dict[str, Any]]:
    """The data sets of an XML document: one NativeDicomModel, or several in a root of any name.

    Raises:
        BadRequest: not well-formed, with a DOCTYPE, no NativeDicomModel in it, or one that makes
            no sense.
        TooDeep: elements nest deeper than `DEPTH_MAX`.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _no_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadRequest("the XML document is not well-formed") from error
    if not reader.models:
        raise BadRequest("the XML document holds no NativeDicomModel (PS3.19 A.1)")
    return reader.models


def _no_doctype(*_: object) -> None:
    raise BadRequest("an XML document with a DOCTYPE is not taken")


@dataclass(slots=True)
class _Attribute:
    """A DicomAttribute that is being read."""

    tag: str
    vr: str
    values: list[Any] = field(default_factory=list)
    inline: str | None = None
    bulk: str | None = None

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"vr": self.vr}
        if self.bulk is not None:
            found["BulkDataURI"] = self.bulk
        elif self.inline is not None:
            found["InlineBinary"] = self.inline
        elif any(value is not None for value in self.values):
            found["Value"] = self.values
        return found


class _Reader:
    """Takes expat's events; what is open stands on lists, not on Python's stack."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = []
        self._depth = 0
        self._data_sets: list[dict[str, Any]] = []
        self._attributes: list[_Attribute] = []
        self._name: dict[str, dict[str, str]] = {}
        self._group = ""
        self._text: list[str] = []

    def start(self, name: str, given: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise TooDeep(f"the XML document nests deeper than {DEPTH_MAX} elements")
        self._text.clear()
        name = name.rpartition("}")[2]
        if (name == "NativeDicomModel" and not self._data_sets) or (
            name == "Item" and self._attributes
        ):
            self._data_sets.append({})
        elif name == "DicomAttribute" and self._data_sets:
            tag, vr = given.get("tag", ""), given.get("vr", "")
            if not _TAG.match(tag) or not _VR.match(vr):
                raise BadRequest("a DicomAttribute needs a tag of 8 hexadecimal digits and a vr")
            self._attributes.append(_Attribute(tag.upper(), vr))
        elif name == "BulkData" and self._attributes:
            self._attributes[-1].bulk = given.get("uri", "")
        elif name == "PersonName":
            self._name = {}
        elif name in _GROUPS:
            self._group = name

    def end(self, name: str) -> None:
        self._depth -= 1
        name = name.rpartition("}")[2]
        attribute = self._attributes[-1] if self._attributes else None
        if name == "NativeDicomModel" and len(self._data_sets) == 1 and attribute is None:
            self.models.append(self._data_sets.pop())
        elif name == "DicomAttribute" and attribute is not None:
            self._attributes.pop()
            self._data_sets[-1][attribute.tag] = attribute.as_json()
        elif attribute is None:
            pass
        elif name == "Item" and len(self._data_sets) > 1:
            attribute.values.append(self._data_sets.pop())
        elif name == "Value":
            attribute.values.append(_number(attribute.vr, "".join(self._text)))
        elif name == "PersonName":
            attribute.values.append(
                {
                    group: "^".join(parts.get(part, "") for part in _PARTS).rstrip("^")
                    for group, parts in self._name.items()
                }
            )
        elif name in _PARTS:
            self._name.setdefault(self._group, {})[name] = "".join(self._text)
        elif name == "InlineBinary":
            attribute.inline = "".join("".join(self._text).split())
        self._text.clear()

    def text(self, data: str) -> None:
        self._text.append(data)


def _number(vr: str, text: str) -> Any:  # noqa: ANN401  (a JSON number or string)
    if not text:
        return None
    if vr not in _NUMBERS:
        return text
    try:
        return int(text) if vr in _WHOLE else float(text)
    except ValueError:
        return text  # as it stands: DICOM JSON keeps what is no number as a string
