"""What a command says: results on stdout, everything else on stderr, errors in three parts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sebago.errors import SebagoError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Output:
    """How this call speaks."""

    as_json: bool = False
    quiet: bool = False
    verbose: int = 0
    color: bool = True

    def result(self, value: Mapping[str, Any], text: str) -> None:
        """The answer, on stdout: one JSON object with `--json`, else the text (nothing if empty)."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False))
        elif text:
            print(text)

    def note(self, text: str) -> None:
        """Something beside the answer, on stderr; not with `-q`."""
        if not self.quiet:
            print(plain(text), file=sys.stderr)

    def detail(self, text: str) -> None:
        """Something for those who want to know more, on stderr with `-v`."""
        if self.verbose and not self.quiet:
            print(plain(text), file=sys.stderr)

    def refused(self, text: str) -> None:
        """One line for one thing that was refused or failed, on stderr, also with `-q`."""
        print(plain(text), file=sys.stderr)

    def error(self, what: str, code: str, why: str, do: str) -> None:
        """An error in its three parts, on stderr."""
        word = "\x1b[1;31merror:\x1b[0m" if self.stderr_color else "error:"
        print(f"{word} {plain(what)} [{code}]", file=sys.stderr)
        print(f"  why: {plain(why)}", file=sys.stderr)
        print(f"  do:  {plain(do)}", file=sys.stderr)

    def sebago_error(self, error: SebagoError) -> None:
        """An error of the tree; its title is the cause where it names none."""
        self.error(
            error.detail,
            error.code,
            error.why or f"{error.title[:1].lower()}{error.title[1:]}",
            error.do or "run the command with --help for what it takes",
        )

    @property
    def stderr_color(self) -> bool:
        """Whether stderr may carry colour: a terminal, and nobody said otherwise."""
        return self.color and not os.environ.get("NO_COLOR") and sys.stderr.isatty()

    @property
    def shows_progress(self) -> bool:
        """Whether a moving bar may be drawn: stderr is a terminal, and not `-q`."""
        return not self.quiet and sys.stderr.isatty()

    def console(self) -> Console:
        """A rich console on stderr that keeps to the same manners, for progress bars."""
        from rich.console import Console

        return Console(
            stderr=True, no_color=not self.stderr_color, quiet=self.quiet, highlight=False
        )


def plain(text: str) -> str:
    """Text that cannot steer a terminal: control characters are spelled out."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns under their heads, two blanks between, none at the end of a line."""
    cells = [list(heads), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def iso(at_us: int | None) -> str:
    """UTC microseconds as ISO 8601 to the second, with its zone; "" for None."""
    if at_us is None:
        return ""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat()
