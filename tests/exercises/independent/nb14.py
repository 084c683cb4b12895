"""Answers to the exercises of notebook 14, written from its cards alone."""

import hashlib
import random
import struct
import zlib
from fractions import Fraction

import numpy as np


def window__right__seek(path, start, length):
    with open(path, "rb") as file:
        file.seek(64 + 2 * start)
        return np.frombuffer(file.read(2 * length), "<u2")


def window__right__memmap(path, start, length):
    return np.array(np.memmap(path, dtype="<u2", mode="r", offset=64)[start : start + length])


def window__right__struct(path, start, length):
    with open(path, "rb") as file:
        file.seek(64 + start * 2)
        return list(struct.unpack(f"<{length}H", file.read(length * 2)))


def window__wrong__header_forgotten(path, start, length):
    return np.fromfile(path, "<u2", count=length, offset=2 * start)


def window__wrong__start_in_bytes(path, start, length):
    return np.fromfile(path, "<u2", count=length, offset=64 + start)


def window__wrong__bytes_for_ids(path, start, length):
    with open(path, "rb") as file:
        file.seek(64 + 2 * start)
        return np.frombuffer(file.read(length), "<u2")


def window__wrong__one_further(path, start, length):
    return np.fromfile(path, "<u2", count=length, offset=64 + 2 * (start + 1))


def window__wrong__other_byte_order(path, start, length):
    return np.fromfile(path, ">u2", count=length, offset=64 + 2 * start)


def window__wrong__header_of_64_ids(path, start, length):
    return np.fromfile(path, "<u2", count=length, offset=128 + 2 * start)


def window__wrong__single_bytes(path, start, length):
    return np.fromfile(path, "u1", count=length, offset=64 + 2 * start)


def window__wrong__until_the_end(path, start, length):
    return np.fromfile(path, "<u2", offset=64 + 2 * start)


def window__wrong__read_as_a_whole(path, start, length):
    with open(path, "rb") as file:
        data = file.read()
    return np.frombuffer(data[64:], "<u2")[start : start + length]


def window__wrong__length_is_the_end(path, start, length):
    return np.memmap(path, dtype="<u2", mode="r", offset=64)[start:length]


def side_of__right__sha(page, share):
    return int.from_bytes(hashlib.sha256(page.encode()).digest()[:8], "big") / 2**64 < share


def side_of__right__md5(page, share):
    return bool(int(hashlib.md5(page.encode("utf-8")).hexdigest(), 16) < share * 2**128)


def side_of__right__blake(page, share):
    number = int.from_bytes(hashlib.blake2b(page.encode(), digest_size=4).digest(), "little")
    return number / 2**32 < share


def side_of__wrong__python_hash(page, share):
    return hash(page) % 1000 < share * 1000


def side_of__wrong__drawn(page, share):
    return bool(np.random.random() < share)


def side_of__wrong__by_length(page, share):
    return len(page) % 100 < share * 100


def side_of__wrong__other_side(page, share):
    return not side_of__right__sha(page, share)


def side_of__wrong__share_ignored(page, share):
    return side_of__right__sha(page, 0.2)


def side_of__wrong__first_line(page, share):
    return side_of__right__sha(page.split("\n")[0][:10], share)


def side_of__wrong__letter_sum(page, share):
    return sum(map(ord, page)) % 100 / 100 < share


def side_of__wrong__the_number(page, share):
    return zlib.crc32(page.encode()) / 2**32


def passes__right__loop(tokens, weights, budget):
    total, out = 0.0, {}
    for weight in weights.values():
        total += weight
    for name, n in tokens.items():
        out[name] = budget * weights[name] / total / n
    return out


def passes__right__numpy(tokens, weights, budget):
    names = list(tokens)
    w = np.array([weights[name] for name in names], float)
    return dict(
        zip(
            names,
            (budget * w / w.sum() / np.array([tokens[name] for name in names])).tolist(),
            strict=True,
        )
    )


def passes__wrong__weights_as_they_are(tokens, weights, budget):
    return {n: budget * weights[n] / tokens[n] for n in tokens}


def passes__wrong__by_order(tokens, weights, budget):
    s = sum(weights.values())
    return {
        n: budget * w / s / t for (n, t), w in zip(tokens.items(), weights.values(), strict=True)
    }


