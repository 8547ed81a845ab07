"""The Makefile's environment: which Python it takes, and what it does about a bad one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT

OTHER = "#!/bin/sh\nexit 1\n"  # a Python of another version answers so
# This Python, but with a pip that is there and no more: the real one takes seconds to unpack.
QUICK = f"""#!/bin/sh
[ "$1" = -m ] || exec {sys.executable} "$@"
{sys.executable} "$@" --without-pip && touch .venv/lib/python3.11/site-packages/pip.py
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile with a platform that only says which Python runs it, and nothing to install."""
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "requirements").mkdir()
    for name in ("run.txt", "dev.txt"):
        (tmp_path / "requirements" / name).touch()
    native = tmp_path / "taptrading" / "native"
    native.mkdir(parents=True)
    for name in ("fast.c", "build.py"):
        (native / name).touch()
    (tmp_path / "manage.py").write_text("import sys; print('runs on', sys.prefix)\n")
    return tmp_path


def make_run(project: Path, python: str) -> "subprocess.CompletedProcess[str]":
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", "run", f"PYTHON={python}", "PIP=:"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_make_when_python_is_missing_or_another_then_one_line_and_no_environment(
    project: Path,
) -> None:
    for python in ("python3.11-that-is-not-there", str(script(project / "python3.10", OTHER))):
        made = make_run(project, python)

        assert made.returncode == 2
        assert made.stderr.splitlines()[0] == (
            f"{python} is not there, or not Python 3.11: try make run PYTHON=/path/to/python3.11"
        )
        assert not (project / ".venv").exists()


def test_make_when_environment_is_of_another_python_then_it_is_made_anew_once(
    project: Path,
) -> None:
    script(project / ".venv" / "bin" / "python", OTHER)

    python = str(script(project / "python3.11", QUICK))

    first, second = make_run(project, python), make_run(project, python)

    runs_on = f"runs on {project / '.venv'}\n"
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == f"Installing what the platform runs on (once) ...\n{runs_on}"
    assert second.stdout == runs_on


def test_make_when_python_of_an_installed_environment_breaks_then_it_is_made_anew(
    project: Path,
) -> None:
    quick = str(script(project / "python3.11", QUICK))
    make_run(project, quick)
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(project / "gone")

    made = make_run(project, quick)

    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("Installing")
    assert python.exists()


def test_make_when_it_holds_the_coverage_of_the_money_path_then_of_files_that_are_there() -> None:
    """A file that was renamed would leave the gate open, and say nothing."""
    asked = subprocess.run(
        ["make", "-n", "pytest"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    (money_path,) = re.findall(r"--fail-under=95 .*?--include=(\S+)", asked.stdout, re.DOTALL)
    files = money_path.split(",")
    assert {"wallet/book.py", "wallet/writer.py", "bets/placing.py"} < set(files)
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert "coverage report --format=total --fail-under=85" in asked.stdout
