"""Answers to the exercises of notebook 11, written from its cards alone."""

import hashlib


def _sha(data):
    return hashlib.sha256(data).hexdigest()


def damaged__right__filter(manifest, files):
    return sorted(
        filter(lambda name: name not in files or _sha(files[name]) != manifest[name], manifest)
    )


def damaged__right__sets(manifest, files):
    whole = {(name, _sha(data)) for name, data in files.items()}
    return sorted(name for name, _ in set(manifest.items()) - whole)


def damaged__wrong__missing_only(manifest, files):
    return sorted(set(manifest) - set(files))


def damaged__wrong__changed_only(manifest, files):
    return sorted(n for n in manifest if n in files and _sha(files[n]) != manifest[n])


def damaged__wrong__foreign_files_too(manifest, files):
    return sorted(
        n for n in {*manifest, *files} if n not in files or _sha(files[n]) != manifest.get(n)
    )


def damaged__wrong__not_sorted(manifest, files):
    return [
        n for n in sorted(manifest, reverse=True) if n not in files or _sha(files[n]) != manifest[n]
    ]


def damaged__wrong__the_whole_ones(manifest, files):
    return sorted(n for n in manifest if n in files and _sha(files[n]) == manifest[n])


def damaged__wrong__other_hash(manifest, files):
    return sorted(
        n for n in manifest if n not in files or hashlib.md5(files[n]).hexdigest() != manifest[n]
    )


def damaged__wrong__first_digits(manifest, files):
    return sorted(n for n in manifest if n not in files or _sha(files[n])[:1] != manifest[n][:1])


def damaged__wrong__digest_bytes(manifest, files):
    return sorted(
        n for n in manifest if n not in files or hashlib.sha256(files[n]).digest() != manifest[n]
    )


def damaged__wrong__the_number(manifest, files):
    return len([n for n in manifest if n not in files or _sha(files[n]) != manifest[n]])


def damaged__wrong__only_empty_files(manifest, files):
    return sorted(n for n in manifest if not files.get(n))


def may_go__right__set(steps, keep, last, best):
    order = sorted(steps)
    newest = order[len(order) - keep :] if keep < len(order) else order
    return sorted(set(order) - {*newest, last, best})


def may_go__right__count_newer(steps, keep, last, best):
    return sorted(
        s for s in steps if sum(other > s for other in steps) >= keep and s != last and s != best
    )


def may_go__wrong__order_of_the_list(steps, keep, last, best):
    return sorted(set(steps[:-keep]) - {last, best})


def may_go__wrong__best_goes(steps, keep, last, best):
    return sorted(set(sorted(steps)[:-keep]) - {last})


def may_go__wrong__last_goes(steps, keep, last, best):
    return sorted(set(sorted(steps)[:-keep]) - {best})


def may_go__wrong__those_that_stay(steps, keep, last, best):
    return sorted({*sorted(steps)[-keep:], last, best})


def may_go__wrong__oldest_kept(steps, keep, last, best):
    return sorted(set(sorted(steps)[keep:]) - {last, best})


def may_go__wrong__best_counts_in_keep(steps, keep, last, best):
    rest = sorted(set(steps) - {last, best})
    return rest[: -(keep - 2)] if keep > 2 else rest


def may_go__wrong__keep_besides(steps, keep, last, best):
    return sorted(set(steps) - {last, best})[:-keep]


def may_go__wrong__newest_first(steps, keep, last, best):
    return sorted(set(sorted(steps)[:-keep]) - {last, best}, reverse=True)


def may_go__wrong__one_too_many_kept(steps, keep, last, best):
    return sorted(set(sorted(steps)[: -keep - 1]) - {last, best})


def safe_plan__right__usual(name):
    new = name + ".new"
    return [("write", new), ("flush", new), ("rename", new, name), ("flush folder",)]


def safe_plan__right__careful(name):
    new = "tmp-" + name
    return [
        ("write", new),
        ("flush", new),
        ("flush folder",),
        ("rename", new, name),
        ("flush folder",),
    ]


def safe_plan__wrong__over_it(name):
    return [("write", name), ("flush", name), ("flush folder",)]


def safe_plan__wrong__not_flushed(name):
    return [("write", "new"), ("rename", "new", name), ("flush folder",)]


def safe_plan__wrong__flushed_too_late(name):
    return [("write", "new"), ("rename", "new", name), ("flush", name), ("flush folder",)]


def safe_plan__wrong__old_removed_first(name):
    return [
        ("write", "new"),
        ("flush", "new"),
        ("remove", name),
        ("rename", "new", name),
        ("flush folder",),
    ]


def safe_plan__wrong__never_renamed(name):
    return [("write", "new"), ("flush", "new"), ("flush folder",)]


def safe_plan__wrong__rename_reversed(name):
    return [("write", "new"), ("flush", "new"), ("rename", name, "new"), ("flush folder",)]


