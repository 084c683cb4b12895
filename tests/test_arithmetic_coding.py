import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhushgpt.arithmetic_coding import TOTAL, WIDTH, Decoder, Encoder, frequencies
from bhushgpt.errors import UserError


def written(tables, symbols) -> bytes:
    encoder = Encoder()
    for bounds, symbol in zip(tables, symbols, strict=True):
        assert encoder.code(bounds, symbol) == symbol
    return encoder.finish()


def read(data: bytes, tables) -> list[int]:
    decoder = Decoder(data)
    symbols = [decoder.code(bounds) for bounds in tables]
    assert decoder.missing <= WIDTH // 8
    return symbols


@st.composite
def messages(draw):
    """Distributions, each for one symbol, and the symbols: skewed ones as well."""
    tables, symbols = [], []
    for _ in range(draw(st.integers(0, 60))):
        shares = draw(st.lists(st.integers(1, 2**18), min_size=1, max_size=5))
        tables.append([0, *np.cumsum(shares).tolist()])
        symbols.append(draw(st.integers(0, len(shares) - 1)))
    return tables, symbols


@given(messages())
def test_what_was_written_is_read_and_takes_the_bits_that_it_should(message) -> None:
    tables, symbols = message
    data = written(tables, symbols)
    assert read(data, tables) == symbols
    bits = sum(-math.log2((t[s + 1] - t[s]) / t[-1]) for t, s in zip(tables, symbols, strict=True))
    assert len(data) * 8 <= bits + 16 + 0.001 * len(symbols)


def test_a_carry_runs_through_bytes_of_255() -> None:
    """Nearly certain symbols at the top of the interval, then one at its very end."""
    carried = 0
    for seed in range(300):
        generator = random.Random(seed)
        tables = [[0, TOTAL - 1, TOTAL]] * 3 + [[0, 1, TOTAL]] * 30 + [[0, 3, 7]] * 20
        symbols = [1] * 3 + [1] * 30 + [generator.randrange(2) for _ in range(20)]

        class Watched(Encoder):
            def _carry(self) -> None:
                nonlocal carried
                carried += self._bytes[-1:] == b"\xff"
                super()._carry()

        encoder = Watched()
        for bounds, symbol in zip(tables, symbols, strict=True):
            encoder.code(bounds, symbol)
        assert read(encoder.finish(), tables) == symbols
    assert carried, "no carry ran through a byte of 255: this test tests nothing"


def test_a_long_message_costs_its_entropy() -> None:
    generator = np.random.default_rng(0)
    p = np.array([0.9, 0.06, 0.03, 0.01])
    symbols = generator.choice(4, size=20_000, p=p).tolist()
    bounds = frequencies(p[None])[0].tolist()
    data = written([bounds] * len(symbols), symbols)
    ideal = -np.log2(p)[symbols].sum() / 8
    assert ideal - 1 <= len(data) <= ideal + 3
    assert read(data, [bounds] * len(symbols)) == symbols


def test_every_symbol_has_a_share_and_all_shares_make_the_total() -> None:
    p = np.random.default_rng(1).dirichlet(np.full(1000, 0.01), size=7)
    bounds = frequencies(p)
    shares = np.diff(bounds, axis=1)
    assert (shares >= 1).all() and (bounds[:, 0] == 0).all() and (bounds[:, -1] == TOTAL).all()
    np.testing.assert_allclose(shares / TOTAL, p, atol=1e-4)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1])
def test_what_is_no_distribution_is_refused(wrong) -> None:
    with pytest.raises(UserError, match="not a distribution"):
        frequencies(np.array([[0.5, wrong]]))
    with pytest.raises(UserError, match="too many"):
        frequencies(np.broadcast_to(np.float32(1), (1, TOTAL)))


def test_reading_behind_the_end_is_noticed() -> None:
    bounds = [0, 1, 2]
    data = written([bounds] * 800, [1, 0, 0, 1, 1] * 160)
    decoder = Decoder(data[:50])
    for _ in range(800):
        decoder.code(bounds)
    assert decoder.missing >= 50


@pytest.mark.parametrize("low", [0, 1, 2**40 - 1, 2**47])
@pytest.mark.parametrize("width", [2**40 - 1, 2**40, 2**40 + 1])
def test_the_last_bytes_name_a_number_inside_the_interval(low, width):
    encoder = Encoder()
    encoder._low, encoder._width = low, width
    data = encoder.finish()
    number = int.from_bytes(data.ljust(WIDTH // 8, b"\0"), "big")
    assert low <= number < low + width
