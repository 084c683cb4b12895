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
