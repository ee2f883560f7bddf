"""Bytes to text, as declared, as misdeclared, and as garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom.charset import charsets_of, decode_text, decode_values

# The example names of PS3.5 annexes H to K, byte for byte.
KANJI = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
KANA = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
HANGUL = (
    b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
)


@pytest.mark.parametrize(
    ("declared", "raw", "text"),
    [
        (b"\\ISO 2022 IR 87", KANJI, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (b"ISO 2022 IR 13\\ISO 2022 IR 87", KANA, "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (b"\\ISO 2022 IR 149", HANGUL, "Hong^Gildong=洪^吉洞=홍^길동"),
        (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
        (b"GB18030", "Wang=王^小东".encode("gb18030"), "Wang=王^小东"),
        (b"\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab= ", "Zhang=张^小东="),
        (
            b"ISO 2022 IR 100\\ISO 2022 IR 144",
            b"J\xe9r\xf4me^\x1b-L\xbb\xee\xda^\xe9",
            "Jérôme^Люк^é",
        ),
    ],
)
def test_declared_character_sets_are_read(declared, raw, text):
    assert decode_text(raw, "PN", charsets_of(declared)) == text


@pytest.mark.parametrize(
    ("misspelt", "right"),
    [
        (b"ISO-IR 100", ("ISO_IR 100",)),
        (b"ISO_IR_192 ", ("ISO_IR 192",)),
        (b"iso_ir 100\0", ("ISO_IR 100",)),
        (b"ISO 2022-IR 87", ("ISO 2022 IR 87",)),
        (b"ISO2022 IR 6\\ISO_2022_IR_87", ("ISO 2022 IR 6", "ISO 2022 IR 87")),
        (b"UTF-8", ("ISO_IR 192",)),
        (b"\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        (b"", ("",)),
        (None, ("",)),
    ],
)
def test_misspelt_terms_are_spelt_right(misspelt, right):
    assert charsets_of(misspelt) == right


def test_latin_1_under_no_declaration_is_read_as_latin_1():
    for declared in (None, b"", b"ISO_IR 6", b"NONSENSE"):
        assert decode_text(b"M\xfcller^J\xf6rg", "PN", charsets_of(declared)) == "Müller^Jörg"


def test_utf_8_under_no_declaration_is_read_as_utf_8():
    assert decode_text("Müller^Jörg".encode(), "PN", charsets_of(None)) == "Müller^Jörg"


def test_an_escape_sequence_that_was_not_declared_is_followed():
    assert decode_text(b"\x1b$B;3ED\x1b(B", "PN", charsets_of(b"ISO_IR 100")) == "山田"


def test_hangul_whose_escape_sequence_was_left_out_is_read_by_the_declared_table():
    assert decode_text(b"\xb1\xe6\xb5\xbf", "LO", charsets_of(b"\\ISO 2022 IR 149")) == "길동"


@pytest.mark.parametrize(
    ("declared", "codec", "texts"),
    [(b"ISO_IR 13", "shift_jis", ["表示", "ソ"]), (b"GBK", "gbk", ["誠", "乗乗"])],
)
def test_a_backslash_as_second_byte_does_not_split_a_value(declared, codec, texts):
    raw = "\\".join(texts).encode(codec)
    assert raw.count(b"\\") > 1 or codec == "gbk"
    assert decode_values(raw, "LO", charsets_of(declared)) == texts


def test_kanji_whose_bytes_are_backslash_caret_and_equals_do_not_split_a_name():
    raw = b"\x1b$B" + "予".encode("euc_jp").translate(bytes(range(128)) * 2) + b"=\\\x1b(B^A"
    text = decode_text(raw, "PN", charsets_of(b"\\ISO 2022 IR 87"))
    assert text.count("^") == 1
    assert "\\" not in text
    assert "=" not in text


def test_padding_is_no_part_of_a_value_but_leading_blanks_of_long_text_are():
    assert decode_text(b" CT \0", "CS", ("",)) == "CT"
    assert decode_text(b"  indented ", "LT", ("",)) == "  indented"
    assert decode_values(b"A \\ B\\", "LO", ("",)) == ["A", "B", ""]
    assert decode_values(b"a\\b ", "LT", ("",)) == ["a\\b"]
    assert decode_values(b"  ", "LO", ("",)) == []


def test_bytes_outside_the_declared_table_become_the_replacement_character():
    assert "\ufffd" in decode_text(b"M\xfcller", "PN", charsets_of(b"ISO_IR 192"))


TERMS = st.sampled_from(
    [
        b"",
        b"ISO_IR 13",
        b"ISO_IR 100",
        b"ISO_IR 192",
        b"ISO 2022 IR 13",
        b"ISO 2022 IR 58",
        b"ISO 2022 IR 87",
        b"ISO 2022 IR 100",
        b"ISO 2022 IR 149",
        b"ISO 2022 IR 159",
        b"GB18030",
    ]
)
TEXT_BYTES = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(
            [b"\x1b", b"\x1b$B", b"\x1b$)C", b"\x1b(J", b"\x1b-L", b"A", b"\xd5", b"^"]
        ),
        max_size=20,
    ).map(b"".join),
)


@given(
    raw=TEXT_BYTES,
    declared=st.one_of(st.binary(max_size=40), st.lists(TERMS, max_size=4).map(b"\\".join)),
    vr=st.sampled_from(["PN", "LO", "SH", "LT", "UT", "UC", "CS", "UI"]),
)
def test_any_bytes_under_any_declaration_give_text_that_utf_8_can_carry(raw, declared, vr):
    text = decode_text(raw, vr, charsets_of(declared))
    text.encode("utf_8")
    assert len(text) <= len(raw)
    for value in decode_values(memoryview(raw), vr, charsets_of(declared)):
        value.encode("utf_8")


@given(text=st.text(st.characters(codec="gb18030", exclude_characters="\\\0\x1b"), max_size=20))
def test_text_written_in_a_whole_table_comes_back(text):
    for declared, codec in ((b"GB18030", "gb18030"), (b"ISO_IR 192", "utf_8")):
        assert decode_text(text.encode(codec), "UC", charsets_of(declared)) == text.rstrip(" ")
