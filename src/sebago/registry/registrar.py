"""Changing the registry: each change is an event and its projection in one ledger transaction.

What is asked for is checked inside that transaction, so two commands at once cannot both win. A
change that would change nothing makes no event and says so. A running server sees a change with
its next look at the tables, at most `sebago.registry.REFRESH_S` later.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection

from sebago.errors import AlreadyThere, BadValue, NotRegistered, UnknownFacility
from sebago.gate import Role
from sebago.index import registry as statements
from sebago.index.engine import Index
from sebago.index.events import lock_ledger
from sebago.ledger import Event, Kind, Recorded, append, now_us
from sebago.registry import credentials, names
from sebago.registry.facts import project

DAY_US: Final = 86_400_000_000
TOKEN_DAYS_MAX: Final = 3650
NEEDS_FACILITY: Final = frozenset({Role.CLINICIAN, Role.SENDER})
"""Roles whose view is a facility's; the others may act for none."""


class Registrar:
    """Makes changes in the name of `actor`, which every event of theirs carries."""

    def __init__(self, index: Index, actor: str, *, clock_us: Callable[[], int] = now_us) -> None:
        self._index = index
        self._actor = actor
        self._clock_us = clock_us

    def add_facility(
        self, code: str, name: str, authority: str, places: Sequence[str] = ()
    ) -> bool:
        """Register a facility with its assigning authority and AE titles.

        Args:
            code: 1 to 16 of A-Z, 0-9, underscore and hyphen.
            name: what people call it.
            authority: NAMESPACE or NAMESPACE&OID&ISO.
            places: each TITLE or TITLE@HOST:PORT.

        Returns:
            False where all of it was there already, just so.

        Raises:
            AlreadyThere: the code is another facility's, an AE title belongs to another facility,
                or the namespace or OID is known with another OID or namespace.
            BadValue: something is not of its form.
        """
        code, name = names.facility_code(code), names.facility_name(name)
        issuer = names.authority(authority)
        wanted = [names.place(text) for text in places]
        with self._transaction() as conn:
            known = statements.facilities(conn)
            changed = _new_facility(known, code, name, issuer)
            if changed:
                body = {
                    "name": name,
                    "authority_namespace": issuer.namespace,
                    "authority_oid": issuer.oid,
                }
                self._change(conn, Event(Kind.FACILITY_ADDED, self._actor, code, code, body))
            for place in wanted:
                changed |= self._set_peer(conn, code, place)
        return changed

    def set_peer(self, code: str, place: str) -> bool:
        """Give a facility an AE title, or change where a title of its can be called.

        A title without an address leaves an address that is known alone.

        Returns:
            False where it was there already, just so.

        Raises:
            UnknownFacility, BadValue.
            AlreadyThere: the title belongs to another facility.
        """
        wanted = names.place(place)
        with self._transaction() as conn:
            _registered(conn, code)
            return self._set_peer(conn, code, wanted)

    def remove_peer(self, code: str, ae_title: str) -> None:
        """Take an AE title from a facility: it is refused from now on, and free for another.

        Raises:
            UnknownFacility: the code is not registered.
            NotRegistered: the facility has no such title.
        """
        title = names.ae_title(ae_title)
        with self._transaction() as conn:
            _registered(conn, code)
            own = [row.ae_title for row in statements.peers(conn) if row.facility == code]
            if title not in own:
                raise NotRegistered(
                    f"{code} has no AE title {title!r}",
                    why=f"its titles are {_listed(own)}",
                    do=_did_you_mean(title, own) or "sebago facility list  shows them all",
                )
            self._change(conn, Event(Kind.PEER_REMOVED, self._actor, code, title))

    def add_user(self, login: str, role: str, facility: str, password: str) -> str:
        """Add a local account; returns the login as it is kept, in small letters.

        Raises:
            UnknownFacility, BadValue.
            AlreadyThere: the login is taken.
        """
        login, wanted = names.login(login), role_named(role)
        password_hash = credentials.hash_password(password)  # slow: before the transaction
        with self._transaction() as conn:
            _role_has_facility(conn, wanted, facility)
            if any(row.login == login for row in statements.users(conn)):
                raise AlreadyThere(
                    f"there is a user {login!r} already",
                    why="a login is one person's",
                    do="choose another login",
                )
            body = {"password_hash": password_hash, "role": wanted}
            self._change(conn, Event(Kind.USER_ADDED, self._actor, facility, login, body))
        return login

    def set_user_disabled(self, login: str, *, disabled: bool) -> bool:
        """Let an account sign in no more, or again. False where it was so already.

        Raises:
            NotRegistered: no such login.
        """
        login = names.login(login)
        with self._transaction() as conn:
            users = {row.login: row for row in statements.users(conn)}
            if login not in users:
                raise NotRegistered(
                    f"there is no user {login!r}",
                    why=f"{len(users)} users are registered",
                    do=_did_you_mean(login, list(users)) or "sebago user list  shows them",
                )
            user = users[login]
            if user.disabled is disabled:
                return False
            kind = Kind.USER_DISABLED if disabled else Kind.USER_ENABLED
            self._change(conn, Event(kind, self._actor, user.facility, login))
        return True

    def create_token(self, role: str, facility: str, *, days: int = 365) -> credentials.NewToken:
        """Make a bearer token that ends after `days`; its text is in the answer and nowhere else.

        Raises:
            UnknownFacility, BadValue.
        """
        wanted = role_named(role)
        if not 1 <= days <= TOKEN_DAYS_MAX:
            raise BadValue(
                f"a token lives 1 to {TOKEN_DAYS_MAX} days, not {days}",
                do="give --days 365, and make a new one before it ends",
            )
        token = credentials.make_token()
        with self._transaction() as conn:
            _role_has_facility(conn, wanted, facility)
            body = {
                "secret_sha256": token.secret_sha256,
                "role": wanted,
                "expires_us": self._clock_us() + days * DAY_US,
            }
            self._change(
                conn, Event(Kind.TOKEN_CREATED, self._actor, facility, token.token_id, body)
            )
        return token

    def revoke_token(self, token_id: str) -> bool:
        """End a token for good. False where it was revoked already.

        Raises:
            NotRegistered: no such id.
        """
        with self._transaction() as conn:
            tokens = {row.token_id: row for row in statements.tokens(conn)}
            if token_id not in tokens:
                raise NotRegistered(
                    f"there is no token {token_id[:40]!r}",
                    why="the id is what stands between the two underscores of a token",
                    do="sebago token list  shows the ids",
                )
            token = tokens[token_id]
            if token.revoked_us is not None:
                return False
            self._change(conn, Event(Kind.TOKEN_REVOKED, self._actor, token.facility, token_id))
        return True

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A ledger transaction in which nobody else changes the registry."""
        with self._index.write_ledger() as conn:
            lock_ledger(conn)
            yield conn

    def _set_peer(self, conn: Connection, code: str, place: names.Place) -> bool:
        known = {row.ae_title: row for row in statements.peers(conn)}.get(place.ae_title)
        if known is not None:
            if known.facility != code:
                raise AlreadyThere(
                    f"AE title {place.ae_title!r} belongs to {known.facility} already",
                    why="a calling title says whose images they are, so it is one facility's only",
                    do=f"choose another title, or  sebago facility ae remove {known.facility} "
                    f"{place.ae_title}",
                )
            if not place.host or (known.host, known.port) == (place.host, place.port):
                return False
        body: dict[str, Any] = {"host": place.host, "port": place.port} if place.host else {}
        self._change(conn, Event(Kind.PEER_SET, self._actor, code, place.ae_title, body))
        return True

    def _change(self, conn: Connection, event: Event) -> None:
        at_us = self._clock_us()
        seq = append(conn, event, at_us=at_us)
        project(
            conn,
            Recorded(
                seq, at_us, event.kind, event.actor, event.facility, event.subject, event.body
            ),
        )


def role_named(text: str) -> Role:
    """The role of that name.

    Raises:
        BadValue: there is none.
    """
    try:
        return Role(text)
    except ValueError:
        raise BadValue(
            f"there is no role {text[:40]!r}",
            why=f"roles are {', '.join(Role)}",
            do=_did_you_mean(text, list(Role)) or "give one of them",
        ) from None


def unknown_facility(code: str, known: Sequence[str]) -> UnknownFacility:
    """The error that says which facilities there are, and which one may have been meant."""
    add = f"sebago facility add {code} --name ... --authority ..."
    guess = _did_you_mean(code, known)
    return UnknownFacility(
        f"facility {code[:40]!r} is not registered",
        why=f"known codes are {_listed(known)}",
        do=f"{guess}  Or  {add}" if guess else add,
    )


def _registered(conn: Connection, code: str) -> None:
    known = [row.code for row in statements.facilities(conn)]
    if code not in known:
        raise unknown_facility(code, known)


def _role_has_facility(conn: Connection, role: Role, facility: str) -> None:
    if facility:
        _registered(conn, facility)
    elif role in NEEDS_FACILITY:
        raise BadValue(
            f"a {role} acts for a facility",
            why="what it may see is that facility's view",
            do="give --facility CODE",
        )


def _new_facility(
    known: Sequence[statements.FacilityRow], code: str, name: str, issuer: names.Authority
) -> bool:
    """Whether the facility is to be added; False where it is there, just so."""
    for row in known:
        there = names.Authority(row.authority_namespace, row.authority_oid)
        if row.code == code:
            if (row.name, there) == (name, issuer):
                return False
            raise AlreadyThere(
                f"facility {code} is registered already",
                why=f"as {row.name!r} with authority {there}",
                do=f"choose another code, or  sebago facility ae add {code} TITLE  for a new peer",
            )
        same_namespace = there.namespace == issuer.namespace
        same_oid = bool(issuer.oid) and there.oid == issuer.oid
        if there != issuer and (same_namespace or same_oid):
            raise AlreadyThere(
                f"authority {issuer} contradicts that of {row.code}, {there}",
                why="one namespace has one OID, or patients' numbers would be ambiguous",
                do="give the very same authority if they share their numbers, or another name",
            )
    return True


def _listed(words: Sequence[str], shown_max: int = 8) -> str:
    if not words:
        return "none so far"
    more = f" and {len(words) - shown_max} more" if len(words) > shown_max else ""
    return ", ".join(words[:shown_max]) + more


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word[:40], known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""
