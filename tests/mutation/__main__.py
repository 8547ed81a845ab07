"""`python -m tests.mutation`: whether the tests tell the money path from its mutants.

Works on a copy of the tree, so it may be edited meanwhile. Exit code 1: fewer than 90 % of a
module's mutants were killed, one survived that survivors.toml does not explain, or one did not
that it does.
"""

import argparse
import configparser
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.mutation import verdicts

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
COPY: Final = ROOT / "var" / "mutants"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--children", type=int, default=2, help="mutants tried at a time")
    parser.add_argument("--only", nargs="+", metavar="FILE", help="some of the modules")
    asked = parser.parse_args()
    settings = configparser.ConfigParser()
    settings.read(HERE / "mutmut.cfg")
    modules = settings["mutmut"]["only_mutate"].split()
    if unknown := set(asked.only or ()) - set(modules):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(modules)}")
    if asked.only:
        settings["mutmut"]["only_mutate"] = "\n".join(["", *asked.only])
    started = time.monotonic()
    copy_tree(settings)
    found = run_tool(asked.children)
    explained = verdicts.read_explained(HERE / "survivors.toml")
    if asked.only:
        explained = {which: why for which, why in explained.items() if which[0] in asked.only}
    verdict = verdicts.judge(found, explained)
    for mutant in verdict.unexplained:
        print(
            f"unexplained ({mutant.status}): {mutant.path}\n  - {mutant.before}\n  + {mutant.after}"
        )
    for path, before, after in verdict.stale:
        print(f"listed, but no survivor: {path}\n  - {before}\n  + {after}")
    print(*verdict.table, sep="\n")
    print(f"{len(verdict.unexplained)} unexplained; {time.monotonic() - started:.0f} s in all")
    sys.exit(not verdict.passed)


def copy_tree(settings: configparser.ConfigParser) -> None:
    """All files that git knows or would take, as they are now, and what mutmut is to read."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(COPY, ignore_errors=True)
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, COPY / name)
    with (COPY / "setup.cfg").open("w") as file:
        settings.write(file)


def run_tool(children: int) -> list[verdicts.Mutant]:
    """In a process of its own, which must not have imported the code that it changes."""
    into = COPY / "mutants.jsonl"
    tool = [sys.executable, "-m", "tests.mutation.tool"]
    options = ["--children", str(children), "--into", str(into)]
    with (COPY / "mutmut.log").open("wb") as log:
        ended = subprocess.run(
            [*tool, *options], cwd=COPY, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    if ended.returncode or not into.exists():
        sys.exit(f"mutmut failed: see {log.name}")
    return verdicts.read_lines(into.read_text())


if __name__ == "__main__":
    main()
