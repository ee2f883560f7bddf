"""The gate over the whole matrix of roles, acts, purposes and custodians."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.gate import (
    PURPOSES,
    REASONS,
    TREATMENT,
    About,
    Act,
    Asker,
    Decision,
    Reason,
    Role,
    Scope,
    decide,
    purpose_code,
)

PATIENT_DATA = (Act.STORE, Act.SEARCH, Act.RETRIEVE)
FACILITIES = ("CARY", "MGMC", "EMMC")
ABOUTS = [
    None,
    *(
        About(frozenset(some))
        for n in range(len(FACILITIES) + 1)
        for some in itertools.combinations(FACILITIES, n)
    ),
]
PURPOSES_GIVEN = (*PURPOSES, "MARKETING", "", "treat")
MATRIX = list(itertools.product(Role, Act, ("CARY", "MGMC", "NOWHERE", ""), PURPOSES_GIVEN, ABOUTS))


def expected_to_permit(
    role: Role, act: Act, facility: str, purpose: str, about: About | None
) -> Scope | str | None:
    """The rules once more, as a plain list of sentences: the oracle."""
    if purpose not in PURPOSES:
        return None
    if (role, act) in {
        (Role.ADMIN, Act.STATUS),
        (Role.ADMIN, Act.REGISTER),
        (Role.OPERATOR, Act.STATUS),
        (Role.PRIVACY, Act.AUDIT),
    }:
        return "office"
    if act not in PATIENT_DATA or facility == "":
        return None
    if about is not None and about.custodians == frozenset():
        return None
    own = about is None or facility in about.custodians
    if role is Role.SENDER:
        return Scope.CUSTODY if own else None
    if role is Role.CLINICIAN and act is not Act.STORE:
        if purpose in ("TREAT", "ETREAT", "BTG"):
            return Scope.EXCHANGE
        return Scope.CUSTODY if own else None
    return None


def test_the_full_matrix_of_roles_acts_facilities_purposes_and_custodians_is_as_the_rules_say():
    assert len(MATRIX) >= 500
    for role, act, facility, purpose, about in MATRIX:
        decision = decide(Asker("token:1", role, facility, purpose), act, about)
        wanted = expected_to_permit(role, act, facility, purpose, about)
        where = (role, act, facility, purpose, about)
        assert decision.permit is (wanted is not None), where
        assert decision.scope == (wanted if isinstance(wanted, Scope) else None), where


def test_every_answer_carries_a_documented_reason_and_the_duty_to_record_it():
    seen = set()
    for role, act, facility, purpose, about in MATRIX:
        decision = decide(Asker("user:ann", role, facility, purpose), act, about)
        sentence = REASONS[decision.reason]
        assert sentence.startswith("Permitted:" if decision.permit else "Denied:")
        assert "record" in decision.obligations
        seen.add(decision.reason)
    assert seen == set(Reason), "a reason that no question leads to is not documented, it is dead"


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.PRIVACY, Role.OPERATOR, Role.ADMIN])
@pytest.mark.parametrize("act", PATIENT_DATA)
def test_those_who_run_the_archive_see_no_patient_data(role, act):
    for purpose, about in itertools.product(PURPOSES, ABOUTS):
        decision = decide(Asker("user:op", role, "CARY", purpose), act, about)
        assert decision == Decision(False, Reason.ROLE_MAY_NOT, None, ("record",))


def test_a_clinician_never_stores():
    for purpose, about in itertools.product(PURPOSES, ABOUTS):
        decision = decide(Asker("user:ann", Role.CLINICIAN, "CARY", purpose), Act.STORE, about)
        assert not decision.permit


@given(
    purpose=st.text(max_size=20),
    custodians=st.frozensets(st.sampled_from(FACILITIES)),
    facility=st.sampled_from([*FACILITIES, "NOWHERE"]),
    role=st.sampled_from(Role),
    act=st.sampled_from(PATIENT_DATA),
)
def test_other_facilities_data_are_never_permitted_but_to_a_clinician_for_treatment(
    purpose, custodians, facility, role, act
):
    decision = decide(Asker("token:9", role, facility, purpose), act, About(custodians))
    if decision.permit and facility not in custodians:
        assert (role, decision.scope) == (Role.CLINICIAN, Scope.EXCHANGE)
        assert purpose in TREATMENT
        assert act is not Act.STORE


@given(purpose=st.text(max_size=20).filter(lambda text: text not in PURPOSES))
def test_an_unknown_purpose_of_use_is_denied_to_everyone(purpose):
    for role, act in itertools.product(Role, Act):
        assert not decide(Asker("token:9", role, "CARY", purpose), act).permit


@given(role=st.text(max_size=12).filter(lambda text: text not in list(Role)))
def test_a_role_that_is_not_known_is_denied_everything(role):
    for act in Act:
        forged = Asker("token:9", role, "CARY")
        assert decide(forged, act) == Decision(False, Reason.ROLE_MAY_NOT, None, ("record",))


def test_the_same_question_has_the_same_answer():
    for role, act, facility, purpose, about in MATRIX:
        asker = Asker("ae:CT1@CARY", role, facility, purpose)
        assert decide(asker, act, about) == decide(asker, act, about)


def test_emergency_access_is_reviewed_afterwards():
    for purpose in PURPOSES:
        asker = Asker("user:ann", Role.CLINICIAN, "CARY", purpose)
        reviewed = "review" in decide(asker, Act.RETRIEVE, About(frozenset({"CARY"}))).obligations
        assert reviewed is (purpose in ("ETREAT", "BTG"))


def test_what_the_own_facility_holds_is_called_own_custody_also_in_the_exchange_view():
    ann = Asker("user:ann", Role.CLINICIAN, "CARY")
    assert decide(ann, Act.RETRIEVE, About(frozenset({"CARY", "MGMC"}))) == Decision(
        True, Reason.OWN_CUSTODY, Scope.EXCHANGE, ("record",)
    )
    assert decide(ann, Act.RETRIEVE, About(frozenset({"MGMC"}))).reason == "exchange-treatment"


@pytest.mark.parametrize(
    ("given_purpose", "code"),
    [(None, "TREAT"), ("", "TREAT"), ("  ", "TREAT"), (" etreat ", "ETREAT"), ("x" * 99, "X" * 16)],
)
def test_a_stated_purpose_is_read_without_regard_to_case_and_blanks(given_purpose, code):
    assert purpose_code(given_purpose) == code
