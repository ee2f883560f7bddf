"""Who is there: changes take effect, refusals are clear, the events alone make the tables again."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sebago.errors import (
    AlreadyThere,
    BadValue,
    IndexAway,
    NotRegistered,
    NotSignedIn,
    SebagoError,
    UnknownFacility,
)
from sebago.gate import Asker, Role
from sebago.index import registry as statements
from sebago.ledger import AccessLog, Ledger, replay
from sebago.registry import Authority, Caller, Peer, Registrar, Registry, rebuild
from sebago.registry.registrar import DAY_US
from tests.databases import an_index


class Clock:
    """Seconds, and microseconds of the day, that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def us(self) -> int:
        return int(self.now_s * 1_000_000)


def tables(index):
    with index.read() as conn:
        return (
            statements.facilities(conn),
            statements.peers(conn),
            statements.users(conn),
            statements.tokens(conn),
        )


def kinds(index):
    with index.read() as conn:
        return [event.kind for event in replay(conn)]


@pytest.fixture
def registrar(registry_index):
    return Registrar(registry_index, "local:test")


@pytest.fixture
def two_facilities(registrar):
    registrar.add_facility("CARY", "Cary Medical", "CARY&1.2.3&ISO", ["CT1", "PACS@10.0.0.7:104"])
    registrar.add_facility("MGMC", "MaineGeneral", "MGMC", ["CT2"])
    return registrar


def test_a_facility_its_authority_and_its_peers_are_known_at_once(registry_index, two_facilities):
    registry = Registry(registry_index)
    cary = registry.facility("CARY")
    assert (cary.name, cary.authority) == ("Cary Medical", Authority("CARY", "1.2.3"))
    assert [facility.code for facility in registry.facilities()] == ["CARY", "MGMC"]
    assert registry.peer("PACS") == Peer("CARY", "PACS", "10.0.0.7", 104)
    assert registry.peer("PACS ") == registry.peer("PACS")
    assert registry.peer("CT1") == Peer("CARY", "CT1", "", 0)
    assert registry.peer("NOBODY") is None
    assert kinds(registry_index) == [
        "facility.added",
        "peer.set",
        "peer.set",
        "facility.added",
        "peer.set",
    ]


def test_a_calling_title_says_whose_it_is_and_an_unknown_one_is_nobodys(
    registry_index, two_facilities
):
    registry = Registry(registry_index)
    caller = registry.who_is_ae("CT1  ", "10.1.2.3")
    assert caller == Caller("CARY", "CARY&1.2.3&ISO", "CT1", "10.1.2.3")
    assert caller.asker() == Asker("ae:CT1@CARY", Role.SENDER, "CARY", "TREAT")
    assert registry.who_is_ae("CT9", "10.1.2.3") is None
    assert registry.who_is_ae("ct1", "10.1.2.3") is None
    assert registry.who_is_ae("", "10.1.2.3", "CARY") is None


def test_an_open_door_takes_unknown_titles_in_but_leaves_known_ones_where_they_belong(
    registry_index, two_facilities
):
    registry = Registry(registry_index)
    stranger = registry.who_is_ae("CT9", "10.1.2.3", "MGMC")
    assert stranger is not None
    assert (stranger.facility, stranger.registered) == ("MGMC", False)
    known = registry.who_is_ae("CT1", "10.1.2.3", "MGMC")
    assert known is not None
    assert (known.facility, known.registered) == ("CARY", True)
    assert registry.who_is_ae("CT9", "10.1.2.3", "NOWHERE") is None


def test_the_same_registration_again_changes_nothing_and_adds_no_event(
    registry_index, two_facilities
):
    before = kinds(registry_index)
    assert not two_facilities.add_facility("MGMC", "MaineGeneral", "MGMC", ["CT2"])
    assert not two_facilities.set_peer("CARY", "PACS@10.0.0.7:104")
    assert not two_facilities.set_peer("CARY", "PACS")
    assert kinds(registry_index) == before
    assert two_facilities.add_facility("MGMC", "MaineGeneral", "MGMC", ["CT2", "MR2"])
    assert two_facilities.set_peer("CARY", "PACS@10.0.0.8:104")
    assert Registry(registry_index).peer("PACS") == Peer("CARY", "PACS", "10.0.0.8", 104)


