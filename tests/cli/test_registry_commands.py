"""`sebago facility`, `user` and `token` as scripts use them."""

from __future__ import annotations

import time

from sebago.errors import NotSignedIn
from sebago.index.engine import Index
from sebago.ledger import replay
from sebago.registry import Registry


def test_facilities_users_and_tokens_from_an_empty_folder_on(sebago_on):
    sebago = sebago_on
    said = sebago.ok(
        "facility",
        "add",
        "CARY",
        "--name",
        "Cary Medical",
        "--authority",
        "CARY&1.2.3.4&ISO",
        "--ae",
        "CT1",
        "--ae",
        "PACS@10.0.0.7:104",
    )
    assert said == "CARY registered\n"
    assert sebago.ok("facility", "ae", "add", "CARY", "MR1@[::1]:11112") == (
        "CARY MR1@[::1]:11112 registered\n"
    )
    assert sebago.json("facility", "list") == {
        "facilities": [
            {
                "code": "CARY",
                "name": "Cary Medical",
                "authority": "CARY&1.2.3.4&ISO",
                "ae": [
                    {"title": "CT1", "host": None, "port": None},
                    {"title": "MR1", "host": "::1", "port": 11112},
                    {"title": "PACS", "host": "10.0.0.7", "port": 104},
                ],
            }
        ]
    }
    sebago.ok("facility", "ae", "remove", "CARY", "MR1")
    assert "CT1 PACS@10.0.0.7:104" in sebago.ok("facility", "list")

    sebago.ok(
        "user", "add", "Ann", "--role", "clinician", "--facility", "CARY", "--password-stdin",
        stdin="correct horse\n",
    )  # fmt: skip
    assert sebago.ok("user", "disable", "ann") == "ann disabled\n"
    (ann,) = sebago.json("user", "list")["users"]
    assert (ann["login"], ann["role"], ann["disabled"]) == ("ann", "clinician", True)
    assert sebago.ok("user", "enable", "ann") == "ann enabled\n"

    done = sebago("token", "create", "--role", "sender", "--facility", "CARY", "--days", "30")
    token = done.stdout.strip()
    assert done.stdout == f"{token}\n"
    token_id = token.split("_")[1]
    assert token not in done.stderr
    (listed,) = sebago.json("token", "list")["tokens"]
    assert (listed["id"], listed["state"], listed["facility"]) == (token_id, "active", "CARY")
    assert token not in sebago.ok("token", "list")

    index = Index.open(sebago.folder / "data", sebago.environment.get("SEBAGO_DATABASE_URL", ""))
    registry = Registry(index)
    assert registry.authenticate(token).facility == "CARY"
    assert registry.verify_password("ann", "correct horse").actor == "user:ann"
    with index.read() as conn:
        events = list(replay(conn))
    assert [event.kind for event in events] == [
        "facility.added",
        "peer.set",
        "peer.set",
        "peer.set",
        "peer.removed",
        "user.added",
        "user.disabled",
        "user.enabled",
        "token.created",
    ]
    assert all(event.actor.startswith("local:") for event in events)
    index.dispose()


def test_a_change_takes_effect_in_a_running_process_within_five_seconds(sebago):
    sebago.add_facility("CARY", "--ae", "CT1")
    token = sebago.ok("token", "create", "--role", "clinician", "--facility", "CARY").strip()
    index = Index.open(sebago.folder / "data")
    registry = Registry(index)
    registry.authenticate(token)
    assert sebago.process("token", "revoke", token.split("_")[1]).returncode == 0
    assert sebago.process("facility", "ae", "add", "CARY", "CT2").returncode == 0
    ended = time.monotonic() + 5
    waiting = True
    while waiting and time.monotonic() < ended:
        time.sleep(0.05)
        try:
            registry.authenticate(token)
        except NotSignedIn:
            waiting = False
    assert not waiting
    assert registry.who_is_ae("CT2", "10.1.2.3") is not None
    index.dispose()


def test_the_same_command_again_is_safe_and_says_so(sebago):
    for said in ("CARY registered\n", "CARY already there\n"):
        arguments = ["facility", "add", "CARY", "--name", "Cary", "--authority", "CARY"]
        assert sebago.ok(*arguments, "--ae", "CT1") == said
    assert sebago.ok("facility", "ae", "add", "CARY", "CT1") == "CARY CT1 already there\n"
    token_id = sebago.json("token", "create", "--role", "sender", "--facility", "CARY")["id"]
    assert sebago.ok("token", "revoke", token_id) == f"{token_id} revoked\n"
    assert sebago.ok("token", "revoke", token_id) == f"{token_id} was revoked already\n"
    assert sebago.json("token", "list")["tokens"][0]["state"] == "revoked"


def test_an_unknown_facility_is_answered_with_the_one_that_was_meant(sebago):
    sebago.add_facility("CARY")
    sebago.add_facility("MGMC")
    done = sebago("token", "create", "--role", "sender", "--facility", "CARRY")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "error: facility 'CARRY' is not registered [unknown-facility]\n"
        "  why: known codes are CARY, MGMC\n"
        "  do:  did you mean CARY?  Or  sebago facility add CARRY --name ... --authority ...\n"
    )


def test_an_ae_title_of_another_facility_is_refused_clearly(sebago):
    sebago.add_facility("CARY", "--ae", "CT1")
    sebago.add_facility("MGMC")
    done = sebago("facility", "ae", "add", "MGMC", "CT1@10.0.0.9:104")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: AE title 'CT1' belongs to CARY already [already-there]\n  why: "
    )


def test_what_is_not_of_its_form_is_a_usage_error_and_changes_nothing(sebago):
    for arguments in (
        ["facility", "add", "cary", "--name", "Cary", "--authority", "CARY"],
        ["facility", "add", "CARY", "--name", "Cary", "--authority", "CARY&x&ISO"],
        ["facility", "add", "CARY", "--name", "Cary", "--authority", "C", "--ae", "A" * 17],
        ["token", "create", "--role", "doctor"],
        ["token", "create", "--role", "sender"],
    ):
        done = sebago(*arguments)
        assert done.returncode == 2, done.stderr
        assert "[bad-value]\n  why: " in done.stderr
    assert sebago.json("facility", "list") == {"facilities": []}


def test_a_password_is_required_and_is_never_an_argument(sebago):
    sebago.add_facility("CARY")
    add = ["user", "add", "ann", "--role", "clinician", "--facility", "CARY"]
    done = sebago(*add)
    assert done.returncode == 2
    assert "give --password-stdin" in done.stderr
    assert sebago(*add, "--password-stdin", stdin="\n").returncode == 2
    assert sebago(*add, "--password-stdin", stdin="x" * 5000).returncode == 2
    assert sebago.ok(*add, "--password-stdin", stdin="correct horse\r\n") == "ann may sign in\n"
    assert sebago(*add, "--password-stdin", stdin="another\n").returncode == 1
    index = Index.open(sebago.folder / "data")
    Registry(index).verify_password("ann", "correct horse")
    index.dispose()


def test_lists_of_nothing_print_nothing_on_stdout_and_the_next_step_on_stderr(sebago):
    for command in ("facility", "user", "token"):
        done = sebago(command, "list")
        assert done.returncode == 0
        assert done.stdout == ""
        assert f"sebago {command}" in done.stderr