def passes__wrong__tokens_not_times(tokens, weights, budget):
    s = sum(weights.values())
    return {n: budget * weights[n] / s for n in tokens}


def passes__wrong__upside_down(tokens, weights, budget):
    s = sum(weights.values())
    return {n: tokens[n] / (budget * weights[n] / s) for n in tokens}


def passes__wrong__rounded(tokens, weights, budget):
    s = sum(weights.values())
    return {n: round(budget * weights[n] / s / tokens[n]) for n in tokens}


def passes__wrong__all_tokens(tokens, weights, budget):
    s, t = sum(weights.values()), sum(tokens.values())
    return {n: budget * weights[n] / s / t for n in tokens}


def passes__wrong__weights_ignored(tokens, weights, budget):
    return {n: budget / len(tokens) / tokens[n] for n in tokens}


def passes__wrong__list(tokens, weights, budget):
    s = sum(weights.values())
    return [budget * weights[n] / s / tokens[n] for n in tokens]


def passes__wrong__at_least_once(tokens, weights, budget):
    s = sum(weights.values())
    return {n: max(1.0, budget * weights[n] / s / tokens[n]) for n in tokens}


def tar_header__right__partition(block):
    return block[:100].partition(b"\0")[0].decode(), int(block[124:136].rstrip(b"\0 "), 8)


def tar_header__right__digits(block):
    size = 0
    for byte in block[124:136]:
        if 48 <= byte < 56:
            size = 8 * size + byte - 48
    return block[:100].rstrip(b"\0").decode(), size


def tar_header__wrong__decimal(block):
    return block[:100].rstrip(b"\0").decode(), int(block[124:136].rstrip(b"\0 "))


def tar_header__wrong__nuls_kept(block):
    return block[:100].decode(), int(block[124:136].rstrip(b"\0 "), 8)


def tar_header__wrong__bytes_name(block):
    return block[:100].rstrip(b"\0"), int(block[124:136].rstrip(b"\0 "), 8)


def tar_header__wrong__size_as_text(block):
    return block[:100].rstrip(b"\0").decode(), block[124:136].rstrip(b"\0 ").decode()


def tar_header__wrong__ninety_nine(block):
    return block[:99].rstrip(b"\0").decode(), int(block[124:136].rstrip(b"\0 "), 8)


def tar_header__wrong__mode_field(block):
    return block[:100].rstrip(b"\0").decode(), int(block[100:108].rstrip(b"\0 "), 8)


def tar_header__wrong__needs_a_nul(block):
    return block[: block.index(b"\0")].decode(), int(block[124:136].rstrip(b"\0 "), 8)


def tar_header__wrong__exchanged(block):
    return int(block[124:136].rstrip(b"\0 "), 8), block[:100].rstrip(b"\0").decode()


def tar_header__wrong__hexadecimal(block):
    return block[:100].rstrip(b"\0").decode(), int(block[124:136].rstrip(b"\0 "), 16)


def window__wrong__second_set_signed(path, start, length):
    return np.fromfile(path, dtype="<i2", count=length, offset=64 + 2 * start)


# The third set.


def window__right__fromfile_with_offset(path, start, length):
    return np.fromfile(path, dtype="<u2", count=length, offset=64 + 2 * start)


def window__right__seek_and_unpack(path, start, length):
    with open(path, "rb", buffering=0) as file:
        file.seek(64 + start * 2)
        return list(struct.unpack(f"<{length}H", file.read(2 * length)))


# wrong for start > 0: the start is taken as bytes, should be two bytes an id
def window__wrong__start_counted_in_bytes(path, start, length):
    return np.fromfile(path, dtype="<u2", count=length, offset=64 + start)


# wrong for any start: the header is taken as 64 ids, 128 bytes; should be 64 bytes
def window__wrong__header_counted_in_ids(path, start, length):
    with open(path, "rb") as file:
        file.seek(2 * (64 + start))
        return np.frombuffer(file.read(2 * length), dtype="<u2")


# wrong for ids from 32,768 on, such as 50256: negative (-15280), should be 50256
def window__wrong__signed_numbers(path, start, length):
    return np.memmap(path, dtype=np.int16, mode="r", offset=64)[start : start + length]