@pytest.mark.parametrize(
    "again",
    [
        ("CARY", "Another name", "CARY&1.2.3&ISO"),
        ("CARY", "Cary Medical", "OTHER"),
        ("NEW", "New", "CARY"),
        ("NEW", "New", "CARY&1.2.4&ISO"),
        ("NEW", "New", "OTHER&1.2.3&ISO"),
    ],
)
def test_a_registration_that_contradicts_another_is_refused_and_leaves_no_trace(
    registry_index, two_facilities, again
):
    before = tables(registry_index), kinds(registry_index)
    with pytest.raises(AlreadyThere) as refused:
        two_facilities.add_facility(*again)
    assert refused.value.why
    assert refused.value.do
    assert (tables(registry_index), kinds(registry_index)) == before


def test_two_facilities_may_share_one_authority(registry_index, two_facilities):
    assert two_facilities.add_facility("CLINIC", "Cary's clinic", "CARY&1.2.3&ISO")


def test_an_ae_title_belongs_to_one_facility_only(registry_index, two_facilities):
    with pytest.raises(AlreadyThere, match="'CT1' belongs to CARY already"):
        two_facilities.set_peer("MGMC", "CT1@10.0.0.9:104")
    before = tables(registry_index), kinds(registry_index)
    with pytest.raises(AlreadyThere):
        two_facilities.add_facility("NEW", "New", "NEW", ["FREE", "CT2"])
    assert (tables(registry_index), kinds(registry_index)) == before, "all of it or nothing"
    two_facilities.remove_peer("CARY", "CT1")
    assert two_facilities.set_peer("MGMC", "CT1@10.0.0.9:104")


def test_of_many_commands_at_once_that_claim_one_title_exactly_one_wins(registry_index):
    registrar = Registrar(registry_index, "local:test")
    codes = [f"F{n}" for n in range(6)]
    for code in codes:
        registrar.add_facility(code, code, code)
    barrier = threading.Barrier(len(codes))

    def claim(code: str) -> bool:
        barrier.wait()
        try:
            return registrar.set_peer(code, "CT1")
        except AlreadyThere:
            return False

    with ThreadPoolExecutor(len(codes)) as pool:
        won = list(pool.map(claim, codes))
    assert won.count(True) == 1
    assert Registry(registry_index).peer("CT1") == Peer(codes[won.index(True)], "CT1", "", 0)
    assert kinds(registry_index).count("peer.set") == 1


def test_an_unknown_facility_is_named_with_those_that_there_are(registry_index, two_facilities):
    for attempt in (
        lambda: two_facilities.set_peer("CARRY", "X1"),
        lambda: two_facilities.remove_peer("CARRY", "X1"),
        lambda: two_facilities.create_token("sender", "CARRY"),
        lambda: two_facilities.add_user("ann", "clinician", "CARRY", "secret words"),
        lambda: Registry(registry_index).facility("CARRY"),
    ):
        with pytest.raises(UnknownFacility) as refused:
            attempt()
        assert refused.value.why == "known codes are CARY, MGMC"
        assert refused.value.do.startswith("did you mean CARY?")


def test_what_is_not_registered_cannot_be_taken_away(two_facilities):
    with pytest.raises(NotRegistered, match="no AE title 'CT9'"):
        two_facilities.remove_peer("CARY", "CT9")
    with pytest.raises(NotRegistered, match="no user 'bob'"):
        two_facilities.set_user_disabled("bob", disabled=True)
    with pytest.raises(NotRegistered, match="no token"):
        two_facilities.revoke_token("0123456789ab")


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_a_token_lives_a_bounded_time(two_facilities, days):
    with pytest.raises(BadValue):
        two_facilities.create_token("sender", "CARY", days=days)


def test_roles_that_see_a_facilitys_view_need_a_facility_and_the_others_do_not(two_facilities):
    for role in ("clinician", "sender"):
        with pytest.raises(BadValue):
            two_facilities.create_token(role, "")
    for role in ("reviewer", "privacy", "operator", "admin"):
        two_facilities.create_token(role, "")
    with pytest.raises(BadValue, match="no role 'doctor'"):
        two_facilities.create_token("doctor", "CARY")


def test_a_token_is_its_asker_with_the_purpose_that_was_stated(registry_index, two_facilities):
    token = two_facilities.create_token("clinician", "CARY")
    registry = Registry(registry_index)
    asker = registry.authenticate(token.text)
    assert asker == Asker(f"token:{token.token_id}", Role.CLINICIAN, "CARY", "TREAT")
    assert registry.authenticate(token.text, purpose="etreat").purpose == "ETREAT"


