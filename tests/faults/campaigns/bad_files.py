"""Every malicious file, thrown at every loader of the package.

    python -m tests.faults.campaigns.bad_files

No file may run code (a canary would tell), write outside its folder, or fill the memory, and each
must end in a `UserError` or be read as the harmless thing that it also is.
"""

import sys
import tempfile
from pathlib import Path

from tests.faults.malicious import MEMORY, MIB, thrown

GROWTH = 700  # MiB; the loaders' own limits add up to less


def problems(seen: dict) -> list[str]:
    """Return what must not have happened."""
    found = [f"ran code: {name}" for name in seen["executed"]]
    found += [f"wrote outside: {path}" for path in seen["outside"]]
    found += [f"no UserError: {said}" for said in seen["crashes"]]
    if seen.get("grown_mib", 0) > GROWTH:
        found.append(f"took {seen['grown_mib']} MiB, allowed are {GROWTH}")
    return found


def main() -> int:
    """Throw them all; print what was seen; 0 if nothing got in."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "inner"  # so that all around it is ours, too
        folder.mkdir()
        seen = thrown(folder)
    found = problems(seen)
    print("\n".join(found))
    grown = f"{seen['grown_mib']} MiB" if "grown_mib" in seen else "not measured here"
    print(
        f"{seen['files']} files at all loaders, {seen['throws']:,} throws: {seen['refused']:,} "
        f"refused, {len(seen['executed'])} executed, {len(seen['outside'])} files outside, "
        f"{len(seen['crashes'])} crashes, memory grown by {grown} (limit {MEMORY // MIB} MiB)"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
