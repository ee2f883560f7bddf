"""DICOM JSON of whole series, kept ready.

The JSON of an instance is written once, soon after it arrived (by the keeper) or when it is first
asked for, and kept in the index with its neighbours: a chunk is a zstd frame of JSON objects, one a
line. An answer is made of chunks without parsing anything: 1,800 instances are some ten chunks.
What no chunk holds yet, in a series that is still arriving, is written at request time and put
into a chunk of its own.

Addresses in it are written with a placeholder, so that the same chunk serves every name under which
clients reach us; it is replaced as the answer goes out.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import imagecodecs
import structlog
import zstandard

from sebago.dicom.json_model import BULK_BASE, JsonWriter, bulk_uri
from sebago.errors import SebagoError
from sebago.index import metadata as chunks
from sebago.index.engine import Index
from sebago.index.instances import Held
from sebago.journal import Position, Reader

log = structlog.get_logger()

CHUNK_INSTANCES: Final = 256
"""Objects in a chunk: about 1 MB of JSON, 40 kB compressed."""
ZSTD_LEVEL: Final = 3
SEPARATOR: Final = b",\n"
Run = Callable[[Callable[[], bytes]], bytes]
"""Carries out a piece of work, here or elsewhere, and gives back what it made."""
WHOLE_BYTES_MAX: Final = 32 * 1024 * 1024
"""An answer up to this length is put together in memory, kept and compressed in one go."""


def position_of(held: Held) -> Position:
    """Where the journal keeps an instance's data set."""
    return Position(
        held.writer,
        held.segment,
        held.data_offset,
        held.data_length,
        held.data_offset + held.data_length,
    )