def safe_plan__wrong__old_moved_away(name):
    return [
        ("write", "new"),
        ("flush", "new"),
        ("rename", name, "old"),
        ("rename", "new", name),
        ("flush folder",),
    ]


def safe_plan__wrong__folder_not_flushed(name):
    return [("write", "new"), ("flush", "new"), ("rename", "new", name)]


def safe_plan__wrong__wrong_file_flushed(name):
    return [("write", "new"), ("flush", name), ("rename", "new", name), ("flush folder",)]


def may_go__wrong__second_set_negative_slice(steps, keep, last, best):
    s = sorted(steps)
    return [x for x in s[: len(s) - keep] if x not in (last, best)]


# The third set.


def damaged__right__comprehension(manifest, files):
    return sorted(
        name
        for name, digest in manifest.items()
        if name not in files or hashlib.sha256(files[name]).hexdigest() != digest.lower()
    )


def damaged__right__set_difference(manifest, files):
    wanted = {(name, bytes.fromhex(digest)) for name, digest in manifest.items()}
    there = {(name, hashlib.sha256(data).digest()) for name, data in files.items()}
    names = [name for name, _digest in wanted - there]
    names.sort()
    return names


# A saved file of 0 bytes that is there and whole: called missing; right is not in the list.
def damaged__wrong__empty_is_missing(manifest, files):
    bad = []
    for name, digest in manifest.items():
        data = files.get(name)
        if not data or hashlib.sha256(data).hexdigest() != digest:
            bad.append(name)
    return sorted(bad)


# A file that the manifest does not name: reported; right is only files that were saved.
def damaged__wrong__extra_files_too(manifest, files):
    now = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    names = manifest.keys() | now.keys()
    return sorted(name for name in names if manifest.get(name) != now.get(name))


# "b" missing and "a" changed, manifest in the order b, a: ["b", "a"]; right is sorted.
def damaged__wrong__third_not_sorted(manifest, files):
    return [
        name
        for name in manifest
        if name not in files or hashlib.sha256(files[name]).hexdigest() != manifest[name]
    ]


# A missing file: skipped; right is in the list.
def damaged__wrong__missing_skipped(manifest, files):
    return sorted(
        name
        for name, data in files.items()
        if name in manifest and hashlib.sha256(data).hexdigest() != manifest[name]
    )


def may_go__right__sets(steps, keep, last, best):
    newest = set(sorted(steps, reverse=True)[:keep])
    return sorted(set(steps) - newest - {last, best})


def may_go__right__counts_the_newer(steps, keep, last, best):
    going = []
    for step in steps:
        newer = sum(other > step for other in steps)
        if newer >= keep and step != last and step != best:
            going.append(step)
    return sorted(going)


def may_go__wrong__order_as_given(steps, keep, last, best):
    newest = steps[len(steps) - keep :] if keep <= len(steps) else steps
    return sorted(s for s in steps if s not in newest and s not in (last, best))


def may_go__wrong__last_and_best_use_up_keep(steps, keep, last, best):
    stays = {last, best}
    for step in sorted(steps, reverse=True):
        if len(stays) < keep:
            stays.add(step)
    return sorted(set(steps) - stays)


# [100, 200, 300], keep 1, last 300, best 100: "or" is always true, so 100 goes; right is [200].
def may_go__wrong__or_for_and(steps, keep, last, best):
    old = sorted(steps)[: max(len(steps) - keep, 0)]
    return [step for step in old if step != last or step != best]


def safe_plan__right__beside_then_rename(name):
    beside = f".{name}.tmp"
    return [
        ("write", beside),
        ("flush", beside),
        ("rename", beside, name),
        ("flush folder",),
    ]


def safe_plan__right__folder_flushed_twice(name):
    new, plan = name + ".new", []
    for action in ("write", "flush"):
        plan.append((action, new))
    plan.append(("flush folder",))
    plan.append(("rename", new, name))
    plan.append(("flush folder",))
    return plan


def safe_plan__wrong__flushed_after_rename(name):
    beside = name + ".tmp"
    return [
        ("write", beside),
        ("rename", beside, name),
        ("flush", name),
        ("flush folder",),
    ]


def safe_plan__wrong__old_one_removed_first(name):
    beside = name + ".tmp"
    return [
        ("write", beside),
        ("flush", beside),
        ("remove", name),
        ("rename", beside, name),
        ("flush folder",),
    ]


# A kill between the two renames: the name stands for nothing; right is one rename.
def safe_plan__wrong__backup_renamed(name):
    beside, backup = name + ".tmp", name + ".bak"
    return [
        ("write", beside),
        ("flush", beside),
        ("rename", name, backup),
        ("rename", beside, name),
        ("flush folder",),
        ("remove", backup),
    ]


def safe_plan__wrong__only_the_folder_flushed(name):
    beside = name + ".tmp"
    return [
        ("write", beside),
        ("flush folder",),
        ("rename", beside, name),
        ("flush folder",),
    ]
