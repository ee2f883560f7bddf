"""STOW-RS over HTTP: answers, statuses, what is kept and what is not."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest

from sebago.dicom.uids import IMPLICIT_VR_LE
from sebago.web.dicomweb.native_xml import from_xml
from tests.web.made import (
    BOUNDARY,
    CT,
    STOW,
    body,
    data_set,
    element,
    fresh_uid,
    part10,
    uid_in,
)
from tests.web.world import LIMITS, rows, values


def answered(answer, status):
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/dicom+json"
    return json.loads(answer.content)


def as_stored(world, study, as_="sender@NORTH"):
    """The data sets of a study, as they are given back."""
    answer = world.get(
        f"/dicomweb/studies/{study}",
        as_=as_,
        accept='multipart/related; type="application/dicom"; transfer-syntax=*',
    )
    assert answer.status_code == 200
    parts = answer.content.split(b"DICM")[1:]
    return answer, len(parts)


def test_what_is_stored_is_referenced_with_its_address_and_comes_back_byte_for_byte(world):
    study = fresh_uid()
    sets = [data_set(study, number=n) for n in range(3)]
    answer = answered(world.stow([part10(data) for data in sets]), 200)
    items = values(answer, "00081199")
    assert [values(item, "00081155")[0] for item in items] == [uid_in(data) for data in sets]
    assert {values(item, "00081150")[0] for item in items} == {CT}
    assert values(answer, "00081190")[0].endswith(f"/dicomweb/studies/{study}")
    assert "00081198" not in answer
    assert "0008119A" not in answer
    for item, data in zip(items, sets, strict=True):
        back = world.get(values(item, "00081190")[0], accept="application/dicom; transfer-syntax=*")
        assert back.content.endswith(data)


def test_the_same_again_is_a_success(world):
    data = data_set()
    assert world.stow([part10(data)]).status_code == 200
    assert world.stow([part10(data)]).status_code == 200
    assert len(rows(world.get(f"/dicomweb/instances?SOPInstanceUID={uid_in(data)}"))) == 1


def test_some_stored_and_some_not_is_202_with_a_reason_for_each(world):
    good = data_set()
    no_ids = element(0x00080016, "UI", CT) + element(0x00080018, "UI", fresh_uid())
    answer = answered(world.stow([b"garbage" * 100, part10(good), part10(no_ids)]), 202)
    assert [values(i, "00081155")[0] for i in values(answer, "00081199")] == [uid_in(good)]
    (failed,) = values(answer, "00081198")
    assert values(failed, "00081155") == [uid_in(no_ids)]
    assert values(failed, "00081197")[0] >> 12 == 0xC
    (other,) = values(answer, "0008119A")
    assert values(other, "00081197")[0] >> 12 == 0xC


def test_nothing_stored_is_409_with_the_reasons_and_without_empty_sequences(world):
    answer = answered(world.stow([b"garbage" * 100]), 409)
    assert list(answer) == ["0008119A"]


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"", STOW, 400),
        (b"no boundary in here", STOW, 400),
        (b"x" * 100_000, STOW, 400),
        (f"--{BOUNDARY}--\r\n".encode(), STOW, 400),
        (f"--{BOUNDARY}\r\nnonsense\r\n\r\nx\r\n--{BOUNDARY}--".encode(), STOW, 400),
        (b"", 'multipart/related; type="application/dicom"', 400),
        (b"", "text/plain", 415),
        (b"", "", 415),
        (b"", "application/dicom+json", 415),
        (b"", "multipart/form-data; boundary=x", 415),
        (b"", 'multipart/related; type="image/jpeg"; boundary=x', 415),
        (body([part10(data_set())], content_type=b"image/jpeg"), STOW, 415),
        (b"", "application/dicom", 409),
        (b"garbage" * 10_000, "application/dicom", 409),
    ],
)
def test_a_body_that_is_none_is_refused_with_the_status_that_says_why(
    shared_world, raw, content_type, status
):
    answer = shared_world.stow([], raw=raw, content_type=content_type)
    assert answer.status_code == status
    assert answer.json()


def test_a_form_of_answer_that_cannot_be_given_is_refused_before_anything_is_stored(world):
    data = data_set()
    assert world.stow([part10(data)], accept="image/png").status_code == 406
    assert world.get(f"/dicomweb/instances?SOPInstanceUID={uid_in(data)}").status_code == 204


def test_the_answer_is_xml_where_that_is_accepted_also_when_something_failed(world):
    answer = world.stow([part10(data_set()), b"x" * 200], accept="application/dicom+xml")
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/dicom+xml"
    (said,) = from_xml(answer.content)
    assert len(values(said, "00081199")) == 1
    assert values(said, "0008119A")[0]["00081197"]["Value"]


def test_instances_of_another_study_than_the_addresss_fail_and_the_others_live(world):
    study = fresh_uid()
    mine, other = data_set(study), data_set(fresh_uid())
    path = f"/dicomweb/studies/{study}"
    answer = answered(world.stow([part10(other), part10(mine)], path=path), 202)
    assert [values(i, "00081155")[0] for i in values(answer, "00081198")] == [uid_in(other)]
    assert [values(i, "00081155")[0] for i in values(answer, "00081199")] == [uid_in(mine)]
    assert world.get(f"/dicomweb/instances?SOPInstanceUID={uid_in(other)}").status_code == 204


def test_a_single_instance_may_be_the_body(world):
    data = data_set()
    answer = world.stow([], raw=part10(data), content_type="application/dicom")
    assert answer.status_code == 200
    assert len(rows(world.get(f"/dicomweb/instances?SOPInstanceUID={uid_in(data)}"))) == 1


@pytest.mark.parametrize("line", [b"\r\n", b"\n"])
@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\nepilogue"])
def test_line_ends_and_what_follows_the_end_do_not_matter(shared_world, line, end):
    data = data_set()
    raw = body([part10(data)], line=line, end=end)
    assert shared_world.stow([], raw=raw).status_code == 200


def test_a_quoted_boundary_and_a_transfer_syntax_in_the_part_are_taken(shared_world):
    raw = body([part10(data_set())], content_type=b"application/dicom; transfer-syntax=1.2.3")
    quoted = f'multipart/related; boundary="{BOUNDARY}"; type=application/dicom'
    assert shared_world.stow([], raw=raw, content_type=quoted).status_code == 200


def test_a_body_that_comes_in_chunks_of_any_size_is_taken(shared_world):
    data = data_set(pixels=b"ab" * 50_000)
    raw = body([part10(data)] * 1)

    def chunks():
        for start in range(0, len(raw), 777):
            yield raw[start : start + 777]

    answer = shared_world.stow([], raw=chunks())
    assert answer.status_code == 200


def test_a_thousand_parts_are_answered_each_in_order(shared_world):
    study = fresh_uid()
    sets = [data_set(study, number=n) for n in range(1000)]
    answer = answered(shared_world.stow([part10(data) for data in sets]), 200)
    found = [values(item, "00081155")[0] for item in values(answer, "00081199")]
    assert found == [uid_in(data) for data in sets]


def test_an_instance_that_streams_past_memory_is_stored(shared_world):
    study = fresh_uid()
    big = data_set(study, pixels=b"\1\2" * (3 << 20))
    assert shared_world.stow([part10(big), part10(data_set(study))]).status_code == 200
    _, count = as_stored(shared_world, study)
    assert count == 2


def test_an_instance_longer_than_the_limit_is_413_and_others_live(shared_world):
    long = part10(data_set(pixels=b"\0" * (LIMITS.instance_bytes_max + 10)))
    assert shared_world.stow([long]).status_code == 413
    answer = answered(shared_world.stow([long, part10(data_set())]), 202)
    assert len(values(answer, "00081198")) == 1
    assert len(values(answer, "00081199")) == 1


def test_only_senders_store_and_into_their_own_facility(world):
    data = data_set(fresh_uid())
    for who in ("clinician@NORTH", "admin", "operator", "privacy", "reviewer"):
        denied = world.stow([part10(data)], as_=who)
        assert denied.status_code == 403
        assert denied.json()["reason"] == "role-may-not"
    assert world.stow([part10(data)], as_="sender@SOUTH").status_code == 200
    query = f"/dicomweb/instances?SOPInstanceUID={uid_in(data)}"
    assert world.get(query, as_="sender@NORTH").status_code == 204
    assert world.get(query, as_="sender@SOUTH").status_code == 200


def exchange(world, head, sent, *, shut=True):
    """Send bytes over a socket of one's own; what came back."""
    url = httpx.URL(world.client.base_url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(head + sent)
        if shut:
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while piece := connection.recv(65536):
                said += piece
            return said
    return b""


def head_of(world, *, length=None):
    lines = [
        "POST /dicomweb/studies HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {world.tokens['sender@NORTH']}",
        f"Content-Type: {STOW}",
        "Connection: close",
        f"Content-Length: {length}" if length else "Transfer-Encoding: chunked",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def waited_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("shut", [True, False])
@pytest.mark.parametrize("lost", [1, 20, 500])
def test_the_part_that_is_cut_off_is_never_kept_and_the_ones_before_it_are(world, lost, shut):
    first, second = data_set(pixels=b"ab" * 4000), data_set(pixels=b"ab" * 4000)
    raw = body([part10(first), part10(second)])
    missing = len(BOUNDARY) + 6 + lost
    exchange(world, head_of(world, length=len(raw)), raw[:-missing], shut=shut)

    def known(data):
        query = f"/dicomweb/instances?SOPInstanceUID={uid_in(data)}"
        return world.get(query).status_code == 200

    assert waited_for(lambda: known(first))
    assert not known(second)


def test_a_chunked_body_that_ends_without_its_closing_boundary_is_202_for_what_was_whole(world):
    first, second = data_set(), data_set()
    raw = body([part10(first), part10(second)])[: -len(BOUNDARY) - 20]
    answer = world.stow([], raw=iter([raw]))
    said = answered(answer, 202)
    assert [values(i, "00081155")[0] for i in values(said, "00081199")] == [uid_in(first)]
    assert [values(i, "00081155")[0] for i in values(said, "00081198")] == [uid_in(second)]
    alone = world.stow([], raw=iter([body([part10(data_set())])[: -len(BOUNDARY) - 20]]))
    assert alone.status_code == 400


def test_many_requests_at_once_store_everything(world):
    study = fresh_uid()
    sets = [[data_set(study, number=n) for n in range(20)] for _ in range(8)]
    statuses = []

    def send(some):
        with httpx.Client(base_url=world.client.base_url, timeout=30) as client:
            answer = client.post(
                "/dicomweb/studies",
                content=body([part10(data) for data in some]),
                headers={"content-type": STOW, **world.auth("sender@NORTH")},
            )
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=send, args=(some,)) for some in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert as_stored(world, study)[1] == 160


# --- metadata and bulk data


def form(metadata, *bulk, content_type="application/dicom+json"):
    parts = [
        f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode() + metadata,
        *(
            f"\r\n--{BOUNDARY}\r\nContent-Type: {kind}\r\nContent-Location: {place}\r\n\r\n".encode()
            + content
            for place, kind, content in bulk
        ),
    ]
    return b"".join(parts) + f"\r\n--{BOUNDARY}--\r\n".encode()


def described(instance, study, **more):
    return {
        "00080016": {"vr": "UI", "Value": [CT]},
        "00080018": {"vr": "UI", "Value": [instance]},
        "0020000D": {"vr": "UI", "Value": [study]},
        "0020000E": {"vr": "UI", "Value": [study + ".1"]},
        "00100020": {"vr": "LO", "Value": ["7"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jürgen"}]},
        "00280010": {"vr": "US", "Value": [2]},
        "00280011": {"vr": "US", "Value": [2]},
        "00280002": {"vr": "US", "Value": [1]},
        "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
        "00280100": {"vr": "US", "Value": [8]},
        "00280101": {"vr": "US", "Value": [8]},
        "00280102": {"vr": "US", "Value": [7]},
        "00280103": {"vr": "US", "Value": [0]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "bulk/1"},
        **more,
    }


FORM_JSON = f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'
FORM_XML = f'multipart/related; type="application/dicom+xml"; boundary={BOUNDARY}'


def test_metadata_in_json_with_bulk_data_become_an_instance(world):
    instance, study = fresh_uid(), fresh_uid()
    raw = form(
        json.dumps([described(instance, study)]).encode(),
        ("bulk/1", "application/octet-stream", b"\1\2\3\4"),
    )
    answer = world.stow([], raw=raw, content_type=FORM_JSON)
    assert answer.status_code == 200, answer.text
    found = rows(world.get(f"/dicomweb/instances?SOPInstanceUID={instance}&includefield=00100010"))
    assert values(found[0], "00100010")[0]["Alphabetic"] == "Müller^Jürgen"
    back = world.get(
        f"/dicomweb/studies/{study}/series/{study}.1/instances/{instance}/frames/1",
        accept="application/octet-stream",
    )
    assert back.content == b"\1\2\3\4"


def test_metadata_in_xml_with_bulk_data_become_an_instance(world):
    from sebago.web.dicomweb.native_xml import to_xml

    instance, study = fresh_uid(), fresh_uid()
    raw = form(
        to_xml(described(instance, study)),
        ("bulk/1", "application/octet-stream", b"\1\2\3\4"),
        content_type="application/dicom+xml",
    )
    assert world.stow([], raw=raw, content_type=FORM_XML).status_code == 200
    assert len(rows(world.get(f"/dicomweb/instances?SOPInstanceUID={instance}"))) == 1


def test_bulk_data_of_a_compressed_media_type_are_kept_compressed(world):
    instance, study = fresh_uid(), fresh_uid()
    codestream = b"\xff\x4f\xff\x51" + b"codestream"
    raw = form(
        json.dumps([described(instance, study)]).encode(), ("bulk/1", "image/jp2", codestream)
    )
    assert world.stow([], raw=raw, content_type=FORM_JSON).status_code == 200
    back = world.get(
        f"/dicomweb/studies/{study}/series/{study}.1/instances/{instance}/frames/1",
        accept='multipart/related; type="image/jp2"',
    )
    assert back.status_code == 200
    assert codestream in back.content
    assert b"transfer-syntax=1.2.840.10008.1.2.4.90" in back.content


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        (b"nonsense", 400),
        (b"[1]", 400),
        (b"{}", 409),
        (b"[" * 100_000, 400),
        (json.dumps([described("2.25.1", "2.25.2")]).encode(), 409),
        (json.dumps([described("2.25.1", "2.25.2", **{"00280010": {"vr": "US"}})]).encode(), 409),
        (json.dumps([{"00080018": 7}]).encode(), 409),
        (json.dumps([described("2.25.1", "2.25.2", XX={})]).encode(), 409),
    ],
)
def test_metadata_that_make_no_sense_are_refused(shared_world, metadata, status):
    answer = shared_world.stow([], raw=form(metadata), content_type=FORM_JSON)
    assert answer.status_code == status


def test_implicit_and_other_transfer_syntaxes_are_kept_as_sent(world):
    study = fresh_uid()
    implicit = b"".join(
        tag.to_bytes(4, "little")[2:]
        + tag.to_bytes(4, "little")[:2]
        + len(value).to_bytes(4, "little")
        + value
        for tag, value in (
            (0x00080016, CT.encode() + b"\0"),
            (0x00080018, b"2.25.77777777\0"),
            (0x00100020, b"7 "),
            (0x0020000D, study.encode() + b"\0" * (len(study) % 2)),
            (0x0020000E, study.encode() + b".1" + b"\0" * (len(study) % 2)),
        )
    )
    assert len(CT) % 2
    meta = element(0x00020010, "UI", IMPLICIT_VR_LE)
    group = element(0x00020000, "UL", len(meta).to_bytes(4, "little"))
    file = b"\0" * 128 + b"DICM" + group + meta + implicit
    assert world.stow([file]).status_code == 200
    answer, count = as_stored(world, study)
    assert count == 1
    assert implicit in answer.content
    assert b"transfer-syntax=1.2.840.10008.1.2\r\n" in answer.content