class JsonLines:
    """Writes the DICOM JSON of instances; one writer a thread, as each remembers its series."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._writers = threading.local()

    def line(self, held: Held) -> bytes:
        """One instance's JSON object, on one line.

        What was accepted can be read, but should a line fail, the answer for the others must not:
        the instance is then shown by its identifiers alone, and the log says why.
        """
        writer: JsonWriter | None = getattr(self._writers, "writer", None)
        if writer is None:
            writer = self._writers.writer = JsonWriter()
        uri = bulk_uri(held.study_instance_uid, held.series_instance_uid, held.sop_instance_uid)
        try:
            view = self._reader.view(position_of(held))
            return writer.write(view, held.transfer_syntax_uid, bulk_uri=uri)
        except SebagoError as error:
            log.error(
                "metadata-not-written",
                sop_instance_uid=held.sop_instance_uid,
                code=error.code,
                why=error.detail,
            )
        except Exception as error:  # noqa: BLE001  (one odd object must not hide its whole series)
            log.error(
                "metadata-not-written",
                sop_instance_uid=held.sop_instance_uid,
                code="internal",
                why=type(error).__name__,
            )
        return _identifiers_only(held)


def _identifiers_only(held: Held) -> bytes:
    return (
        f'{{"00080016":{{"vr":"UI","Value":["{held.sop_class_uid}"]}},'
        f'"00080018":{{"vr":"UI","Value":["{held.sop_instance_uid}"]}},'
        f'"0020000D":{{"vr":"UI","Value":["{held.study_instance_uid}"]}},'
        f'"0020000E":{{"vr":"UI","Value":["{held.series_instance_uid}"]}}}}'
    ).encode()


class MetadataStore:
    """Chunks of JSON lines of series: reads them, makes what is missing. Safe for threads."""

    def __init__(self, index: Index, reader: Reader) -> None:
        self._index = index
        self.lines = JsonLines(reader)

    def series(self, series_id: int, held: Sequence[Held]) -> Iterator[bytes]:
        """Comma-separated JSON objects of one series as one facility holds it, a chunk at a time.

        Args:
            held: its instances as they were located.
        """
        with self._index.read() as conn:
            ready = list(chunks.chunks(conn, series_id))
        wanted = {one.instance_id: one for one in held}
        for chunk in ready:
            text = zstandard.ZstdDecompressor().decompress(chunk.body)
            if wanted.keys() >= set(chunk.instance_ids):
                yield text
                for instance_id in chunk.instance_ids:
                    del wanted[instance_id]
            else:  # some of them are not to be shown, or have gone since
                lines = text.split(SEPARATOR)
                some = [
                    line
                    for instance_id, line in zip(chunk.instance_ids, lines, strict=True)
                    if wanted.pop(instance_id, None) is not None
                ]
                if some:
                    yield SEPARATOR.join(some)
        missing = list(wanted.values())
        for start in range(0, len(missing), CHUNK_INSTANCES):
            yield self._make(series_id, missing[start : start + CHUNK_INSTANCES])

    def _make(self, series_id: int, held: Sequence[Held]) -> bytes:
        """Write the JSON of these instances and keep it; keeping may fail, the answer does not."""
        text = self._text(held)
        try:
            self._keep(series_id, held, _compressed(text))
        except SebagoError as error:
            log.warning("metadata-not-kept", code=error.code)
        return text

    def _body(self, held: Sequence[Held]) -> bytes:
        return _compressed(self._text(held))

    def _text(self, held: Sequence[Held]) -> bytes:
        return SEPARATOR.join([self.lines.line(one) for one in held])

    def _keep(self, series_id: int, held: Sequence[Held], body: bytes) -> bool:
        with self._index.write() as conn:
            return chunks.add_chunk(conn, series_id, [one.instance_id for one in held], body)

    def prepare(self, series_id: int, held: Sequence[Held], run: Run) -> int:
        """Make chunks of these instances, which have none; how many were put into chunks.

        Args:
            series_id: of all of them.
            held: the instances.
            run: calls what takes the processor's time; the database's turn is taken outside it.
        """
        done = 0
        for start in range(0, len(held), CHUNK_INSTANCES):
            some = held[start : start + CHUNK_INSTANCES]
            body = run(partial(self._body, some))
            if self._keep(series_id, some, body):
                done += len(some)
        return done


def _compressed(text: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(text)


class ReadyAnswers:
    """Whole answers that were asked for lately, by ETag and encoding, bounded in bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, bool], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, etag: str, *, gzip: bool) -> bytes | None:
        """The answer, if it is kept."""
        with self._lock:
            found = self._kept.get((etag, gzip))
            if found is not None:
                self._kept.move_to_end((etag, gzip))
            return found

    def put(self, etag: str, body: bytes, *, gzip: bool) -> None:
        """Keep an answer, letting the least used go."""
        with self._lock:
            before = self._kept.pop((etag, gzip), b"")
            self._kept[(etag, gzip)] = body
            self._bytes += len(body) - len(before)
            while self._bytes > self._bytes_max and self._kept:
                self._bytes -= len(self._kept.popitem(last=False)[1])


def array(pieces: Iterator[bytes], base_url: bytes) -> Iterator[bytes]:
    """A JSON array of pieces that are comma-separated objects, with addresses filled in."""
    yield b"["
    first = True
    for piece in pieces:
        if not piece:
            continue
        text = piece.replace(BULK_BASE, base_url)
        yield text if first else SEPARATOR + text
        first = False
    yield b"]"


def encoded(pieces: Iterator[bytes], *, gzip: bool) -> tuple[bytes | None, Iterator[bytes]]:
    """Pieces with their content coding: whole if they are not too many, else as they come.

    libdeflate at level 1 makes some 400 MB/s where zlib makes 150.
    """
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > WHOLE_BYTES_MAX:
            rest = _chain(held, pieces)
            return None, _gzip_stream(rest) if gzip else rest
    body = b"".join(held)
    if gzip:
        body = bytes(imagecodecs.gzip_encode(body, level=1))
    return body, iter((body,))


def _chain(held: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from held
    held.clear()
    yield from rest


def _gzip_stream(pieces: Iterator[bytes]) -> Iterator[bytes]:
    compress = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        if out := compress.compress(piece):
            yield out
    yield compress.flush()


def journal_reader(journal_dir: Path) -> Reader:
    """A reader of the journal for retrieval."""
    return Reader(journal_dir)
