"""WADO-RS over HTTP: files, metadata, frames, bulk data, pictures; and WADO-URI."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from sebago.errors import BadRequest, NotAcceptable
from sebago.web.dicomweb.accept import parse_accept
from sebago.web.dicomweb.frames import form_of_frames, frame_numbers
from sebago.web.dicomweb.media_types import SYNTAXES, media_type_of_frames
from sebago.web.dicomweb.multipart import MultipartScanner, PartBegins, boundary_of
from sebago.web.dicomweb.native_xml import from_xml
from tests.web.made import EXPLICIT, data_set, element, fresh_uid, part10, uid_in
from tests.web.world import open_world, rows, values

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
STUDY, SERIES = "2.25.500", "2.25.500.1"
OTHER = "2.25.500.2"
MPEG4 = "1.2.840.10008.1.2.4.102"
JPEG = "1.2.840.10008.1.2.4.50"


def parts_of(answer):
    """[(headers, content)] of a multipart answer, which must be whole."""
    _, boundary = boundary_of(answer.headers["content-type"])
    scanner = MultipartScanner(boundary)
    parts = []
    for found in scanner.feed(answer.content):
        if isinstance(found, PartBegins):
            parts.append((dict(found.headers), b""))
        elif isinstance(found, memoryview):
            parts[-1] = (parts[-1][0], parts[-1][1] + bytes(found))
    assert scanner.finished
    return parts


def packaged(name):
    """A file of pydicom's own, read with no download; its bytes and data set."""
    path = get_testdata_file(name, download=False)
    with open(str(path), "rb") as file:  # noqa: PTH123
        return file.read()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    with open_world(tmp_path_factory.mktemp("kept")) as world:
        world.sets = [data_set(STUDY, SERIES, f"{SERIES}.{n}", number=n) for n in range(1, 4)]
        world.sets.append(data_set(STUDY, OTHER, f"{OTHER}.1", number=7))
        world.keep(*world.sets)
        yield world


@pytest.fixture(scope="module")
def photos(kept):
    """A lossy JPEG, a multi-frame RLE, a document and a video, each in a study of its own."""
    found = {}
    for name in ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_2frame.dcm", "MR_small.dcm", "CT_small.dcm"):
        raw = packaged(name)
        assert kept.stow([raw]).status_code == 200
        ds = pydicom.dcmread(io.BytesIO(raw))
        found[name] = (
            ds,
            f"/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
            f"/instances/{ds.SOPInstanceUID}",
        )
    return found


def encapsulated(kept, syntax, frames, *, sop_class=None):
    """Keep an instance of compressed frames; its path."""
    study, instance = fresh_uid(), fresh_uid()
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(f)) + f for f in (b"", *frames))
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + items
    pixels += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    whole = data_set(study, study + ".1", instance, pixels=b"", rows=16, columns=16)
    start = whole[: whole.rindex(b"\xe0\x7f\x10\x00OW")]
    number = element(0x00280008, "IS", str(len(frames)))
    at = start.index(b"\x28\x00\x10\x00US")
    assert kept.stow([part10(start[:at] + number + start[at:] + pixels, syntax)]).status_code == 200
    return f"/dicomweb/studies/{study}/series/{study}.1/instances/{instance}"


# --- files


