"""SQL finds exactly what `sebago.dicom.matching.matches` says in plain Python."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sebago.dicom.matching import Matcher, NameMatcher, matcher, matches, name_matcher
from sebago.errors import BadRequest
from sebago.index import search
from sebago.index.record import KnownSeries, record_batch
from sebago.index.search import Query
from sebago.index.search_keys import KEYS, Level
from sebago.index.views import View
from tests.databases import DIALECTS, an_index
from tests.index.made import new, uid

WORDS = [
    "",
    "a",
    "AB",
    "ab",
    "Ab C",
    "É",
    "e",
    "a%b",
    "a_b",
    "a!b",
    "a[b]",
    "a^b",
    "山",
    "ab^^",
    "ß",
]
NAMES = [
    *WORDS,
    "Smith^John",
    "SMITH^JOHN=山田^太郎=やまだ",
    "smith",
    "Smithers^Ann",
    "=山",
    "==や",
]
DATES = ["", "20240101", "20240229", "20241231", "2024.03.01"]
TIMES = ["", "10", "1000", "100000", "1015", "101559.999", "235960", "000000"]
COUNT = 40

patterns = st.lists(st.sampled_from([*"*?%_![]^ab=\\ ", "AB", "smith", "山", "é"]), max_size=6).map(
    "".join
)
dates = st.sampled_from(["20240101", "20240229", "20241231"])
times = st.sampled_from(["10", "1000", "100000", "101559.5", "23", "0000"])


def ranges(ends):
    return st.one_of(
        ends,
        ends.map("{}-".format),
        ends.map("-{}".format),
        st.tuples(ends, ends).map("-".join),
        st.tuples(ends, ends).map("\\".join),
    )


ASKED = {
    "patient_name": st.one_of(patterns, st.sampled_from(NAMES)),
    "patient_id": st.one_of(patterns, st.sampled_from(WORDS)),
    "study_description": st.one_of(patterns, st.sampled_from(WORDS)),
    "patient_sex": st.one_of(patterns, st.sampled_from(["M", "F", "M,F", "m"])),
    "study_date": ranges(dates),
    "study_time": ranges(times),
}


@pytest.fixture(scope="module", params=DIALECTS)
def filled(request, tmp_path_factory):
    """An index of studies of all kinds of values, and what each says."""
    items = [
        new(
            study_instance_uid=uid(number),
            series_instance_uid=uid(number, 1),
            sop_instance_uid=uid(number, 1, 1),
            patient_name=NAMES[number % len(NAMES)],
            patient_id=WORDS[number % len(WORDS)],
            study_description=WORDS[(number * 7) % len(WORDS)],
            patient_sex=["", "M", "F", "O"][number % 4],
            study_date=DATES[number % len(DATES)],
            study_time=TIMES[number % len(TIMES)],
        )
        for number in range(1, COUNT + 1)
    ]
    with an_index(request.param, tmp_path_factory.mktemp("filled")) as index:
        with index.write() as connection:
            record_batch(connection, KnownSeries(), items)
        with index.read() as connection:
            rows = search.studies(connection, View("CARY"), Query(Level.STUDY)).rows
        assert len(rows) == COUNT
        yield index, rows


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_sql_finds_what_the_plain_matcher_finds(filled, data):
    index, rows = filled
    column = data.draw(st.sampled_from(sorted(ASKED)))
    (path, key) = next((path, key) for path, key in KEYS.items() if key.column == column)
    asked = data.draw(ASKED[column])
    query = Query(Level.STUDY, {path: asked})
    wanted: Matcher | NameMatcher
    try:
        if key.vr == "PN":
            wanted = name_matcher(asked)
        else:
            text = asked.upper() if key.vr == "CS" else asked
            wanted = matcher(text, key.vr, folded=key.folded)
    except BadRequest:
        with index.read() as connection, pytest.raises(BadRequest):
            search.studies(connection, View("CARY"), query)
        return
    with index.read() as connection:
        found = {row.custody_id for row in search.studies(connection, View("CARY"), query).rows}
    assert found == {row.custody_id for row in rows if matches(wanted, getattr(row, column))}
