"""Pieces are GPT-2's, bytes have GPT-2's order and signs, and a text can be cut where it is cut."""

import pytest
import regex
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from bhushgpt import bpe_by_hand
from bhushgpt.bpe_by_hand import (
    BYTE_IDS,
    BYTE_ORDER,
    FAST_PATTERN,
    count_pieces,
    from_signs,
    last_cut,
    pieces,
    stretches,
    to_signs,
)
from bhushgpt.corpus import load_text
from bhushgpt.errors import UserError

# Few characters, all of which the pattern treats in a way of its own.
TRICKY = st.text(st.sampled_from("ab1,' \n\tsldtrev中。é\u00a0\u200d🙂"), max_size=40)


def test_signs_are_those_of_the_tokenizers_library_in_its_order() -> None:
    signs = [to_signs(bytes([byte])) for byte in BYTE_ORDER]
    assert sorted(signs) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert signs == sorted(signs)
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("é ü\n", "中文 🙂", "\x00\x7f\u00ad"):
        assert splitter.pre_tokenize_str(text)[0][0] == to_signs(text.encode())


@given(st.binary())
def test_signs_and_ids_of_bytes_can_be_undone(data: bytes) -> None:
    assert from_signs(to_signs(data)) == data
    assert bytes(BYTE_ORDER[number] for number in data.translate(BYTE_IDS)) == data


def test_a_sign_that_stands_for_no_byte_is_named() -> None:
    with pytest.raises(UserError, match=r"'the end' is not a token in GPT-2's signs: ' ' stands"):
        from_signs("the end")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Hello world", ["Hello", " world"]),
        ("I'm we've DON'T", ["I", "'m", " we", "'ve", " DON", "'", "T"]),
        ("a  b   c", ["a", " ", " b", "  ", " c"]),
        ("a\n\n b\t", ["a", "\n\n", " b", "\t"]),
        ("room 221B, 3%", [" room"[1:], " 221", "B", ",", " 3", "%"]),
        ("end.\r\n", ["end", ".", "\r\n"]),
        ("中文，好", ["中文", "，", "好"]),
        ("", []),
    ],
)
def test_pieces_that_one_can_check_by_eye(text: str, cut: list[str]) -> None:
    assert pieces(text) == cut


def test_pieces_of_the_book_are_those_of_the_tokenizers_library() -> None:
    text = load_text().text[:100_000]
    library = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert [to_signs(piece.encode()) for piece in pieces(text)] == [piece for piece, _ in library]


@given(st.text() | TRICKY)
def test_the_fast_pattern_cuts_like_gpt2s(text: str) -> None:
    # `$` means the very end in Rust; in Python that is \Z.
    fast = regex.compile(FAST_PATTERN.replace("$", r"\Z"))
    assert fast.findall(text) == pieces(text)
    assert "".join(pieces(text)) == text


def matched_by_tiktoken(pattern: str, text: str) -> set[str]:
    """Return the characters that the pattern finds in the Rust library, which drops the others."""
    single = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=single, special_tokens={})
    return set(bytes(encoding.encode_ordinary(text)).decode())


def test_letters_and_numbers_are_tiktokens_but_for_newer_unicode() -> None:
    everything = "".join(chr(n) for n in range(0x30000) if not 0xD800 <= n < 0xE000)
    assert matched_by_tiktoken(r"\s", everything) == set(regex.findall(r"\s", everything))
    for name in ("L", "N"):
        ours = set(regex.findall(rf"\p{{{name}}}", everything))
        theirs = matched_by_tiktoken(rf"\p{{{name}}}", everything)
        # The newer of the two knows more; nothing is a letter here and a number there.
        assert theirs <= ours or ours <= theirs
        assert len(ours ^ theirs) < 20_000


def test_where_texts_are_cut_both_libraries_know_the_characters() -> None:
    everything = "".join(chr(n) for n in [*range(0xD800), *range(0xE000, 0x10000)])
    for ours, theirs, at_least in (
        (bpe_by_hand._LETTER, r"\p{L}|\p{N}", 21_000),
        (bpe_by_hand._MARK, r"[^\s\p{L}\p{N}]", 40),
    ):
        cut_at = set(regex.findall(ours, everything))
        assert len(cut_at) > at_least
        assert cut_at <= matched_by_tiktoken(theirs, everything)


@given(st.text(max_size=8) | TRICKY, st.text(max_size=8) | TRICKY)
def test_a_text_may_be_cut_at_the_last_cut_whatever_follows(before: str, after: str) -> None:
    cut = last_cut(before)
    whole = before + after
    assert pieces(whole[:cut]) + pieces(whole[cut:]) == pieces(whole)


@given(TRICKY, st.integers(1, 5))
def test_stretches_are_the_text_and_keep_its_pieces(text: str, size: int) -> None:
    parts = list(stretches(text[i : i + size] for i in range(0, len(text), size)))
    assert "".join(parts) == text
    assert [piece for part in parts for piece in pieces(part)] == pieces(text)


def test_a_cut_inside_a_gap_would_change_the_pieces() -> None:
    # Why last_cut does not cut just anywhere.
    assert pieces("a   b") != pieces("a ") + pieces("  b")
    assert pieces("it's") != pieces("it'") + pieces("s")


def test_counts_are_of_bytes_and_no_piece_crosses_documents() -> None:
    assert count_pieces(["é é", "é"]) == {"é".encode(): 2, " é".encode(): 1}


def test_one_string_instead_of_several_is_refused() -> None:
    with pytest.raises(UserError, match=r"give a list of texts, such as \[text\]"):
        count_pieces("one text")
