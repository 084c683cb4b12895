"""Answers to the exercises of notebook 14, written from its cards alone."""

import hashlib
import struct
import zlib

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
