import hashlib

from kill_table import assert_exercise

from bhushgpt.exercises.nb11_checkpoints import damaged, may_go, safe_plan

# 1. What is damaged?


def sha(data):
    return hashlib.sha256(data).hexdigest()


def damaged_stub(manifest, files): ...


def digest_instead_of_hexdigest(manifest, files):
    return sorted(n for n, d in manifest.items() if hashlib.sha256(files[n]).digest() != d)


def fingerprints_the_name(manifest, files):
    bad = [n for n, digest in manifest.items() if n != "config" and sha(n.encode()) != digest]
    return sorted(bad)


def looks_at_the_beginning(manifest, files):
    firsts = (b"weights", b"{}", b"abc", b"means")
    return sorted(n for n in manifest if n not in files or not files[n].startswith(firsts))


def goes_through_the_files(manifest, files):
    return sorted(n for n, data in files.items() if manifest.get(n, sha(data)) != sha(data))


def reports_what_is_not_listed(manifest, files):
    bad = {n for n, digest in manifest.items() if n not in files or sha(files[n]) != digest}
    return sorted(bad | (set(files) - set(manifest)))


def any_fingerprint_will_do(manifest, files):
    known = set(manifest.values())
    return sorted(n for n in manifest if n not in files or sha(files[n]) not in known)


def stops_at_the_first(manifest, files):
    for name in sorted(manifest):
        if name not in files or sha(files[name]) != manifest[name]:
            return [name]
    return []


def does_not_sort(manifest, files):
    return [n for n in reversed(manifest) if n not in files or sha(files[n]) != manifest[n]]


def fails_for_a_missing_file(manifest, files):
    return sorted(n for n, digest in manifest.items() if sha(files[n]) != digest)


def says_yes_or_no(manifest, files):
    return all(n in files and sha(files[n]) == digest for n, digest in manifest.items())


def asks_for_bytes(manifest, files):
    return sorted(
        name
        for name, digest in manifest.items()
        if not files.get(name) or hashlib.sha256(files[name]).hexdigest() != digest
    )


def test_the_kill_table_of_damaged() -> None:
    assert_exercise(
        damaged,
        damaged_stub,
        {
            asks_for_bytes: "an empty file is whole",
            digest_instead_of_hexdigest: "`hexdigest()` text",
            fingerprints_the_name: "nothing is damaged, and",
            looks_at_the_beginning: "the last byte of `model` is another",
            goes_through_the_files: "go through the manifest, not the files",
            reports_what_is_not_listed: "`notes.txt` is somebody's own",
            any_fingerprint_will_do: "have changed places",
            stops_at_the_first: "1 reported: look at all of them",
            does_not_sort: "should come in order",
            fails_for_a_missing_file: "KeyError: 'optimizer'",
            says_yes_or_no: "gives back a bool, but a list",
        },
    )


# 2. Replace a file


def plan_stub(name): ...


def straight_to_the_name(name):
    return [("write", name), ("flush", name), ("flush folder",)]


def removes_the_old_one_first(name):
    temporary = name + ".tmp"
    return [
        ("write", temporary),
        ("flush", temporary),
        ("remove", name),
        ("rename", temporary, name),
        ("flush folder",),
    ]


def never_flushes_the_file(name):
    return [("write", ".tmp"), ("rename", ".tmp", name), ("flush folder",)]


def never_flushes_the_folder(name):
    return [("write", ".tmp"), ("flush", ".tmp"), ("rename", ".tmp", name)]


def renames_nothing(name):
    return [("write", ".tmp"), ("flush", ".tmp"), ("flush folder",)]


def renames_before_writing(name):
    return [("rename", ".tmp", name), ("write", ".tmp"), ("flush folder",)]


def flushes_what_is_gone(name):
    return [("write", ".tmp"), ("flush", ".tmp"), ("rename", ".tmp", name), ("flush", ".tmp")]


def in_another_folder(name):
    return [
        ("write", "/tmp/new"),
        ("flush", "/tmp/new"),
        ("rename", "/tmp/new", name),
        ("flush folder",),
    ]


def keeps_a_backup(name):
    return [("write", "backup"), ("flush", "backup"), *safe_plan.reference(name)]


def always_the_model(name):
    return safe_plan.reference("model")


def invents_an_action(name):
    return [("copy", "new", name)]


def test_the_kill_table_of_safe_plan() -> None:
    assert_exercise(
        safe_plan,
        plan_stub,
        {
            straight_to_the_name: "half a file has the name",
            removes_the_old_one_first: "there is no file 'model' at all",
            never_flushes_the_file: "may stand for an empty file",
            never_flushes_the_folder: "the old file may be back",
            renames_nothing: "is still the old file",
            renames_before_writing: "there is no .tmp to rename",
            flushes_what_is_gone: "there is no .tmp to flush",
            in_another_folder: "may lie on another disk",
            keeps_a_backup: "'backup' is left lying about",
            always_the_model: "does not touch 'config'",
            invents_an_action: "is none of the five actions",
        },
    )


def test_a_safe_plan_may_have_more_steps() -> None:
    def careful(name):
        return [("remove", ".tmp"), ("flush folder",), *safe_plan.reference(name)]

    assert safe_plan.judge(careful).status == "right"


# 3. Which checkpoints may go?


def go_stub(steps, keep, last, best): ...


def returns_those_that_stay(steps, keep, last, best):
    return sorted({*sorted(steps)[-keep:], last, best})


def keeps_the_oldest(steps, keep, last, best):
    return sorted(steps)[keep:]


def one_too_many_stays(steps, keep, last, best):
    return sorted(steps)[: -keep - 1]


def deletes_the_best(steps, keep, last, best):
    return sorted(set(steps) - {*sorted(steps)[-keep:], last})


def counts_the_best_among_them(steps, keep, last, best):
    others = [step for step in sorted(steps) if step not in (last, best)]
    stay = {last, best} | set(others[len(others) - (keep - len({last, best})) :])
    return sorted(set(steps) - stay)


def deletes_the_last(steps, keep, last, best):
    return sorted(set(steps) - {*sorted(steps)[-keep:], best})


def takes_the_end_of_the_list(steps, keep, last, best):
    return sorted(set(steps) - {*steps[-keep:], last, best})


def does_not_sort_steps(steps, keep, last, best):
    stay = {*sorted(steps)[-keep:], last, best}
    return [step for step in steps if step not in stay]


def cuts_too_deep(steps, keep, last, best):
    return may_go.reference(steps, keep, last, best) or [steps[0]]


def keeps_two_at_least(steps, keep, last, best):
    return may_go.reference(steps, max(keep, 2), last, best)


def best_if_there_is_one(steps, keep, last, best):
    return may_go.reference(steps, keep, last, best or last)


def test_the_kill_table_of_may_go() -> None:
    assert_exercise(
        may_go,
        go_stub,
        {
            best_if_there_is_one: "step 0 is a step like",
            keeps_two_at_least: "with keep = 1 the newest",
            returns_those_that_stay: "those are the ones to keep",
            keeps_the_oldest: "the oldest were kept",
            one_too_many_stays: "yours keeps 3",
            deletes_the_best: "the best one, 200, would be deleted",
            counts_the_best_among_them: "was counted as one of the two",
            deletes_the_last: "the last one saved is 100 here",
            takes_the_end_of_the_list: "the list need not be in order",
            does_not_sort_steps: "return the steps in order",
            cuts_too_deep: "with fewer checkpoints than keep",
        },
    )
