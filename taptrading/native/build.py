"""Compiles fast.c for this interpreter, if the machine can: `python taptrading/native/build.py`.

Without a compiler or Python's headers nothing is made, and the platform works the Python way.
"""

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("fast.c")
MODULE: Final = SOURCE.with_name("_fast.so")
FLAGS: Final = ("-O3", "-fPIC", "-shared", "-fwrapv", "-fvisibility=hidden", "-Wall", "-Wextra")
COMPILING_S: Final = 60


def compile_to(module: Path, *more_flags: str) -> None:
    """Raises OSError or subprocess.SubprocessError where it cannot be compiled."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    include = f"-I{sysconfig.get_path('include')}"
    sha256 = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    fresh = module.with_name(f".{os.getpid()}.{module.name}")
    try:
        words = [*compiler, *FLAGS, *more_flags, f'-DSOURCE_SHA256="{sha256}"', include]
        words += [str(SOURCE), "-o", str(fresh)]
        run = partial(subprocess.run, check=True, capture_output=True, text=True)
        run(words, timeout=COMPILING_S)
        os.replace(fresh, module)
    finally:
        fresh.unlink(missing_ok=True)


def main() -> None:
    try:
        compile_to(MODULE)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        print(  # noqa: T201
            "Bets are read in Python, some 60 µs slower each: the C code does not compile here"
            f" ({said[0] if said else error}).",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
