"""The docs say what the program does: every list in them is walked in the code, not sampled."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import REGISTRY

import sebago
from sebago.cli import app as cli
from sebago.dicom.byte_source import INFLATE_RATIO_MAX
from sebago.dicom.frames import FRAME_BYTES_MAX
from sebago.dicom.identifier import KEY_BYTES_MAX
from sebago.dicom.matching import VALUES_MAX
from sebago.dicom.scan import NESTING_MAX
from sebago.dicom.uids import TRANSFER_SYNTAXES
from sebago.dimse.acceptor import Acceptor
from sebago.dimse.command import COMMAND_BYTES_MAX
from sebago.dimse.lobby import ASSOCIATE_BYTES_MAX
from sebago.dimse.sink import IDENTIFIER_BYTES_MAX
from sebago.errors import SebagoError
from sebago.gate import PURPOSES, REASONS, Role
from sebago.index.search_keys import KEYS
from sebago.intake.media import ZIP_ENTRIES_MAX
from sebago.registry.credentials import PASSWORD_BYTES_MAX
from sebago.scp.contexts import SERVICES
from sebago.settings import GIB, MIB, Settings
from sebago.web.dicomweb.frames import FRAMES_MAX
from sebago.web.dicomweb.multipart import BOUNDARY_CHARS_MAX, HEAD_BYTES_MAX
from sebago.web.dicomweb.query import FIELDS_MAX, VALUE_CHARS_MAX
from sebago.web.dicomweb.routes import resources
from sebago.web.dicomweb.stow import AHEAD_BYTES, BODY_IDLE_TIMEOUT_S
from sebago.web.dicomweb.stow_metadata import FORM_BYTES_MAX, PARTS_MAX
from sebago.web.door import HEADERS_BYTES_MAX
from sebago.web.server import HEAD_TIMEOUT_S
from sebago.web.threads import SEND_TIMEOUT_S

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "sebago"

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```.*?^```|    .*?$)", re.MULTILINE | re.DOTALL)


@cache
def doc(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@cache
def import_everything() -> None:
    """So that every subclass and every metric there is has been declared."""
    for module in pkgutil.walk_packages(sebago.__path__, "sebago."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def rows(text: str, first_cell: str) -> list[str]:
    """Rows of tables whose first cell is, or begins with, this."""
    return [line for line in text.splitlines() if line.startswith(f"| {first_cell}")]


def lobby_max() -> int:
    value: int = inspect.signature(Acceptor).parameters["lobby_max"].default
    return value


# --- settings -----------------------------------------------------------------------------------


def shown_default(name: str, default: object) -> str:
    if name == "workers":
        return "one a core, at most 8"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int) and default >= MIB:
        unit = f"{default // GIB} GiB" if default % GIB == 0 else f"{default // MIB} MiB"
        return f"{default} ({unit})"
    return str(default) or "empty"


def settings_table() -> list[str]:
    """The rows that operations.md has to have: print them to renew the table."""
    return [
        f"| `SEBAGO_{name.upper()}` | {shown_default(name, field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_every_setting_stands_in_operations_with_its_default_and_sentence():
    lines = doc("operations.md").splitlines()
    missing = [row for row in settings_table() if row not in lines]
    assert not missing, "\n".join(missing)


def test_no_setting_is_described_that_does_not_exist():
    known = {f"SEBAGO_{name.upper()}" for name in Settings.model_fields} | {"SEBAGO_CONFIG"}
    for page in pages():
        if page.name != "CONTRIBUTING.md" and page.parent.name != "decisions":
            named = set(re.findall(r"\bSEBAGO_[A-Z_]+\b", page.read_text(encoding="utf-8")))
            assert not {name for name in named - known if not name.startswith("SEBAGO_TEST_")}, page


# --- commands -----------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command's full name and its options."""
    root: Any = typer.main.get_command(cli._root)
    waiting: list[tuple[str, Any]] = [("sebago", root)]
    while waiting:
        name, command = waiting.pop()
        if hasattr(command, "list_commands"):
            waiting += [
                (f"{name} {sub}", command.get_command(None, sub))
                for sub in command.list_commands(None)
            ]
        else:
            yield name, long_options(command)


