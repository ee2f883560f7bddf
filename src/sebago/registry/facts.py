"""The registry's events, and the projection of each into the tables.

Live changes and a rebuild go through the same `project`, so they cannot disagree. What the body
of each kind holds:

    facility.added   name, authority_namespace, authority_oid          subject: code
    peer.set         host, port (absent: it cannot be called)          subject: AE title
    peer.removed                                                       subject: AE title
    user.added       password_hash (argon2id), role                    subject: login
    user.disabled, user.enabled                                        subject: login
    token.created    secret_sha256, role, expires_us                   subject: token id
    token.revoked                                                      subject: token id

`facility` of the event is the facility that it concerns. Hashes are in the events because the
events alone must be enough to make the tables again; whoever shows events to people leaves
`SECRET_FIELDS` out.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from sebago.index import events as event_statements
from sebago.index import registry as statements
from sebago.ledger import Kind, Recorded, replay

PROJECTION: Final = "registry"
SECRET_FIELDS: Final = frozenset({"password_hash", "secret_sha256"})
KINDS: Final = (
    Kind.FACILITY_ADDED,
    Kind.PEER_SET,
    Kind.PEER_REMOVED,
    Kind.USER_ADDED,
    Kind.USER_DISABLED,
    Kind.USER_ENABLED,
    Kind.TOKEN_CREATED,
    Kind.TOKEN_REVOKED,
)


def project(conn: Connection, recorded: Recorded) -> None:
    """Bring the tables up to one event; in the transaction that appended it, or in a rebuild."""
    body = recorded.body
    match recorded.kind:
        case Kind.FACILITY_ADDED:
            statements.put_facility(
                conn,
                statements.FacilityRow(
                    code=recorded.subject,
                    name=body["name"],
                    authority_namespace=body["authority_namespace"],
                    authority_oid=body.get("authority_oid", ""),
                    added_us=recorded.at_us,
                ),
            )
        case Kind.PEER_SET:
            statements.put_peer(
                conn,
                statements.PeerRow(
                    ae_title=recorded.subject,
                    facility=recorded.facility,
                    host=body.get("host", ""),
                    port=body.get("port", 0),
                ),
            )
        case Kind.PEER_REMOVED:
            statements.remove_peer(conn, recorded.subject)
        case Kind.USER_ADDED:
            statements.put_user(
                conn,
                statements.UserRow(
                    login=recorded.subject,
                    password_hash=body["password_hash"],
                    role=body["role"],
                    facility=recorded.facility,
                    disabled=False,
                    added_us=recorded.at_us,
                ),
            )
        case Kind.USER_DISABLED | Kind.USER_ENABLED:
            statements.set_user_disabled(
                conn, recorded.subject, disabled=recorded.kind == Kind.USER_DISABLED
            )
        case Kind.TOKEN_CREATED:
            statements.put_token(
                conn,
                statements.TokenRow(
                    token_id=recorded.subject,
                    secret_sha256=body["secret_sha256"],
                    role=body["role"],
                    facility=recorded.facility,
                    created_us=recorded.at_us,
                    expires_us=body["expires_us"],
                    revoked_us=None,
                ),
            )
        case Kind.TOKEN_REVOKED:
            statements.revoke_token(conn, recorded.subject, revoked_us=recorded.at_us)
        case _:
            return
    event_statements.set_projected_seq(conn, PROJECTION, recorded.seq)


def rebuild(conn: Connection) -> int:
    """Empty the registry's tables and make them again of the ledger's events.

    In the caller's ledger transaction: readers see the old tables until it commits. Returns how
    many events there were.
    """
    statements.clear(conn)
    count = 0
    for recorded in replay(conn, kinds=KINDS):
        project(conn, recorded)
        count += 1
    return count