@pytest.mark.parametrize(
    ("path", "which"),
    [
        (f"/dicomweb/studies/{STUDY}", [0, 1, 2, 3]),
        (f"/dicomweb/studies/{STUDY}/series/{SERIES}", [0, 1, 2]),
        (f"/dicomweb/studies/{STUDY}/series/{OTHER}", [3]),
        (f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.2", [1]),
    ],
)
def test_every_level_comes_back_byte_for_byte_in_the_order_that_viewers_draw(kept, path, which):
    answer = kept.get(path, accept=AS_STORED)
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom"')
    parts = parts_of(answer)
    assert [
        content.partition(b"DICM")[2][-len(kept.sets[n]) :]
        for n, (_, content) in zip(which, parts, strict=True)
    ] == [kept.sets[n] for n in which]
    for n, (headers, content) in zip(which, parts, strict=True):
        assert headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
        assert headers["content-location"].endswith(f"/instances/{uid_in(kept.sets[n])}")
        assert content[:128] == bytes(128)
        assert pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID == uid_in(kept.sets[n])


def test_head_gives_the_length_and_no_body(kept):
    path = f"/dicomweb/studies/{STUDY}"
    headers = {**kept.auth("clinician@NORTH"), "accept": AS_STORED}
    head = kept.client.head(path, headers=headers)
    assert head.status_code == 200
    assert int(head.headers["content-length"]) == len(kept.get(path, accept=AS_STORED).content)
    assert head.content == b""


@pytest.mark.parametrize("accept", [None, "*/*", 'multipart/related; type="application/dicom"'])
def test_without_a_transfer_syntax_it_is_explicit_little_endian_decompressed(kept, photos, accept):
    ds, path = photos["SC_rgb_jpeg_dcmtk.dcm"]
    ((headers, content),) = parts_of(kept.get(path, accept=accept))
    assert headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    decoded = pydicom.dcmread(io.BytesIO(content))
    assert decoded.file_meta.TransferSyntaxUID == EXPLICIT
    assert decoded.pixel_array.shape == (ds.Rows, ds.Columns, 3)


def test_a_named_transfer_syntax_is_given_if_it_is_the_stored_one_and_refused_else(kept, photos):
    ds, path = photos["SC_rgb_jpeg_dcmtk.dcm"]
    accept = 'multipart/related; type="application/dicom"; transfer-syntax='
    stored = ds.file_meta.TransferSyntaxUID
    assert kept.get(path, accept=accept + stored).status_code == 200
    assert kept.get(path, accept=accept + "1.2.840.10008.1.2.4.90").status_code == 406
    both = f"{accept}1.2.840.10008.1.2.4.90, {accept}*;q=0.5"
    ((headers, _),) = parts_of(kept.get(path, accept=both))
    assert headers["content-type"].endswith(stored)


def test_what_cannot_be_decompressed_is_406_and_as_stored_whole(kept):
    path = encapsulated(kept, MPEG4, [b"video stream"])
    assert kept.get(path).status_code == 406
    assert kept.get(path, accept=AS_STORED).status_code == 200


def test_one_instance_may_come_alone_and_several_may_not(kept):
    instance = f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1"
    answer = kept.get(instance, accept="application/dicom")
    assert answer.headers["content-type"].startswith("application/dicom;")
    assert answer.content.endswith(kept.sets[0])
    assert answer.headers["content-disposition"].startswith("attachment")
    assert kept.get(f"/dicomweb/studies/{STUDY}", accept="application/dicom").status_code == 406


def test_a_study_as_a_zip_file_holds_its_files(kept):
    answer = kept.get(f"/dicomweb/studies/{STUDY}", accept="application/zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = [archive.read(name) for name in sorted(archive.namelist())]
    assert [file[-len(data) :] for file, data in zip(files, kept.sets, strict=True)] == kept.sets


@pytest.mark.parametrize(
    "path",
    [
        "/studies/2.25.31337",
        f"/studies/{STUDY}/series/2.25.31337",
        f"/studies/{STUDY}/series/{SERIES}/instances/2.25.31337",
        f"/studies/{STUDY}/series/{SERIES}/instances/{OTHER}.1",
        f"/studies/2.25.31337/series/{SERIES}",
        "/studies/..%2F..%2Fetc%2Fpasswd",
        "/studies/" + "1" * 65,
    ],
)
@pytest.mark.parametrize("what", ["", "/metadata", "/rendered", "/thumbnail"])
def test_what_is_not_there_is_404_in_one_shape(kept, path, what):
    answer = kept.get("/dicomweb" + path + what)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"


def test_another_facilitys_study_is_not_told_apart_from_an_unknown_one(kept):
    there = kept.get(f"/dicomweb/studies/{STUDY}", as_="sender@SOUTH")
    unknown = kept.get("/dicomweb/studies/2.25.31337", as_="sender@SOUTH")
    assert there.status_code == unknown.status_code == 404
    a, b = there.json(), unknown.json()
    a.pop("request_id"), b.pop("request_id")
    assert a == b
    assert kept.get(f"/dicomweb/studies/{STUDY}", as_="clinician@SOUTH").status_code == 200
    assert kept.get(f"/dicomweb/studies/{STUDY}", as_="operator").status_code == 403


# --- metadata


def test_metadata_are_the_data_sets_without_pixels_and_say_the_stored_transfer_syntax(kept):
    found = rows(kept.get(f"/dicomweb/studies/{STUDY}/metadata"))
    assert {values(row, "00080018")[0] for row in found} == {uid_in(data) for data in kept.sets}
    assert values(found[0], "00083002") == [EXPLICIT]
    assert "00020010" not in found[0]
    uri = found[0]["7FE00010"]["BulkDataURI"]
    assert uri.startswith(str(kept.client.base_url).rstrip("/") + "/dicomweb/studies/")
    assert kept.get(uri).status_code == 200


def test_metadata_are_compressed_where_that_is_accepted(kept):
    path = f"/dicomweb/studies/{STUDY}/metadata"
    plain = kept.get(path, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with kept.client.stream(
        "GET", path, headers={**kept.auth("clinician@NORTH"), "accept-encoding": "gzip"}
    ) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        raw = b"".join(answer.iter_raw())
    assert json.loads(gzip.decompress(raw)) == json.loads(plain.content)


def test_metadata_have_a_tag_that_changes_when_an_instance_comes(world):
    study = fresh_uid()
    world.keep(data_set(study, number=1))
    path = f"/dicomweb/studies/{study}/metadata"
    first = world.get(path)
    assert "private" in first.headers["cache-control"]
    again = world.get(path, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    world.keep(data_set(study, number=2))
    late = world.get(path, headers={"if-none-match": first.headers["etag"]})
    assert late.status_code == 200
    assert len(rows(late)) == 2


def test_metadata_come_in_xml_where_only_that_is_accepted(kept):
    answer = kept.get(
        f"/dicomweb/studies/{STUDY}/metadata",
        accept='multipart/related; type="application/dicom+xml"',
    )
    models = [from_xml(content)[0] for _, content in parts_of(answer)]
    assert len(models) == 4
    assert kept.get(f"/dicomweb/studies/{STUDY}/metadata", accept="text/csv").status_code == 406


# --- frames


def test_a_frame_comes_as_octets_alone_or_in_parts(kept):
    path = f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.2/frames/1"
    pixels = struct.pack("<H", 2) * 16
    ((headers, content),) = parts_of(kept.get(path))
    assert content == pixels
    assert headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert headers["content-location"].endswith("/frames/1")
    alone = kept.get(path, accept="application/octet-stream")
    assert alone.content == pixels
    assert kept.get(path, accept="image/jls").status_code == 406


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ("2", 404),
        ("1,2", 404),
        ("999999999", 404),
        ("0", 400),
        ("-1", 400),
        ("x", 400),
        ("1,,2", 400),
        ("1.5", 400),
        ("1" * 30, 400),
        ("%D9%A1", 400),
        (",".join(["1"] * 10_001), 400),
    ],
)
def test_a_frame_out_of_range_is_404_and_what_is_no_number_400(kept, frames, status):
    path = f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.2/frames/{frames}"
    assert kept.get(path).status_code == status
    assert kept.get(path + "/rendered").status_code == status


def test_frames_of_a_compressed_instance_as_stored_and_decoded(kept, photos):
    ds, path = photos["SC_rgb_rle_2frame.dcm"]
    stored = kept.get(
        path + "/frames/2,1",
        accept="multipart/related; type=application/octet-stream; transfer-syntax=*",
    )
    parts = parts_of(stored)
    assert [h["content-location"][-1] for h, _ in parts] == ["2", "1"]
    assert all(h["content-type"].endswith("1.2.840.10008.1.2.5") for h, _ in parts)
    named = parts_of(
        kept.get(path + "/frames/1", accept='multipart/related; type="image/dicom-rle"')
    )
    assert named[0][1] == parts[1][1]
    assert named[0][0]["content-type"] == "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"
    decoded = parts_of(kept.get(path + "/frames/1,2"))
    planar = ds.PlanarConfiguration == 1
    for index, (_, content) in enumerate(decoded):
        expected = ds.pixel_array[index]
        if planar:
            expected = expected.transpose(2, 0, 1)
        assert content == np.ascontiguousarray(expected).tobytes()


def test_every_pair_of_media_type_and_transfer_syntax_is_the_standards():
    for media_type, syntaxes in SYNTAXES.items():
        for syntax in syntaxes:
            ranges = parse_accept([f'multipart/related; type="{media_type}"'])
            form = form_of_frames(ranges, syntax, count=1)
            assert (form.media_type, form.transfer_syntax_uid) == (media_type, syntax)
            named = parse_accept([f'multipart/related; type="{media_type}"; transfer-syntax=1.2'])
            with pytest.raises(NotAcceptable):
                form_of_frames(named, syntax, count=1)
    assert media_type_of_frames(EXPLICIT) == "application/octet-stream"


def test_what_a_common_viewer_asks_for_is_given_as_stored():
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    form = form_of_frames(parse_accept([accept]), "1.2.840.10008.1.2.4.80", count=1)
    assert (form.media_type, form.transfer_syntax_uid, form.decoded) == (
        "application/octet-stream",
        "1.2.840.10008.1.2.4.80",
        False,
    )
    form = form_of_frames(parse_accept(["image/jls"]), "1.2.840.10008.1.2.4.80", count=1)
    assert (form.media_type, form.multipart) == ("image/jls", False)


def test_video_frames_are_never_octets_of_a_decoded_frame():
    form = form_of_frames([], MPEG4, count=1)
    assert form.media_type == "video/mp4"
    with pytest.raises(NotAcceptable):
        form_of_frames(parse_accept(["application/octet-stream"]), MPEG4, count=1)


def test_frame_lists_are_read_in_their_order():
    assert frame_numbers("3, 1,2") == [3, 1, 2]
    with pytest.raises(BadRequest):
        frame_numbers("")


# --- bulk data


def test_bulk_data_honour_ranges_and_come_in_parts_where_that_is_asked(kept):
    path = f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.3/bulk/7FE00010"
    pixels = struct.pack("<H", 3) * 16
    whole = kept.get(path)
    assert whole.content == pixels
    assert whole.headers["accept-ranges"] == "bytes"
    part = kept.get(path, headers={"range": "bytes=2-5"})
    assert part.status_code == 206
    assert part.content == pixels[2:6]
    assert part.headers["content-range"] == "bytes 2-5/32"
    assert kept.get(path, headers={"range": "bytes=32-"}).status_code == 416
    tagged = kept.get(path, headers={"if-none-match": whole.headers["etag"]})
    assert tagged.status_code == 304
    ((_, content),) = parts_of(
        kept.get(path, accept='multipart/related; type="application/octet-stream"')
    )
    assert content == pixels
    assert kept.get(path, accept="image/png").status_code == 406


@pytest.mark.parametrize("bulk", ["00100010/1", "nonsense", "..%2F..", "7FE00010/x", "00091001"])
def test_bulk_data_that_are_not_there_are_404(kept, bulk):
    path = f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.3/bulk/{bulk}"
    assert kept.get(path).status_code == 404


def test_compressed_pixel_data_come_as_bulk_frame_by_frame(kept, photos):
    _, path = photos["SC_rgb_rle_2frame.dcm"]
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    assert len(parts_of(kept.get(path + "/bulk/7FE00010", accept=accept))) == 2


# --- pictures


def test_a_frame_is_rendered_as_jpeg_or_png(kept, photos):
    ds, path = photos["CT_small.dcm"]
    jpeg = kept.get(path + "/rendered")
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert imagecodecs.jpeg_decode(jpeg.content).shape[:2] == (ds.Rows, ds.Columns)
    png = kept.get(path + "/frames/1/rendered", accept="image/png")
    assert imagecodecs.png_decode(png.content).shape[:2] == (ds.Rows, ds.Columns)
    again = kept.get(path + "/rendered", headers={"if-none-match": jpeg.headers["etag"]})
    assert again.status_code == 304


def test_window_viewport_and_quality_change_the_picture(kept, photos):
    _, path = photos["CT_small.dcm"]
    path += "/rendered"
    plain = kept.get(path, accept="image/png").content
    assert kept.get(path + "?window=40,80", accept="image/png").content != plain
    small = kept.get(path + "?viewport=32,32", accept="image/png").content
    assert imagecodecs.png_decode(small).shape[:2] == (32, 32)
    assert len(kept.get(path + "?quality=5").content) < len(kept.get(path + "?quality=95").content)
    noted = kept.get(path + "?annotation=patient,technique&iccprofile=yes")
    assert noted.status_code == 200
    assert noted.headers["warning"].startswith("299")


@pytest.mark.parametrize(
    "query",
    ["window=1", "window=a,b", "viewport=-1,5", "quality=0", "quality=x", "annotation=x", "foo=1"],
)
def test_a_rendering_parameter_that_makes_no_sense_is_400(kept, photos, query):
    _, path = photos["CT_small.dcm"]
    assert kept.get(f"{path}/rendered?{query}").status_code == 400


def test_a_series_or_study_is_rendered_by_one_of_its_images_or_by_all(kept):
    for path in (f"/dicomweb/studies/{STUDY}", f"/dicomweb/studies/{STUDY}/series/{SERIES}"):
        assert kept.get(path + "/rendered").headers["content-type"] == "image/jpeg"
    answer = kept.get(
        f"/dicomweb/studies/{STUDY}/series/{SERIES}/rendered",
        accept='multipart/related; type="image/png"',
    )
    assert [h["content-type"] for h, _ in parts_of(answer)] == ["image/png"] * 3


def test_a_thumbnail_is_given_at_every_level_and_for_what_has_no_picture(kept, photos):
    paths = [
        f"/dicomweb/studies/{STUDY}",
        f"/dicomweb/studies/{STUDY}/series/{SERIES}",
        f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1",
        f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1/frames/1",
        photos["SC_rgb_rle_2frame.dcm"][1],
        encapsulated(kept, MPEG4, [b"video stream"]),
        encapsulated(kept, JPEG, [b"no jpeg at all"]),
    ]
    for path in paths:
        answer = kept.get(path + "/thumbnail?viewport=64,64")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("image/")


def test_a_frame_that_cannot_be_decoded_is_a_problem_and_no_5xx(kept):
    path = encapsulated(kept, JPEG, [b"no jpeg at all"])
    for what in ("/rendered", "/frames/1"):
        assert kept.get(path + what).status_code == 406


def test_a_video_is_rendered_as_it_is(kept):
    path = encapsulated(kept, MPEG4, [b"video stream"])
    answer = kept.get(path + "/rendered")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content == b"video stream"
    assert kept.get(path + "/rendered", accept="image/jpeg").status_code == 406


# --- WADO-URI


def wado(kept, **query):
    return kept.get("/dicomweb/wado", params={"requestType": "WADO", **query})


def test_wado_uri_gives_files_and_pictures(kept, photos):
    uids = {"studyUID": STUDY, "seriesUID": SERIES, "objectUID": f"{SERIES}.1"}
    file = wado(kept, **uids, contentType="application/dicom")
    assert file.headers["content-type"].startswith("application/dicom")
    assert file.content.endswith(kept.sets[0])
    assert wado(kept, **uids).headers["content-type"] == "image/jpeg"
    png = wado(kept, **uids, contentType="image/png", rows="2", columns="2", windowCenter="1",
               windowWidth="10")  # fmt: skip
    assert imagecodecs.png_decode(png.content).shape[:2] == (2, 2)
    region = wado(kept, **uids, contentType="image/png", region="0,0,0.5,0.5")
    assert imagecodecs.png_decode(region.content).shape[:2] == (2, 2)
    assert wado(kept, objectUID=f"{SERIES}.1").status_code == 200
    stored = wado(kept, **uids, contentType="application/dicom", transferSyntax=EXPLICIT)
    assert stored.status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"objectUID": ""}, 400),
        ({"requestType": "X", "objectUID": f"{SERIES}.1"}, 400),
        ({"objectUID": f"{SERIES}.1", "anonymize": "yes"}, 400),
        ({"objectUID": f"{SERIES}.1", "rows": "0"}, 400),
        ({"objectUID": f"{SERIES}.1", "rows": "99999999"}, 400),
        ({"objectUID": f"{SERIES}.1", "region": "1,1,0,0"}, 400),
        ({"objectUID": f"{SERIES}.1", "frameNumber": "0"}, 400),
        ({"objectUID": f"{SERIES}.1", "frameNumber": "5"}, 404),
        ({"objectUID": f"{SERIES}.1", "contentType": "text/html"}, 406),
        ({"objectUID": "2.25.31337"}, 404),
        ({"objectUID": "../../etc"}, 404),
        ({"objectUID": f"{SERIES}.1", "studyUID": "2.25.31337"}, 404),
        ({"objectUID": f"{SERIES}.1", "seriesUID": OTHER}, 404),
        ({"objectUID": f"{SERIES}.1", "unknown": "ignored"}, 200),
    ],
)
def test_wado_uri_says_what_is_wrong(kept, query, status):
    assert wado(kept, **query).status_code == status
