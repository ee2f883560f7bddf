"""Statements on the registry's tables, all of them projections of the ledger's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from sebago.index.ledger_tables import facility, peer, token, user_account


@dataclass(frozen=True, slots=True)
class FacilityRow:
    """A registered facility."""

    code: str
    name: str
    authority_namespace: str
    authority_oid: str
    added_us: int


@dataclass(frozen=True, slots=True)
class PeerRow:
    """An AE title and whose it is; `host` is empty and `port` 0 where it cannot be called."""

    ae_title: str
    facility: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UserRow:
    """A local account; `password_hash` is argon2id with its parameters."""

    login: str
    password_hash: str
    role: str
    facility: str
    disabled: bool
    added_us: int


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A bearer token, without its secret; times are UTC in microseconds, `revoked_us` None: it is not."""

    token_id: str
    secret_sha256: str
    role: str
    facility: str
    created_us: int
    expires_us: int
    revoked_us: int | None


def facilities(conn: Connection) -> Sequence[FacilityRow]:
    """Every facility, by code."""
    rows = conn.execute(
        select(
            facility.c.code,
            facility.c.name,
            facility.c.authority_namespace,
            facility.c.authority_oid,
            facility.c.added_us,
        ).order_by(facility.c.code)
    )
    return [FacilityRow(*row) for row in rows]


def peers(conn: Connection) -> Sequence[PeerRow]:
    """Every AE title, by title."""
    rows = conn.execute(
        select(peer.c.ae_title, peer.c.facility, peer.c.host, peer.c.port).order_by(peer.c.ae_title)
    )
    return [PeerRow(*row) for row in rows]


def users(conn: Connection) -> Sequence[UserRow]:
    """Every account, by login."""
    rows = conn.execute(
        select(
            user_account.c.login,
            user_account.c.password_hash,
            user_account.c.role,
            user_account.c.facility,
            user_account.c.disabled,
            user_account.c.added_us,
        ).order_by(user_account.c.login)
    )
    return [UserRow(*row) for row in rows]


def tokens(conn: Connection) -> Sequence[TokenRow]:
    """Every token, revoked and expired ones too, oldest first."""
    rows = conn.execute(
        select(
            token.c.token_id,
            token.c.secret_sha256,
            token.c.role,
            token.c.facility,
            token.c.created_us,
            token.c.expires_us,
            token.c.revoked_us,
        ).order_by(token.c.created_us, token.c.token_id)
    )
    return [TokenRow(*row) for row in rows]


def put_facility(conn: Connection, row: FacilityRow) -> None:
    """Add a facility that is not there yet."""
    conn.execute(
        insert(facility).values(
            code=row.code,
            name=row.name,
            authority_namespace=row.authority_namespace,
            authority_oid=row.authority_oid,
            added_us=row.added_us,
        )
    )


def put_peer(conn: Connection, row: PeerRow) -> None:
    """Add an AE title, or change whose it is and where it can be called."""
    remove_peer(conn, row.ae_title)
    conn.execute(
        insert(peer).values(
            ae_title=row.ae_title, facility=row.facility, host=row.host, port=row.port
        )
    )


def remove_peer(conn: Connection, ae_title: str) -> None:
    """Forget an AE title."""
    conn.execute(delete(peer).where(peer.c.ae_title == ae_title))


def put_user(conn: Connection, row: UserRow) -> None:
    """Add an account that is not there yet."""
    conn.execute(
        insert(user_account).values(
            login=row.login,
            password_hash=row.password_hash,
            role=row.role,
            facility=row.facility,
            disabled=row.disabled,
            added_us=row.added_us,
        )
    )


def set_user_disabled(conn: Connection, login: str, *, disabled: bool) -> None:
    """Let an account sign in or not."""
    conn.execute(
        update(user_account).where(user_account.c.login == login).values(disabled=disabled)
    )


def put_token(conn: Connection, row: TokenRow) -> None:
    """Add a token that is not there yet."""
    conn.execute(
        insert(token).values(
            token_id=row.token_id,
            secret_sha256=row.secret_sha256,
            role=row.role,
            facility=row.facility,
            created_us=row.created_us,
            expires_us=row.expires_us,
            revoked_us=row.revoked_us,
        )
    )


def revoke_token(conn: Connection, token_id: str, *, revoked_us: int) -> None:
    """End a token for good."""
    conn.execute(update(token).where(token.c.token_id == token_id).values(revoked_us=revoked_us))


def clear(conn: Connection) -> None:
    """Empty every table of the registry: only to make it again of the events."""
    for table in (facility, peer, user_account, token):
        conn.execute(delete(table))