def long_options(command: Any) -> list[str]:
    return [
        option
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
        if option.startswith("--") and option != "--help"
    ]


def test_every_command_has_a_row_with_all_its_options_in_operations():
    found = dict(commands())
    assert len(found) >= 15
    for name, options in found.items():
        said = [
            row
            for row in rows(doc("operations.md"), f"`{name}")
            if re.match(rf"\| `{name}[ `]", row)
        ]
        assert len(said) == 1, f"operations.md has {len(said)} rows for {name}"
        assert [option for option in options if option not in said[0]] == [], name


def test_every_global_option_stands_in_operations():
    root = typer.main.get_command(cli._root)
    text = doc("operations.md")
    assert [option for option in long_options(root) if f"`{option}" not in text] == []


def test_no_command_is_described_that_does_not_exist():
    known = {name for name, _ in commands()}
    groups = {name.rpartition(" ")[0] for name in known}
    for row in rows(doc("operations.md"), "`sebago "):
        words = re.match(r"\| `(sebago(?: [a-z]+)+)", row)
        assert words is not None
        assert words[1] in known, words[1]
    assert "sebago facility ae" in groups


# --- metrics and log lines ----------------------------------------------------------------------


def test_every_metric_stands_in_operations_with_its_labels():
    import_everything()
    metrics = [metric for metric in REGISTRY.collect() if metric.name.startswith("sebago_")]
    assert len(metrics) >= 9
    for metric in metrics:
        name = metric.name + ("_total" if metric.type == "counter" else "")
        said = rows(doc("operations.md"), f"`{name}` |")
        assert len(said) == 1, name
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        assert [label for label in labels if f"`{label}`" not in said[0]] == [], name


def log_events() -> Iterator[tuple[str, str]]:
    """(module, event) of every structured log line in the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "structlog.get_logger" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                event = node.args[0] if node.args else None
                assert isinstance(event, ast.Constant), f"{path}:{node.lineno}: no fixed event"
                yield path.relative_to(SOURCE).as_posix(), str(event.value)


def test_every_log_line_stands_in_operations():
    found = list(log_events())
    assert len(found) >= 20
    missing = {pair for pair in found if not rows(doc("operations.md"), f"`{pair[1]}`")}
    assert not missing


# --- errors -------------------------------------------------------------------------------------


def error_kinds() -> Iterator[type[SebagoError]]:
    """Every kind of error that the program declares (tests declare some of their own)."""
    import_everything()
    waiting = [SebagoError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__.startswith("sebago."):
            yield kind
        waiting.extend(kind.__subclasses__())


def sections(text: str) -> dict[str, str]:
    """Third-level headings of a page and what stands under each."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return {
        name: body.split("\n## ")[0] for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_error_code_is_an_anchor_with_its_statuses():
    said = sections(doc("errors.md"))
    kinds = list(error_kinds())
    assert len(kinds) >= 30
    for kind in kinds:
        assert kind.code in said, kind.code
        statuses = f"HTTP {kind.http_status}, DIMSE {kind.dimse_status:04X}."
        assert statuses in said[kind.code], f"{kind.__name__}: {kind.code}: {statuses}"
        assert "*Do:* " in said[kind.code], kind.code


def test_no_error_is_described_that_does_not_exist():
    beside_the_tree = {"method-not-allowed", "usage"}
    assert (
        set(sections(doc("errors.md"))) == {kind.code for kind in error_kinds()} | beside_the_tree
    )


# --- the gate -----------------------------------------------------------------------------------


def test_every_reason_code_of_the_gate_stands_in_security_with_its_sentence():
    lines = doc("security.md").splitlines()
    missing = [
        reason for reason, text in REASONS.items() if f"| `{reason}` | {text} |" not in lines
    ]
    assert not missing


def test_every_role_and_purpose_of_use_stands_in_security():
    text = doc("security.md")
    assert [role for role in Role if f"`{role}`" not in text] == []
    assert [code for code, words in PURPOSES.items() if f"`{code}` ({words})" not in text] == []


