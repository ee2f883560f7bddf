"""Rows, goals, medians; the table on the screen, as Markdown and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.targets import DISK, ORTHANC, PYNETDICOM, SEBAGO, STORESCP

COLUMNS = (SEBAGO, ORTHANC, STORESCP, PYNETDICOM, DISK)


@dataclass(frozen=True, slots=True)
class Goal:
    """What Sebago's median must reach: against a peer's median, or an absolute limit.

    `factor` with a peer: at least that many times its rate, or at most that many times its time.
    Without a peer `factor` is the limit in the row's unit.
    """

    factor: float
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one goal came out."""

    goal: str
    measured: str
    word: str
    """`ok`, `missed`, or `-` where one side was not measured."""


@dataclass(slots=True)
class Row:
    """One line of the table: samples of every target, one a round."""

    key: str
    title: str
    unit: str
    higher_is_better: bool = True
    goals: tuple[Goal, ...] = ()
    most: bool = False
    """The most of all samples counts, not their median: memory."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, target: str, value: float) -> None:
        """One round's figure."""
        self.samples.setdefault(target, []).append(value)

    def median(self, target: str) -> float | None:
        """Median of the rounds (or the most); None where nothing was measured."""
        values = self.samples.get(target)
        if not values:
            return None
        return max(values) if self.most else statistics.median(values)

    def verdicts(self) -> list[Verdict]:
        """Every goal with what was measured."""
        return [self._judge(goal) for goal in self.goals]

    def _judge(self, goal: Goal) -> Verdict:
        mine = self.median(SEBAGO)
        sign = ">=" if self.higher_is_better else "<="
        if not goal.peer:
            text = f"{sign} {figure(goal.factor)} {self.unit}"
            if mine is None:
                return Verdict(text, "", "-")
            return Verdict(text, figure(mine), self._word(mine, goal.factor))
        theirs = self.median(goal.peer)
        text = f"{sign} {goal.factor:g} x {goal.peer}"
        if mine is None or not theirs:
            return Verdict(text, "", "-")
        ratio = mine / theirs
        return Verdict(text, f"{ratio:.2f} x", self._word(ratio, goal.factor))

    def _word(self, value: float, bound: float) -> str:
        good = value >= bound if self.higher_is_better else value <= bound
        return "ok" if good else "missed"


def figure(value: float) -> str:
    """A number with about three figures that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(row: Row, target: str) -> str:
    """Median, and in brackets the least and the most of several rounds."""
    values = row.samples.get(target)
    if not values:
        return ""
    middle = figure(max(values) if row.most else statistics.median(values))
    if row.most or len(values) == 1:
        return middle
    return f"{middle} [{figure(min(values))}-{figure(max(values))}]"


def lines_of(rows: Sequence[Row]) -> list[list[str]]:
    """The table's cells; a row with several goals takes several lines."""
    columns = [c for c in COLUMNS if any(row.samples.get(c) for row in rows)]
    table = [["row", "what", *columns, "goal", "is", ""]]
    for row in rows:
        verdicts = row.verdicts() or [Verdict("", "", "")]
        for i, verdict in enumerate(verdicts):
            left = [row.key, f"{row.title}, {row.unit}", *(cell(row, c) for c in columns)]
            shown = left if i == 0 else [""] * len(left)
            table.append([*shown, verdict.goal, verdict.measured, verdict.word])
    return table


def as_text(rows: Sequence[Row]) -> str:
    """The table in columns for a terminal, with notes beneath."""
    table = lines_of(rows)
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    out = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    out.insert(1, "-" * max(len(line) for line in out))
    out += [f"{row.key}: {note}" for row in rows for note in row.notes]
    return "\n".join(out)


def as_markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    head, *body = lines_of(rows)
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    out += ["| " + " | ".join(line) + " |" for line in body]
    notes = [f"- `{row.key}`: {note}" for row in rows for note in row.notes]
    return "\n".join([*out, *([""] if notes else []), *notes])


def as_data(rows: Sequence[Row], about: Mapping[str, object]) -> dict[str, object]:
    """Everything that was measured, for JSON."""
    return {
        "about": dict(about),
        "rows": [
            {
                "key": row.key,
                "title": row.title,
                "unit": row.unit,
                "higher_is_better": row.higher_is_better,
                "samples": row.samples,
                "medians": {name: row.median(name) for name in row.samples},
                "goals": [
                    {"goal": v.goal, "measured": v.measured, "verdict": v.word}
                    for v in row.verdicts()
                ],
                "notes": row.notes,
            }
            for row in rows
        ],
    }
