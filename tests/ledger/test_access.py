"""Every answer of the gate is an event before any byte goes; 500 frames are one look at a study."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sebago.errors import IndexAway
from sebago.gate import About, Act, Asker, Role, decide
from sebago.ledger import AccessLog, Ledger, replay

ANN = Asker("user:ann", Role.CLINICIAN, "CARY")
CT1 = Asker("ae:CT1@CARY", Role.SENDER, "CARY")
OURS = About(frozenset({"CARY"}))
THEIRS = About(frozenset({"MGMC"}))


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def look(log: AccessLog, asker: Asker, about: About, study: str, act: Act = Act.RETRIEVE) -> None:
    log.record_access(asker, act, decide(asker, act, about), study_instance_uid=study)


def events(index):
    with index.read() as conn:
        return list(replay(conn))


def test_a_permit_and_a_denial_are_each_an_event_with_who_what_and_why(ledger_index):
    log = AccessLog(Ledger(ledger_index))
    look(log, ANN, THEIRS, "1.2.3")
    look(log, CT1, THEIRS, "1.2.3")
    permitted, denied = events(ledger_index)
    assert (permitted.kind, permitted.actor, permitted.facility) == (
        "access.permitted",
        "user:ann",
        "CARY",
    )
    assert permitted.subject == "1.2.3"
    assert permitted.body == {
        "act": "retrieve",
        "reason": "exchange-treatment",
        "scope": "exchange",
        "role": "clinician",
        "purpose": "TREAT",
    }
    assert denied.kind == "access.denied"
    assert denied.body["reason"] == "not-own-facility"
    assert "scope" not in denied.body


def test_five_hundred_frames_of_a_study_make_one_event(ledger_index):
    log = AccessLog(Ledger(ledger_index))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: look(log, ANN, OURS, "1.2.3"), range(500)))
    assert len(events(ledger_index)) == 1


def test_each_search_is_an_event_of_its_own_with_its_keys(ledger_index):
    log = AccessLog(Ledger(ledger_index))
    for _ in range(3):
        log.record_access(
            ANN, Act.SEARCH, decide(ANN, Act.SEARCH), query={"00100020": "0042"}, address="10.1.2.3"
        )
    found = events(ledger_index)
    assert len(found) == 3
    assert found[0].body["query"] == {"00100020": "0042"}
    assert found[0].body["address"] == "10.1.2.3"


def test_other_askers_studies_acts_purposes_and_answers_are_events_of_their_own(ledger_index):
    log = AccessLog(Ledger(ledger_index))
    emergency = Asker("user:ann", Role.CLINICIAN, "CARY", "ETREAT")
    for _ in range(2):
        look(log, ANN, OURS, "1.2.3")
        look(log, ANN, OURS, "1.2.4")
        look(log, CT1, OURS, "1.2.3")
        look(log, CT1, THEIRS, "1.2.3")
        look(log, emergency, OURS, "1.2.3")
    found = events(ledger_index)
    assert len(found) == 5
    assert found[-1].body["obligations"] == ["review"]


def test_after_the_window_the_same_look_is_recorded_again(ledger_index):
    clock = Clock()
    log = AccessLog(Ledger(ledger_index), clock_s=clock)
    look(log, ANN, OURS, "1.2.3")
    clock.now_s += 299
    look(log, ANN, OURS, "1.2.3")
    assert len(events(ledger_index)) == 1
    clock.now_s += 2
    look(log, ANN, OURS, "1.2.3")
    assert len(events(ledger_index)) == 2


def test_what_is_remembered_is_bounded_and_forgetting_costs_an_event_never_one_less(ledger_index):
    log = AccessLog(Ledger(ledger_index), remembered_max=10)
    for n in range(20):
        look(log, ANN, OURS, f"1.2.{n}")
    assert len(log) == 10
    look(log, ANN, OURS, "1.2.19")
    assert len(events(ledger_index)) == 20
    look(log, ANN, OURS, "1.2.0")
    assert len(events(ledger_index)) == 21


def test_a_query_of_thousands_of_uids_is_recorded_cut_and_says_so(ledger_index):
    log = AccessLog(Ledger(ledger_index))
    uids = "\\".join(f"1.2.826.0.1.{n}" for n in range(20_000))
    log.record_access(ANN, Act.SEARCH, decide(ANN, Act.SEARCH), query={"0020000D": uids})
    (found,) = events(ledger_index)
    assert found.body["query"]["chars"] > 200_000
    assert found.body["query"]["cut"].startswith('{"0020000D": "1.2.826.0.1.0')


def test_a_refused_credential_is_recorded_once_a_window(ledger_index):
    log = AccessLog(Ledger(ledger_index))
    for _ in range(30):
        log.record_refusal("token:7f3a", "expired", address="10.1.2.3")
    log.record_refusal("ae:CT9", "unknown")
    first, second = events(ledger_index)
    assert (first.kind, first.subject) == ("signin.refused", "token:7f3a")
    assert first.body == {"why": "expired", "address": "10.1.2.3"}
    assert second.body == {"why": "unknown"}


class FlakyIndex:
    """A database that is away until told otherwise; counts the transactions."""

    def __init__(self, real) -> None:
        self.real = real
        self.away = True

    def write_ledger(self):
        if self.away:
            raise IndexAway("away")
        return self.real.write_ledger()


def test_nothing_is_shown_while_the_ledger_is_away_and_the_next_look_is_recorded(ledger_index):
    flaky = FlakyIndex(ledger_index)
    log = AccessLog(Ledger(flaky))
    for _ in range(2):
        with pytest.raises(IndexAway):
            look(log, ANN, OURS, "1.2.3")
    flaky.away = False
    look(log, ANN, OURS, "1.2.3")
    assert len(events(ledger_index)) == 1


class SlowIndex:
    """A database that writes only when it is let."""

    def __init__(self, real) -> None:
        self.real = real
        self.started = threading.Event()
        self.let = threading.Event()

    def write_ledger(self):
        self.started.set()
        assert self.let.wait(30)
        return self.real.write_ledger()


def test_who_asks_the_same_while_its_event_is_under_way_waits_until_it_is_durable(ledger_index):
    slow = SlowIndex(ledger_index)
    log = AccessLog(Ledger(slow))
    shown = threading.Event()

    def second() -> None:
        look(log, ANN, OURS, "1.2.3")
        shown.set()

    threads = [threading.Thread(target=look, args=(log, ANN, OURS, "1.2.3"))]
    threads[0].start()
    assert slow.started.wait(30)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    assert not shown.wait(0.2)
    slow.let.set()
    for thread in threads:
        thread.join()
    assert shown.is_set()
    assert len(events(ledger_index)) == 1