def size(count: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (1024, "KiB")):
        if count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count:,}"


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("connections without a proposal", f"{lobby_max():,} for"),
        ("A-ASSOCIATE-RQ", size(ASSOCIATE_BYTES_MAX)),
        ("command set", size(COMMAND_BYTES_MAX)),
        ("query identifier", size(IDENTIFIER_BYTES_MAX)),
        ("query identifier", f"a key {size(KEY_BYTES_MAX)}"),
        ("query identifier", f"{VALUES_MAX:,} values"),
        ("sequences of undefined length", f"{NESTING_MAX} levels"),
        ("deflated data set", f"{INFLATE_RATIO_MAX} times"),
        ("zip, gzip in `import`", f"{ZIP_ENTRIES_MAX:,} entries"),
        ("frame", size(FRAME_BYTES_MAX)),
        ("HTTP head", f"{HEAD_TIMEOUT_S} s; {size(HEADERS_BYTES_MAX)}"),
        ("HTTP body", f"{BODY_IDLE_TIMEOUT_S:.0f} s without a byte; {size(AHEAD_BYTES)}"),
        ("answer that the client does not take", f"{SEND_TIMEOUT_S:.0f} s"),
        ("multipart part head", f"{size(HEAD_BYTES_MAX)}; {BOUNDARY_CHARS_MAX} characters"),
        ("store request by metadata", f"{size(FORM_BYTES_MAX)}, {PARTS_MAX:,} parts"),
        ("query string", f"{FIELDS_MAX:,} parameters, {size(VALUE_CHARS_MAX)} a value"),
        ("frames in one request", f"{FRAMES_MAX:,}"),
        ("password", f"{PASSWORD_BYTES_MAX:,} bytes"),
    ],
)
def test_limits_of_hostile_input_stand_in_security_as_they_are(row, limit):
    said = rows(doc("security.md"), row)
    assert said
    assert any(limit in line for line in said), f"{row}: {limit}"


# --- conformance --------------------------------------------------------------------------------


def test_every_transfer_syntax_stands_in_the_conformance_statement():
    text = doc("conformance.md")
    missing = [s.uid for s in TRANSFER_SYNTAXES.values() if f"| `{s.uid}` | {s.name} |" not in text]
    assert not missing


def test_every_matching_key_stands_in_the_conformance_statement():
    text = doc("conformance.md")
    for path in KEYS:
        tags = " > ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in path)
        assert len(rows(text, f"{tags} |")) == 1, tags


def test_every_service_class_stands_in_the_conformance_statement():
    text = doc("conformance.md")
    assert [uid for uid in SERVICES if not re.search(rf"{re.escape(uid)}\b", text)] == []


def test_every_web_resource_stands_in_the_conformance_statement():
    text = doc("conformance.md")
    parameters: Any = dict.fromkeys(inspect.signature(resources).parameters)
    found = resources(**parameters)
    assert len(found) >= 10
    for resource in found:
        path = re.sub(r":path}", "}", resource.path)
        stem, _, last = path.rpartition("/")
        if last in ("metadata", "rendered", "thumbnail"):
            assert f"`/{last}`" in text, path
            path = stem
        assert path in text, path


# --- links and words ----------------------------------------------------------------------------


def pages() -> list[Path]:
    """Everything written for people."""
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as a renderer makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads)
    return set(plain)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{page.name} links to {target}"


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git: this is no work tree of it")
    return [ROOT / name for name in listed.decode().split("\0") if name]


def test_no_tracked_file_names_a_place_on_somebodys_machine_or_a_registry():
    # Put together here, so that this file does not name them.
    words = [
        re.escape("/".join(("", "root", ""))),
        re.escape("/".join(("", "work", ""))),
        r"/home/(?!sebago)[a-z]+/",
        re.escape("." + "pyenv"),
        *(
            re.escape(".".join(parts))
            for parts in (
                ("pypi", "org"),
                ("python" + "hosted", "org"),
                ("registry", "npmjs"),
                ("deb", "debian", "org"),
                ("archive", "ubuntu", "com"),
            )
        ),
    ]
    unwanted = re.compile("|".join(words).encode())
    for path in tracked_files():
        if path.is_file():
            found = unwanted.search(path.read_bytes())
            assert found is None, f"{path.relative_to(ROOT)}: {found[0] if found else b''!r}"