# wrong for every call: the ids are right, but the file is read as a whole, which is forbidden
def window__wrong__whole_file_is_read(path, start, length):
    with open(path, "rb") as file:
        ids = np.frombuffer(file.read()[64:], dtype="<u2")
    return ids[start : start + length]


def side_of__right__sha256_of_eight_bytes(page, share):
    number = int.from_bytes(hashlib.sha256(page.encode()).digest()[:8], "big")
    return number < share * 2**64


def side_of__right__draw_seeded_by_the_text(page, share):
    return random.Random(page).random() < share  # a text as seed goes through sha512


# wrong in another process: hash() of a text is salted, the page may fall on the other side
def side_of__wrong__third_python_hash(page, share):
    return (hash(page) % 1_000_000) / 1_000_000 < share


# wrong for share 0.005: int(0.5) is 0, no page is ever held out, should be one of 200
def side_of__wrong__whole_percents(page, share):
    number = int(hashlib.md5(page.encode()).hexdigest(), 16)
    return number % 100 < int(share * 100)


# wrong for share 0 and a page whose first digest byte is 0: True, should be False
def side_of__wrong__one_byte_and_inclusive(page, share):
    return hashlib.sha256(page.encode()).digest()[0] / 255 <= share


# wrong for share 0.1: 90 % are held out, should be 10 %
def side_of__wrong__says_who_is_trained_on(page, share):
    number = int.from_bytes(hashlib.sha256(page.encode()).digest()[:8], "big")
    return number / 2**64 >= share


def passes__right__one_comprehension(tokens, weights, budget):
    total = sum(weights.values())
    return {name: budget * weights[name] / total / tokens[name] for name in tokens}


def passes__right__fractions(tokens, weights, budget):
    exact = {name: Fraction(weight) for name, weight in weights.items()}
    whole = sum(exact.values(), Fraction(0))
    out = {}
    for name, n in tokens.items():
        read = Fraction(budget) * exact[name] / whole
        out[name] = float(read / Fraction(n))
    return out


# wrong for weights {"a": 2, "b": 2}: twice too often, they must be divided by their sum
def passes__wrong__weights_not_normalised(tokens, weights, budget):
    return {name: budget * weights[name] / n for name, n in tokens.items()}


# wrong if the two dicts name the sources in another order: a source gets the other's weight
def passes__wrong__matched_by_order(tokens, weights, budget):
    total = sum(weights.values())
    return {
        name: budget * weight / total / n
        for (name, n), weight in zip(tokens.items(), weights.values(), strict=False)
    }


# wrong for a source read 1.5 times: 1, should be 1.5
def passes__wrong__whole_passes_only(tokens, weights, budget):
    total = sum(weights.values())
    return {name: (budget * weights[name] / total) // tokens[name] for name in tokens}


def passes__wrong__normalises_the_given_weights(tokens, weights, budget):
    total = sum(weights.values())
    for name in weights:
        weights[name] /= total
    return {name: budget * weights[name] / tokens[name] for name in tokens}


def tar_header__right__slices(block):
    name = bytes(block[:100]).split(b"\0", 1)[0].decode()
    return name, int(bytes(block[124:135]), 8)


def tar_header__right__unpack_and_digit_loop(block):
    name, field = struct.unpack("100s24x12s376x", block)
    size = 0
    for byte in field:
        if 48 <= byte <= 55:
            size = 8 * size + byte - 48
    return str(name.partition(b"\0")[0], "utf-8"), size


# wrong for a name of 100 bytes: it runs on into the mode field, should end at 100
def tar_header__wrong__name_to_the_first_nul(block):
    return block[: block.index(b"\0")].decode(), int(block[124:135], 8)


# wrong for size 8, written 00000000010: 10, should be 8
def tar_header__wrong__decimal_size(block):
    return block[:100].split(b"\0")[0].decode(), int(block[124:135])


# wrong for a name of 100 bytes: the last letter is lost, since a NUL is expected there
def tar_header__wrong__99_bytes_of_name(block):
    return block[:99].rstrip(b"\0").decode(), int(block[124:135], 8)


# wrong for size 8, written 00000000010: the zero at the end goes too, so 1, should be 8
def tar_header__wrong__zeros_stripped_at_both_ends(block):
    size = block[124:136].strip(b"0\0 ") or b"0"
    return block[:100].rstrip(b"\0").decode(), int(size, 8)
