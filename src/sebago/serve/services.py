"""Putting the archive together for one process: index, ledger, registry, intake, archive.

Opened after a fork, by every process that takes data in or gives it out, and by commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from sebago.index.engine import Index
from sebago.intake import Intake
from sebago.intake.accept import Limits
from sebago.intake.recover import recover
from sebago.ledger import AccessLog, Ledger
from sebago.registry import Registry
from sebago.retrieve import Archive
from sebago.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """What the doors of one process share."""

    index: Index
    registry: Registry
    intake: Intake
    archive: Archive

    @classmethod
    def open(
        cls, settings: Settings, *, spare_segments: int = 1, recover_journal: bool = True
    ) -> Services:
        """Open everything; what a dead process left in the journal is put into the index first.

        Args:
            settings: of this deployment.
            spare_segments: journal segments written ahead; 0 for a command that ends soon.
            recover_journal: False where that has just been done for all processes.

        Raises:
            NewerDatabase, IndexAway, OperatorsFault: as `Index.open`.
        """
        index = Index.open(settings.data, settings.database_url)
        if recover_journal:
            recover(index, settings.journal_dir)
        ledger = Ledger(index)
        access_log = AccessLog(ledger)
        return cls(
            index=index,
            registry=Registry(index, access_log=access_log, ledger=ledger),
            intake=Intake(index, settings.journal_dir, limits(settings, spare_segments)),
            archive=_archive(index, access_log, settings),
        )

    def close(self) -> None:
        """Let everything go."""
        self.intake.close()
        self.archive.close()
        self.index.dispose()

    def __enter__(self) -> Services:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def open_archive(settings: Settings) -> Iterator[Archive]:
    """The way out alone, for processes and commands that take nothing in."""
    index = Index.open(settings.data, settings.database_url)
    archive = _archive(index, AccessLog(Ledger(index)), settings)
    try:
        yield archive
    finally:
        archive.close()
        index.dispose()


def _archive(index: Index, access_log: AccessLog, settings: Settings) -> Archive:
    return Archive(
        index,
        settings.journal_dir,
        access_log,
        matches_max=settings.query_matches_max,
        metadata_cache_bytes=settings.metadata_cache_bytes,
    )


def limits(settings: Settings, spare_segments: int) -> Limits:
    """What one process may take in."""
    return Limits(
        segment_bytes=settings.journal_segment_bytes,
        reserve_bytes=settings.journal_reserve_bytes,
        queue_bytes_max=settings.journal_queue_bytes_max,
        inline_bytes_max=settings.inline_bytes_max,
        instance_bytes_max=settings.max_instance_bytes,
        inflated_bytes_max=settings.max_inflated_bytes,
        spare_segments=spare_segments,
    )
