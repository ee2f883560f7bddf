"""Every error that Sebago raises on purpose, and what each door answers for it.

    SebagoError
    ├── SendersFault      the object or the request is wrong: sending it again changes nothing
    │   ├── NotDicom, Truncated, Mismatch, MissingIdentifier, TooLarge, TooDeep, NotSupported
    │   └── BadRequest (and its kinds: a query, a body or a media type that cannot be understood)
    ├── TryLater          nothing is wrong with it: there is no room or no answer just now
    ├── Damaged           what was kept does not agree with its digest
    ├── Denied            who asks is unknown, or may not; or nothing of the kind is to be seen
    └── OperatorsFault    a command or a setting that cannot be carried out as given

`code` is stable: it stands in logs, problem details, metrics and the command line. Messages name
UIDs, offsets and counts and say what to do; they never name a patient.
"""

from __future__ import annotations

from typing import ClassVar


class SebagoError(Exception):
    """Root of the tree. `str(error)` is what happened, `why` the cause, `do` what helps."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something failed inside the archive"
    http_status: ClassVar[int] = 500
    dimse_status: ClassVar[int] = 0x0110
    """PS3.7 annex C; 0110 is 'processing failure'. Also the STOW FailureReason (0008,1197)."""
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str, *, why: str = "", do: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.why = why
        self.do = do


# --- the sender's fault -------------------------------------------------------------------------


class SendersFault(SebagoError):
    """The object or request is wrong as it stands."""

    code = "senders-fault"
    title = "The request cannot be carried out"
    http_status = 400
    dimse_status = 0xC000


class NotDicom(SendersFault):
    """The bytes are not a DICOM data set in the transfer syntax that was named (PS3.5 7)."""

    code = "not-dicom"
    title = "Not a DICOM data set"


class Truncated(NotDicom):
    """An element claims more bytes than arrived: the data set was cut off on its way."""

    code = "truncated"
    title = "The data set is cut off"


class TooDeep(NotDicom):
    """Sequences nest deeper than `dicom.NESTING_MAX`."""

    code = "too-deep"
    title = "Sequences nest too deep"


class Inflated(SendersFault):
    """Compressed input grows past its limit: a decompression bomb, or an object too large."""

    code = "inflates-too-far"
    title = "Compressed input grows past the limit"
    http_status = 413


class MissingIdentifier(SendersFault):
    """A study, series or instance UID or the SOP class is absent or unusable."""

    code = "missing-identifier"
    title = "A required identifier is absent"


class Mismatch(SendersFault):
    """The data set is not what the command or the file meta information says (PS3.4 B.2.3)."""

    code = "mismatch"
    title = "The data set is not what was announced"
    http_status = 409
    dimse_status = 0xA900


class TooLarge(SendersFault):
    """The object or body is larger than a limit allows (`max_instance_bytes`, request limits)."""

    code = "too-large"
    title = "Larger than this archive accepts"
    http_status = 413


class NotSupported(SendersFault):
    """A SOP class or transfer syntax that this archive does not take or cannot produce."""

    code = "not-supported"
    title = "Not supported"
    http_status = 406
    dimse_status = 0x0122


class BadRequest(SendersFault):
    """A query key, parameter or header cannot be understood."""

    code = "bad-request"
    title = "The request cannot be understood"


class UnsupportedMediaType(SendersFault):
    """The body is of a media type that the resource does not take."""

    code = "unsupported-media-type"
    title = "Unsupported media type"
    http_status = 415


class NotAcceptable(SendersFault):
    """Nothing that the client accepts can be made of what is stored (PS3.18 8.7)."""

    code = "not-acceptable"
    title = "Not acceptable"
    http_status = 406


class TooMany(SendersFault):
    """A query matches more than a door is willing to list at once."""

    code = "too-many-matches"
    title = "Too many matches"
    http_status = 413
    dimse_status = 0xA700


class PeerBrokeProtocol(SendersFault):
    """A DICOM upper layer peer sent what PS3.8 does not allow: the association is aborted."""

    code = "protocol-broken"
    title = "The peer broke the DICOM upper layer protocol"


# --- try later ----------------------------------------------------------------------------------


class TryLater(SebagoError):
    """Nothing is wrong with the request; the archive cannot take or answer it just now."""

    code = "try-later"
    title = "Try again later"
    http_status = 503
    dimse_status = 0xA700  # Refused: out of resources, PS3.4 B.2.3
    retry_after_s = 30


class DiskFull(TryLater):
    """Storing would eat into the free space kept in reserve (`journal_reserve_bytes`)."""

    code = "disk-full"
    title = "No room to store"
    http_status = 507


class JournalBehind(TryLater):
    """More bytes wait for the journal's sync than `journal_queue_bytes_max` allows."""

    code = "journal-behind"
    title = "The journal is behind"


class JournalFailed(TryLater):
    """A write or sync of the journal failed; the segment is given up, the next one is tried."""

    code = "journal-failed"
    title = "The journal could not be written"


class IndexAway(TryLater):
    """The index database does not answer."""

    code = "index-away"
    title = "The index does not answer"


class PeerAway(TryLater):
    """A DICOM peer refused or ended an association, went silent, or cannot be reached."""

    code = "peer-away"
    title = "The other system does not answer"


# --- damaged ------------------------------------------------------------------------------------


class Damaged(SebagoError):
    """Kept bytes do not agree with their digest or checksum; they are not handed out."""

    code = "damaged"
    title = "The stored copy is damaged"


# --- denied -------------------------------------------------------------------------------------


class Denied(SebagoError):
    """The gate said no. `reason` is the gate's stable reason code."""

    code = "denied"
    title = "Not allowed"
    http_status = 403
    dimse_status = 0x0124  # Refused: not authorized, PS3.7 annex C

    def __init__(self, detail: str, *, reason: str = "denied", why: str = "", do: str = "") -> None:
        super().__init__(detail, why=why, do=do)
        self.reason = reason


class NotSignedIn(Denied):
    """No credential, or one that is unknown, expired, revoked or disabled."""

    code = "not-signed-in"
    title = "Sign in first"
    http_status = 401


class NotFound(SebagoError):
    """Nothing of the kind, or nothing that may be seen: the two are not told apart."""

    code = "not-found"
    title = "Not found"
    http_status = 404
    dimse_status = 0x0112  # No such SOP instance, PS3.7 annex C


# --- the operator's fault -----------------------------------------------------------------------


class OperatorsFault(SebagoError):
    """A command or setting that cannot be carried out as given; the command exits with 1."""

    code = "cannot-do"
    title = "Cannot be done as given"
    http_status = 400


class BadValue(OperatorsFault):
    """An argument is not of the form that it must have: usage, the command exits with 2."""

    code = "bad-value"
    title = "Not a valid value"


class NotRegistered(OperatorsFault):
    """The login, token id or AE title is not registered."""

    code = "not-registered"
    title = "Not registered"


class UnknownFacility(OperatorsFault):
    """The facility code is not registered."""

    code = "unknown-facility"
    title = "Unknown facility"


class AlreadyThere(OperatorsFault):
    """The code, AE title or login is taken."""

    code = "already-there"
    title = "Already there"
    http_status = 409


class PortTaken(OperatorsFault):
    """A door cannot listen on its address."""

    code = "port-taken"
    title = "Cannot listen"


class NewerDatabase(OperatorsFault):
    """The database was written by a newer Sebago; this one refuses to touch it."""

    code = "newer-database"
    title = "The database is newer than this program"
