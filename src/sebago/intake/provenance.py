"""Where a data set came from, as its journal record keeps it: enough to index it anew.

JSON, so that the journal can be read without this program (docs/formats/journal.md). `v` is 1;
a reader passes over members that it does not know.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from sebago.dicom.facts import Facts
from sebago.dicom.scan import Header
from sebago.errors import Damaged
from sebago.index.record import NewInstance, Place
from sebago.intake.sources import Declared, Source


@lru_cache(maxsize=4096)
def provenance(source: Source, declared: Declared) -> bytes:
    """The provenance of a data set; the same for all instances of an association."""
    return json.dumps(
        {
            "v": 1,
            "facility": source.facility,
            "authority": source.authority,
            "door": source.door,
            "name": source.name,
            "address": source.address,
            "transfer_syntax_uid": declared.transfer_syntax_uid,
        },
        separators=(",", ":"),
    ).encode()


@lru_cache(maxsize=4096)
def read_provenance(data: bytes) -> tuple[Source, Declared]:
    """The other way.

    Raises:
        Damaged: it is no provenance that this version understands.
    """
    try:
        said: dict[str, Any] = json.loads(data)
        if said["v"] != 1:
            raise ValueError(f"version {said['v']}")
        source = Source(
            str(said["facility"]),
            str(said["authority"]),
            str(said["door"]),
            str(said["name"]),
            str(said["address"]),
        )
        return source, Declared(str(said["transfer_syntax_uid"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"a journal record's provenance cannot be read: {error}") from None


def new_instance(
    source: Source,
    declared: Declared,
    header: Header,
    facts: Facts,
    *,
    digest: bytes,
    received_us: int,
    place: Place,
) -> NewInstance:
    """What the index is told of an instance that lies in the journal, on arrival and in replay."""
    return NewInstance(
        facility=source.facility,
        assigning_authority=source.authority,
        header=header,
        facts=facts,
        transfer_syntax_uid=declared.transfer_syntax_uid,
        digest=digest,
        received_us=received_us,
        place=place,
    )
