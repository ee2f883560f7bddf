"""pynetdicom as a client: its own reading of the standard agrees with ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from tests.peers import free_port
from tests.samples import body, small
from tests.scp.site import CT, EXPLICIT_VR_LE, PATIENT_FIND, Site
from tests.scp.site import STUDY_FIND as FIND
from tests.scp.site import STUDY_GET as GET
from tests.scp.site import STUDY_MOVE as MOVE


@contextmanager
def associated(site: Site, *contexts, title: str = "NORTH1") -> Iterator[Any]:
    ae: Any = AE(ae_title=title)
    for context in contexts:
        ae.add_requested_context(context)
    association = ae.associate("127.0.0.1", site.port, ae_title="SEBAGO")
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def identifier(level: str, **keys: str) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("model", "level", "keys", "count"),
    [
        (PATIENT_FIND, "PATIENT", {"PatientID": ""}, 2),
        (FIND, "STUDY", {"StudyInstanceUID": "", "PatientName": "*"}, 2),
        (FIND, "SERIES", {"StudyInstanceUID": "1.2.3.1", "Modality": ""}, 2),
        (FIND, "IMAGE", {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1",
                         "SOPInstanceUID": ""}, 3),
    ],
)  # fmt: skip
def test_it_finds_at_every_level(asked: Site, model, level, keys, count):
    with associated(asked, model) as association:
        answers = list(association.send_c_find(identifier(level, **keys), model))
    *pending, (final, _) = answers
    assert final.Status == 0
    assert len(pending) == count
    for status, match in pending:
        assert status.Status == 0xFF00
        assert match.QueryRetrieveLevel == level
        assert set(keys) <= set(match.dir())


def test_it_reads_names_of_three_scripts(asked: Site):
    with associated(asked, FIND) as association:
        query = identifier("STUDY", StudyInstanceUID="1.2.3.2", PatientName="")
        (_, match), _ = association.send_c_find(query, FIND)
    assert match.PatientName.alphabetic == "Yamada^Tarou"
    assert match.PatientName.ideographic == "山田^太郎"


def test_it_is_told_what_is_wrong_with_an_identifier(asked: Site):
    with associated(asked, FIND) as association:
        ((status, _),) = association.send_c_find(identifier("SERIES"), FIND)
    assert status.Status == 0xA900
    assert "unique key" in status.ErrorComment


def test_it_moves_a_study_to_itself_and_gets_the_same(site: Site):
    made = [small(instance=f"1.2.3.1.1.{number}", number=number) for number in (1, 2, 3)]
    site.give(*made)
    moved: dict[str, bytes] = {}
    originators: set[tuple[str, int]] = set()

    def take(event: evt.Event) -> int:
        request: Any = event.request
        moved[request.AffectedSOPInstanceUID] = request.DataSet.getvalue()
        if request.MoveOriginatorMessageID is not None:
            title = request.MoveOriginatorApplicationEntityTitle
            originators.add((title.strip(), request.MoveOriginatorMessageID))
        return 0

    handlers: Any = [(evt.EVT_C_STORE, take)]
    scp: Any = AE(ae_title="NORTH2")
    scp.add_supported_context(CT, EXPLICIT_VR_LE)
    port = free_port()
    site.registrar.set_peer("NORTH", f"NORTH2@127.0.0.1:{port}")
    server = scp.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    query = identifier("STUDY", StudyInstanceUID="1.2.3.1")
    try:
        with associated(site, MOVE) as association:
            *_, (final, _) = association.send_c_move(query, "NORTH2", MOVE, msg_id=7)
    finally:
        server.shutdown()
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 3)
    assert moved == {one.SOPInstanceUID: body(one) for one in made}
    assert originators == {("NORTH1", 7)}
    moved.clear()
    role = build_role(CT, scp_role=True)
    ae: Any = AE(ae_title="NORTH1")
    ae.add_requested_context(GET)
    ae.add_requested_context(CT, EXPLICIT_VR_LE)
    association = ae.associate(
        "127.0.0.1",
        site.port,
        ae_title="SEBAGO",
        ext_neg=[role],
        evt_handlers=handlers,
    )
    assert association.is_established
    *_, (final, _) = association.send_c_get(query, GET)
    association.release()
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 3)
    assert moved == {one.SOPInstanceUID: body(one) for one in made}


def test_it_stores(site: Site):
    with associated(site, CT) as association:
        assert association.send_c_store(small()).Status == 0
        assert association.send_c_store(small()).Status == 0
    assert len(site.archive.locate(site.asker(), "1.2.3.1")) == 1


def test_it_is_refused_under_a_name_that_nobody_knows(asked: Site):
    ae: Any = AE(ae_title="NOBODY")
    ae.add_requested_context(FIND)
    association = ae.associate("127.0.0.1", asked.port, ae_title="SEBAGO")
    assert association.is_rejected
