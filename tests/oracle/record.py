#!/usr/bin/env python3
"""Records what coremltools and PyTorch say an operation gives, as files of `tests/mil/oracle`.

The files are checked by `cargo test -p filetest --test files oracle`; this script is no part of any test. To run it:

    python3 -m venv venv
    venv/bin/pip install -r tests/oracle/requirements.txt
    venv/bin/python tests/oracle/record.py

It needs Python 3.11 and no Apple machine. It writes `tests/mil/oracle/OPERATION_N.mil` anew, all of them: each with one
operation, its arguments, its results, how close they must be, and who computed them. Where coremltools infers a value
itself, that is what is recorded; else PyTorch's, computed in fp64 and rounded once; else a formula in NumPy, written
here from coremltools' documentation. All types and shapes are those that coremltools infers.

The recorded numbers are facts that this script computed. No code of coremltools or PyTorch is copied into the files or
into this script.
"""

import importlib.metadata
import logging
import pathlib
import sys

logging.disable(logging.CRITICAL)


def main():
    here = pathlib.Path(__file__).parent
    for line in (here / "requirements.txt").read_text().split():
        name, wanted = line.split("==")
        found = importlib.metadata.version(name).split("+")[0]
        if found != wanted:
            sys.exit(f"{name} {found} is installed, {wanted} is wanted")

    import case

    case.FOLDER.mkdir(parents=True, exist_ok=True)
    for old in case.FOLDER.glob("*.mil"):
        old.unlink()

    import elementwise, shapes, moves, numeric, images, recurrent, compressed  # noqa: E401

    for part in (elementwise, shapes, moves, numeric, images, recurrent, compressed):
        part.record()
    size = sum(f.stat().st_size for f in case.FOLDER.glob("*.mil"))
    print(f"{len(case.count)} operations, {sum(n + 1 for n in case.count.values())} files, {size // 1024} KB")
    if case.refused:
        sys.exit("not recorded:\n" + "\n".join(case.refused))


if __name__ == "__main__":
    main()