def test_wrong_unknown_and_malformed_tokens_are_refused_alike(registry_index, two_facilities):
    token = two_facilities.create_token("clinician", "CARY")
    registry = Registry(registry_index)
    wrong = token.text[:-1] + ("0" if token.text[-1] != "0" else "1")
    unknown = f"sbg_0123456789ab_{'0' * 64}"
    answers = set()
    for given_token in (
        wrong,
        unknown,
        "",
        "sbg__",
        "sbg",
        "x" * 1_000_000,
        "sbg_é_ü",
        token.token_id,
    ):
        with pytest.raises(NotSignedIn) as refused:
            registry.authenticate(given_token)
        answers.add((str(refused.value), refused.value.reason))
    assert answers == {("the token is not valid", "wrong")}


def test_an_unknown_token_takes_as_long_as_a_wrong_one(registry_index, two_facilities):
    token = two_facilities.create_token("clinician", "CARY")
    registry = Registry(registry_index)
    wrong = f"sbg_{token.token_id}_{'0' * 64}"
    unknown = f"sbg_0123456789ab_{'0' * 64}"

    def best_s(text: str) -> float:
        took = []
        for _ in range(300):
            started = time.perf_counter()
            with pytest.raises(NotSignedIn):
                registry.authenticate(text)
            took.append(time.perf_counter() - started)
        return sorted(took)[len(took) // 4]

    ratio = best_s(wrong) / best_s(unknown)
    assert 0.5 < ratio < 2


def test_an_expired_token_is_refused_from_that_moment_on(registry_index):
    clock = Clock()
    registrar = Registrar(registry_index, "local:test", clock_us=clock.us)
    registrar.add_facility("CARY", "Cary Medical", "CARY")
    token = registrar.create_token("clinician", "CARY", days=1)
    registry = Registry(registry_index, clock_us=clock.us)
    clock.now_s += DAY_US / 1_000_000 - 1
    registry.authenticate(token.text)
    clock.now_s += 1
    with pytest.raises(NotSignedIn, match="expired"):
        registry.authenticate(token.text)


def test_revocation_and_new_titles_take_effect_in_a_running_registry_within_seconds(
    registry_index, two_facilities
):
    clock = Clock()
    token = two_facilities.create_token("clinician", "CARY")
    registry = Registry(registry_index, clock_s=clock)
    registry.authenticate(token.text)
    two_facilities.revoke_token(token.token_id)
    two_facilities.set_peer("CARY", "NEW1")
    registry.authenticate(token.text)  # the snapshot is fresh enough
    clock.now_s += 2.1
    with pytest.raises(NotSignedIn, match="revoked"):
        registry.authenticate(token.text)
    assert registry.who_is_ae("NEW1", "") is not None
    assert not two_facilities.revoke_token(token.token_id), "revoked already"


class FlakyIndex:
    """An index that is away when told to be."""

    def __init__(self, real) -> None:
        self.real = real
        self.away = False

    def read(self):
        if self.away:
            raise IndexAway("away")
        return self.real.read()


def test_without_a_database_the_registry_stands_for_seconds_and_then_knows_nobody(
    registry_index, two_facilities
):
    clock = Clock()
    flaky = FlakyIndex(registry_index)
    registry = Registry(flaky, clock_s=clock)
    assert registry.who_is_ae("CT1", "") is not None
    flaky.away = True
    clock.now_s += 3
    assert registry.who_is_ae("CT1", "") is not None
    clock.now_s += 1
    with pytest.raises(IndexAway):
        registry.who_is_ae("CT1", "")
    flaky.away = False
    assert registry.who_is_ae("CT1", "") is not None


def test_a_look_at_the_snapshot_costs_less_than_fifty_microseconds(registry_index, two_facilities):
    token = two_facilities.create_token("clinician", "CARY")
    registry = Registry(registry_index)
    registry.authenticate(token.text)
    took = []
    for _ in range(2000):
        started = time.perf_counter()
        registry.authenticate(token.text)
        took.append(time.perf_counter() - started)
    assert sorted(took)[len(took) // 2] < 50e-6


def test_a_password_signs_in_and_every_sign_in_and_refusal_is_recorded(
    registry_index, two_facilities
):
    login = two_facilities.add_user("Ann", "clinician", "CARY", "correct horse")
    assert login == "ann"
    ledger = Ledger(registry_index)
    registry = Registry(registry_index, access_log=AccessLog(ledger), ledger=ledger)
    asker = registry.verify_password("ANN", "correct horse", address="10.1.2.3")
    assert asker == Asker("user:ann", Role.CLINICIAN, "CARY", "TREAT")
    for wrong in (("ann", "wrong"), ("nobody", "correct horse"), ("ann", "x" * 1_048_576)):
        with pytest.raises(NotSignedIn, match="the login or password is not right"):
            registry.verify_password(*wrong)
    with pytest.raises(NotSignedIn):
        registry.authenticate("sbg_0123456789ab_00")
    with registry_index.read() as conn:
        signins = [event for event in replay(conn) if event.kind.startswith("signin.")]
    assert [(event.kind, event.actor, event.body.get("why")) for event in signins] == [
        ("signin.done", "user:ann", None),
        ("signin.refused", "user:ann", "wrong"),
        ("signin.refused", "unknown", "unknown"),
        ("signin.refused", "unknown", "wrong"),
    ]
    assert "nobody" not in str(signins), "what was typed as a login may be a password"


def test_a_disabled_account_cannot_sign_in_and_an_enabled_one_can_again(
    registry_index, two_facilities
):
    two_facilities.add_user("ann", "clinician", "CARY", "correct horse")
    with pytest.raises(AlreadyThere):
        two_facilities.add_user("ANN", "clinician", "CARY", "correct horse")
    assert two_facilities.set_user_disabled("ann", disabled=True)
    assert not two_facilities.set_user_disabled("ann", disabled=True)
    with pytest.raises(NotSignedIn):
        Registry(registry_index).verify_password("ann", "correct horse")
    assert two_facilities.set_user_disabled("ann", disabled=False)
    Registry(registry_index).verify_password("ann", "correct horse")


def test_no_secret_is_kept_or_shown(registry_index, two_facilities):
    token = two_facilities.create_token("sender", "CARY")
    two_facilities.add_user("ann", "clinician", "CARY", "correct horse")
    registry = Registry(registry_index)
    with registry_index.read() as conn:
        kept = str(list(replay(conn))) + str(tables(registry_index))
    shown = str(registry.users()) + str(registry.tokens())
    secret = token.text.rpartition("_")[2]
    assert secret not in kept
    assert "correct horse" not in kept
    assert token.secret_sha256 not in shown
    assert "argon2" not in shown


def test_a_rebuild_of_the_events_gives_the_very_same_tables(registry_index, two_facilities):
    registrar = two_facilities
    registrar.add_user("ann", "clinician", "CARY", "correct horse")
    registrar.set_user_disabled("ann", disabled=True)
    token = registrar.create_token("sender", "MGMC")
    registrar.create_token("admin", "")
    registrar.revoke_token(token.token_id)
    registrar.set_peer("CARY", "PACS@10.0.0.9:105")
    registrar.remove_peer("MGMC", "CT2")
    before = tables(registry_index)
    with registry_index.write_ledger() as conn:
        statements.clear(conn)
        rebuild(conn)
    assert tables(registry_index) == before
    assert [len(rows) for rows in before] == [2, 2, 1, 2]


small_codes = st.sampled_from(["A", "B", "C"])
titles = st.sampled_from(["T1", "T2", "T3@h:104", "T3@h:105"])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("add_facility"), small_codes, st.just("N"), small_codes),
        st.tuples(st.just("set_peer"), small_codes, titles),
        st.tuples(st.just("remove_peer"), small_codes, st.sampled_from(["T1", "T2", "T3"])),
        st.tuples(st.just("create_token"), st.sampled_from(["sender", "admin"]), small_codes),
        st.tuples(st.just("revoke_token"), st.integers(0, 3)),
    ),
    max_size=15,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=changes)
def test_after_any_history_the_events_alone_make_the_tables_again(tmp_path_factory, steps):
    with an_index("sqlite", tmp_path_factory.mktemp("history")) as index:
        registrar = Registrar(index, "local:test")
        made: list[str] = []
        for name, *arguments in steps:
            try:
                if name == "revoke_token":
                    registrar.revoke_token((made or ["none"])[arguments[0] % max(1, len(made))])
                elif name == "create_token":
                    made.append(registrar.create_token(*arguments).token_id)
                else:
                    getattr(registrar, name)(*arguments)
            except SebagoError:
                continue
        before = tables(index)
        with index.write_ledger() as conn:
            rebuild(conn)
        assert tables(index) == before
        owners = {peer.ae_title: peer.facility for peer in before[1]}
        assert set(owners.values()) <= {facility.code for facility in before[0]}
