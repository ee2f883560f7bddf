"""`Archive`: the one way out, behind every door.

Every answer goes the same way: the gate is asked; its answer is recorded in the ledger; the index is
read through the view that was permitted, and through nothing wider. Only then do bytes go. What is
not to be seen is not told apart from what is not there: both are NotFound, after the same steps.

Bytes are views into the journal. Nothing is copied here, and nothing of a data set is parsed to be
handed out as it was received.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from sebago.dicom.part10 import write_meta
from sebago.errors import Denied, NotFound
from sebago.gate import About, Act, Asker, Decision, Scope, decide
from sebago.index import instances as questions
from sebago.index.engine import Index
from sebago.index.instances import Held
from sebago.index.studies import custodians
from sebago.index.views import View
from sebago.journal import Reader
from sebago.ledger import AccessLog
from sebago.retrieve.answers import Answer, Level, Metadata, Query
from sebago.retrieve.metadata import (
    MetadataStore,
    ReadyAnswers,
    array,
    encoded,
    position_of,
)
from sebago.retrieve.prepare import Preparer
from sebago.retrieve.search import search


class Archive:
    """One process's way out: its view of the index and the journal. Safe for its threads."""

    def __init__(
        self,
        index: Index,
        journal_dir: Path,
        access_log: AccessLog,
        *,
        matches_max: int,
        metadata_cache_bytes: int,
    ) -> None:
        self._index = index
        self._access_log = access_log
        self._matches_max = matches_max
        self._reader = Reader(journal_dir)
        self._metadata = MetadataStore(index, self._reader)
        self._ready = ReadyAnswers(metadata_cache_bytes)
        self._preparer = Preparer(index, self._metadata)

    def close(self) -> None:
        """Let the journal's segments go; views that are held stay good."""
        self._reader.close()

    def search(self, asker: Asker, query: Query, *, address: str = "") -> Answer:
        """Matches in the asker's view, newest study first.

        Raises:
            Denied: the asker may not search.
            BadRequest: a key that cannot be understood.
            TooMany: more matches than may be listed, and the query names no limit.
        """
        decision = decide(asker, Act.SEARCH, None)
        keys = {"/".join(f"{tag:08X}" for tag in path): value for path, value in query.keys.items()}
        self._access_log.record_access(
            asker,
            Act.SEARCH,
            decision,
            query={"level": query.level.value, **{k: v for k, v in keys.items() if v}},
            address=address,
        )
        view = _view(asker, decision)
        with self._index.read() as conn:
            return search(conn, view, query, matches_max=self._matches_max)

    def locate(
        self,
        asker: Asker,
        study_instance_uid: str,
        series: str | Sequence[str] | None = None,
        instances: str | Sequence[str] | None = None,
        *,
        patient_id: str = "",
        address: str = "",
    ) -> list[Held]:
        """The instances of a study in the asker's view, as viewers draw them.

        Args:
            asker: who asks.
            study_instance_uid: of one study.
            series: Series Instance UIDs to keep to; None or empty: all.
            instances: SOP Instance UIDs to keep to; None or empty: all.
            patient_id: only of this patient; a study UID may have been used for two.
            address: network address of the asker, for the record.

        Raises:
            Denied: the asker may not retrieve anything.
            NotFound: nothing of the kind is to be seen.
        """
        wanted_series, wanted_instances = _several(series), _several(instances)
        may_at_all = decision = decide(asker, Act.RETRIEVE, None)
        found: list[Held] = []
        if may_at_all.permit:
            with self._index.read() as conn:
                held_by = custodians(conn, study_instance_uid)
                decision = decide(asker, Act.RETRIEVE, About(held_by))
                found = questions.held(
                    conn,
                    _view(asker, may_at_all),
                    study_instance_uid,
                    wanted_series[0] if len(wanted_series) == 1 else None,
                    wanted_instances[0] if len(wanted_instances) == 1 else None,
                    patient_id=patient_id,
                )
        self._access_log.record_access(
            asker,
            Act.RETRIEVE,
            decision,
            study_instance_uid=study_instance_uid,
            address=address,
        )
        _require(may_at_all)
        if not decision.permit:  # another facility's, or nobody's: the two are not told apart
            found = []
        if len(wanted_series) > 1:
            found = [one for one in found if one.series_instance_uid in wanted_series]
        if len(wanted_instances) > 1:
            found = [one for one in found if one.sop_instance_uid in wanted_instances]
        if not found:
            raise NotFound("there is nothing of that UID here, or nothing that you may see")
        return found

    def find_instance(self, asker: Asker, sop_instance_uid: str, *, address: str = "") -> Held:
        """An instance by its UID alone. Raises as `locate`."""
        decision = decide(asker, Act.RETRIEVE, None)
        study = ""
        if decision.permit:
            with self._index.read() as conn:
                study = questions.study_of(conn, _view(asker, decision), sop_instance_uid)
        return self.locate(asker, study, None, sop_instance_uid, address=address)[0]

    def studies_of(
        self, asker: Asker, *, series: Sequence[str], instances: Sequence[str]
    ) -> tuple[str, ...]:
        """Study Instance UIDs in the asker's view that series or instances belong to."""
        keys: dict[tuple[int, ...], str] = {}
        if series:
            keys[(0x0020000E,)] = "\\".join(series)
        if instances:
            keys[(0x00080018,)] = "\\".join(instances)
        level = Level.INSTANCE if instances else Level.SERIES
        rows = self.search(asker, Query(level, keys)).rows
        return tuple(dict.fromkeys(row["0020000D"]["Value"][0] for row in rows))

    def versions(self, facility: str, sop_instance_uid: str) -> list[Held]:
        """Every version that a facility sent under a UID, the current one first.

        For commands on the archive's own machine; doors have no use for it.
        """
        with self._index.read() as conn:
            return questions.versions(conn, facility, sop_instance_uid)

    def custodians(self, study_instance_uid: str) -> frozenset[str]:
        """Which facilities hold a study; for commands on the archive's own machine."""
        with self._index.read() as conn:
            return custodians(conn, study_instance_uid)

    def open(self, held: Held) -> memoryview:
        """The data set as it was received, mapped, read only.

        Raises:
            Damaged: the journal does not hold it any more as it was written.
        """
        return self._reader.view(position_of(held))

    def read(self, held: Held) -> bytes:
        """A copy of the data set as it was received. Raises Damaged."""
        return self._reader.read(position_of(held))

    def part10_header(self, held: Held) -> bytes:
        """Preamble, prefix and file meta information for the data set as stored (PS3.10 7.1)."""
        return write_meta(held.sop_class_uid, held.sop_instance_uid, held.transfer_syntax_uid)

    def metadata(
        self,
        asker: Asker,
        study_instance_uid: str,
        series: str | None = None,
        instance: str | None = None,
        *,
        base_url: str,
        gzip: bool,
        address: str = "",
    ) -> Metadata:
        """DICOM JSON of the instances of a study, series or instance (PS3.18 10.4.1.1.2).

        Args:
            base_url: what bulk data addresses begin with, such as `https://host/dicomweb`.
            gzip: the client takes that content coding.

        Raises:
            NotFound, Denied: as `locate`.
        """
        held = self.locate(asker, study_instance_uid, series, instance, address=address)
        etag = _etag(held, base_url)
        ready = self._ready.get(etag, gzip=gzip)
        if ready is not None:
            return Metadata(etag, gzip, len(ready), iter((ready,)))
        if instance is not None:
            pieces: Iterator[bytes] = iter([self._metadata.lines.line(one) for one in held])
        else:
            pieces = self._pieces(held)
        whole, body = encoded(array(pieces, base_url.encode()), gzip=gzip)
        if whole is not None and instance is None:
            self._ready.put(etag, whole, gzip=gzip)
        return Metadata(etag, gzip, len(whole) if whole is not None else None, body)

    def _pieces(self, held: Sequence[Held]) -> Iterator[bytes]:
        by_series: dict[int, list[Held]] = {}
        for one in held:  # a series that two facilities hold in part is two of these
            by_series.setdefault(one.series_id, []).append(one)
        for series_id, some in by_series.items():
            yield from self._metadata.series(series_id, some)

    def prepare_metadata(self) -> int:
        """Make JSON ready for what arrived since the last call; how many instances.

        Called by the keeper, from one thread.
        """
        return self._preparer.once()


def _several(uids: str | Sequence[str] | None) -> tuple[str, ...]:
    if uids is None:
        return ()
    return (uids,) if isinstance(uids, str) else tuple(uids)


def _require(decision: Decision) -> None:
    if not decision.permit:
        raise Denied("the gate does not permit it", reason=decision.reason)


def _view(asker: Asker, decision: Decision) -> View:
    """What the index may be read through. Raises Denied."""
    _require(decision)
    return View(asker.facility, exchange=decision.scope is Scope.EXCHANGE)


def _etag(held: Sequence[Held], base_url: str) -> str:
    """By content: row ids are given out anew when the index is made again."""
    digest = hashlib.blake2b(base_url.encode(), digest_size=16)
    for one in held:
        digest.update(one.digest)
        digest.update(one.transfer_syntax_uid.encode())
    return f'"{digest.hexdigest()}"'
