"""The process tree: doors that are open when it says so, workers that come back, an end in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time

import psutil  # type: ignore[import-untyped]  # ships no annotations
import pytest

from bench.instances import fresh_study, small_templates
from bench.load import LoadFailed, StoreTarget, store_some
from tests.serve.watch import CALLING, FACILITY, echoes, is_ready, metrics, wait_for, workers
from tests.whole.server import Server

RECEIVED = 'sebago_instances_received_total{door="dimse",outcome="stored"}'


def test_ready_is_said_once_on_stdout_and_everything_else_on_stderr(running: Server):
    assert running.stdout.read_text() == "ready\n"
    said = running.log.read_text()
    assert f"Sebago at http://127.0.0.1:{running.http_port}" in said
    assert f"DICOM SEBAGO@127.0.0.1:{running.dimse_port}" in said
    assert echoes(running)
    assert is_ready(running)


def test_the_supervisor_holds_no_threads_and_no_database(running: Server):
    assert running.running is not None
    supervisor = psutil.Process(running.running.pid)
    assert supervisor.num_threads() == 1
    assert not [file.path for file in supervisor.open_files() if file.path.endswith(".db")
                and "metrics" not in file.path]  # fmt: skip
    assert len(workers(running)) == 5


def test_the_data_folder_is_for_our_eyes_only(running: Server):
    assert running.data.stat().st_mode & 0o007 == 0


def test_a_worker_that_is_killed_is_started_again_and_counted(server: Server):
    server.start()
    token = server.token(FACILITY, "operator")
    before = {child.pid for child in workers(server)}
    for child in workers(server):
        child.kill()
    wait_for(lambda: len(workers(server)) == 3, "three workers")
    wait_for(lambda: echoes(server) and is_ready(server), "open doors")
    assert before.isdisjoint(child.pid for child in workers(server))
    wait_for(lambda: _deaths(server, token) == {"dimse": 1, "web": 1, "keeper": 1}, "deaths")
    # Counted on, not anew: and a worker started later does not bring its parent's count along.
    victim = next(child for child in workers(server) if child.nice() > 0)
    victim.kill()
    wait_for(lambda: _deaths(server, token)["keeper"] == 2, "another death")
    assert _deaths(server, token) == {"dimse": 1, "web": 1, "keeper": 2}
    said = [line for line in server.log.read_text().splitlines() if '"worker-died"' in line]
    assert len(said) == 4
    assert '"status": -9' in said[0]
    assert {json.loads(line)["worker_pid"] for line in said[:3]} == before
    assert server.stop() == 0


def _deaths(server: Server, token: str) -> dict[str, float]:
    found = metrics(server, token=token)
    name = "sebago_worker_deaths_total"
    return {
        key.partition('"')[2].rstrip('"}'): value
        for key, value in found.items()
        if key.startswith(name)
    }


def test_what_was_counted_survives_the_worker_that_counted_it(server: Server):
    server.start()
    token = server.token(FACILITY, "operator")
    target = StoreTarget(server.dimse, server.ae_title, CALLING)
    store_some(target, small_templates(2), 4, study=fresh_study(), first_number=1)
    assert metrics(server, token=token)[RECEIVED] == 4
    for child in workers(server):
        child.kill()
    wait_for(lambda: echoes(server) and is_ready(server), "open doors")
    assert metrics(server, token=token)[RECEIVED] == 4


def test_when_the_supervisor_is_killed_no_half_of_it_lives_on_and_it_comes_back(server: Server):
    server.start()
    target = StoreTarget(server.dimse, server.ae_title, CALLING)
    study = fresh_study()
    store_some(target, small_templates(2), 4, study=study, first_number=1)
    children = workers(server)
    assert server.running is not None
    os.kill(server.running.pid, signal.SIGKILL)
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert len(gone) == 3
    server.kill()
    server.start()
    assert server.ready_after_s < 30  # 5 s on a machine of one's own: see the benchmarks
    assert server.status()["instances"] == 4


def test_sigterm_and_ctrl_c_end_it_with_0(server: Server):
    for number in (signal.SIGTERM, signal.SIGINT):
        server.start()
        assert server.running is not None
        began = time.monotonic()
        os.killpg(server.running.pid, number)  # a terminal's Ctrl-C reaches the whole group
        assert server.running.process.wait(timeout=60) == 0
        assert time.monotonic() - began < 30
        server.kill()


def test_sigterm_while_it_starts_ends_it_in_order(server: Server):
    server.start(wait=False)
    assert server.running is not None
    supervisor = psutil.Process(server.running.pid)
    wait_for(lambda: bool(supervisor.children()), "a first child")
    supervisor.terminate()
    assert server.running.process.wait(timeout=90) == 0
    server.kill()


def test_an_idle_association_and_a_silent_connection_do_not_hold_it_up(server: Server):
    server.start()
    with socket.create_connection(server.dimse), socket.create_connection(server.dimse) as half:
        half.sendall(b"\x01\x00\x00\x00\x01\x00half")
        with socket.create_connection(("127.0.0.1", server.http_port)) as slow:
            slow.sendall(b"GET /healthz HT")
            began = time.monotonic()
            assert server.stop(grace_s=40) == 0
            assert time.monotonic() - began < 30


@pytest.mark.parametrize("door", ["http", "dimse"])
def test_a_port_that_is_taken_is_said_in_three_parts(server: Server, door: str):
    port = {"http": server.http_port, "dimse": server.dimse_port}[door]
    with socket.create_server(("127.0.0.1", port)):
        done = server.try_command(
            "serve", "--http", f"127.0.0.1:{server.http_port}",
            "--dimse", f"127.0.0.1:{server.dimse_port}",
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    what, why, do = done.stderr.splitlines()
    assert what.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert what.endswith("[port-taken]")
    assert why.startswith("  why: ")
    assert "in use" in what + why
    assert f"--{door}" in do


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--role", "nothing"], 1),
        (["--http", "nowhere"], 1),
        (["--dimse", "127.0.0.1:99999"], 1),
        (["--workers", "0"], 2),
        (["--http", "no.such.host.invalid:80"], 1),
    ],
)
def test_what_cannot_be_started_says_so_in_three_parts(server: Server, arguments, status):
    done = server.try_command("serve", *arguments, timeout_s=120)
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == 3, done.stderr
    assert done.stderr.startswith("error: ")


def test_a_folder_that_cannot_be_used_is_said_so(server: Server):
    blocked = server.folder / "blocked"
    blocked.write_text("a file")
    done = server.try_command("--data", blocked, "serve")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert str(blocked) in done.stderr


def test_a_database_of_a_newer_program_is_refused_in_three_parts(server: Server):
    connection = sqlite3.connect(server.data / "index.db")
    connection.execute("update schema_version set revision = '9999'")
    connection.commit()
    connection.close()
    done = server.try_command(
        "serve", "--http", f"127.0.0.1:{server.http_port}",
        "--dimse", f"127.0.0.1:{server.dimse_port}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "[newer-database]" in done.stderr
    assert [line[:7] for line in done.stderr.splitlines()[-3:]] == ["error: ", "  why: ", "  do:  "]


def test_a_second_server_that_finds_the_doors_taken_leaves_the_first_ones_counts(server: Server):
    server.start()
    target = StoreTarget(server.dimse, server.ae_title, CALLING)
    store_some(target, small_templates(2), 2, study=fresh_study(), first_number=1)
    second = Server(server.folder, http_port=server.http_port, environment=server.environment)
    argv = ("serve", "--http", f"127.0.0.1:{server.http_port}", "--dimse", "127.0.0.1:0")
    assert second.try_command(*argv).returncode == 1
    token = server.token(FACILITY, "operator")
    assert metrics(server, token=token)[RECEIVED] == 2


def test_an_empty_folder_is_all_it_needs(server: Server):
    fresh = Server(server.folder / "fresh", workers=1, environment=server.environment)
    fresh.start()
    try:
        assert is_ready(fresh)
        assert not echoes(fresh, "ANYBODY")
        assert fresh.status()["instances"] == 0
        assert fresh.stop() == 0
    finally:
        fresh.close()


def test_one_role_alone_is_ready_when_its_own_door_is_open(server: Server):
    argv = [*_sebago(), "serve", "--role", "web", "--http", f"127.0.0.1:{server.http_port}",
            "--dimse", f"127.0.0.1:{server.dimse_port}", "--workers", "1"]  # fmt: skip
    alone = subprocess.Popen(argv, env=server.env, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    try:
        assert alone.stdout is not None
        assert alone.stdout.readline() == "ready\n"
        assert is_ready(server)
        assert not echoes(server)
    finally:
        alone.terminate()
        assert alone.wait(timeout=60) == 0
        assert alone.stdout is not None
        alone.stdout.close()


def _sebago() -> tuple[str, ...]:
    from tests.whole.server import sebago_command

    return sebago_command()


def test_a_facility_that_is_added_while_it_runs_is_known_soon(running: Server):
    code = f"LATE{os.getpid() % 10_000}"
    assert not echoes(running, f"{code}SCU")
    running.add_facility(code, peers=[f"{code}SCU"])
    wait_for(lambda: echoes(running, f"{code}SCU"), "the new caller to be let in")


def test_sigterm_under_load_loses_nothing_that_was_acknowledged(server: Server):
    import threading

    server.start()
    target = StoreTarget(server.dimse, server.ae_title, CALLING)
    study = fresh_study()
    acknowledged: list[int] = []

    def load() -> None:
        number = 1
        while True:
            try:
                run, _, _ = store_some(
                    target, small_templates(2), 5, study=study, first_number=number
                )
            except (OSError, LoadFailed):
                return
            acknowledged.append(run.instances)
            number += 5

    loading = threading.Thread(target=load)
    loading.start()
    wait_for(lambda: sum(acknowledged) >= 20, "twenty acknowledgements")
    assert server.stop(grace_s=40) == 0
    loading.join(timeout=60)
    assert not loading.is_alive()
    assert int(str(server.status()["instances"])) >= sum(acknowledged)
    assert server.try_command("verify", "--deep").returncode == 0
