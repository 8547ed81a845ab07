"""What the doctor says: for people, as JSON, and when the settings refuse to be loaded."""

import json
from collections.abc import Iterable, Sequence
from typing import Final

from ops.doctor import BAD, WARN, Finding, State, examine, ground, worst

EXIT: Final[dict[State, int]] = {"ok": 0, "note": 0, "warn": 1, "bad": 2}
_MARKS: Final[dict[State, str]] = {"ok": "ok  ", "note": "note", "warn": "WARN", "bad": "BAD "}
# What a refused setting is followed by, by a word of the refusal.
_ADVICE: Final = {
    "DEBUG is on": "Unset DEBUG: it shows tracebacks and settings to strangers.",
    "DEMO is on": "Unset DEMO: PRODUCTION=1 turns it off by itself.",
    "SECRET_KEY and CUSTODY_SECRET": (
        "Make each: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
    ),
    "STAFF_TWO_FACTOR": "Unset it, and DEBUG: PRODUCTION=1 turns it on by itself.",
    "CLOCK_FILE": "Unset CLOCK_FILE.",
    "ALLOWED_HOSTS": "Name the hosts: ALLOWED_HOSTS=play.example.com",
    "not a venue": "PRICE_SOURCES=binance,coinbase,kraken",
    "PRICE_SOURCES": "PRICE_SOURCES=simulated, or binance,coinbase,kraken",
    "SOURCES_MIN": "At most as many as PRICE_SOURCES names.",
    "REPLAY_FILES": "Paths below RECORDINGS_DIR, with commas between.",
    "lose committed writes": "Install what requirements/run.txt names: it brings a fixed SQLite.",
    "unusable": "Choose another DATA_DIR, or mend its permissions (chown, chmod 700).",
    "makes no sense": "The variable wants another kind of value: see taptrading/settings.py.",
    "is not an integer": "Bounds are whole numbers: see taptrading/limits.py.",
    "these do not hold": "Two bounds contradict each other: `check` in taptrading/limits.py.",
    "WEB_WORKERS": "Unset it: the number of cores decides.",
    "LOG_FORMAT": "LOG_FORMAT=json or text.",
}
_ELSEWHERE: Final = "See the table of settings in README.md."
_PREFIX: Final = "refusing to start: "


def as_text(found: Sequence[Finding]) -> str:
    width = max(len(finding.check) for finding in found)
    lines = []
    for finding in found:
        lines.append(f"{_MARKS[finding.state]}  {finding.check:<{width}}  {finding.says}")
        if finding.advice:
            lines.append(f"{'':{width + 8}}-> {finding.advice}")
    return "\n".join([*lines, "", _verdict(found)])


def _verdict(found: Iterable[Finding]) -> str:
    states = [finding.state for finding in found]
    if worst(found := list(found)) in (BAD, WARN):
        return f"{states.count(BAD)} bad, {states.count(WARN)} to see to"
    return "nothing is wrong"


def as_json(found: Sequence[Finding]) -> str:
    told = {"verdict": worst(found), "findings": [finding._asdict() for finding in found]}
    return json.dumps(told)


def refused(problem: str) -> list[Finding]:
    """Of an installation whose settings do not hold: each problem, and the machine."""
    problems = problem.removeprefix(_PREFIX).split("; ")
    found = [Finding("settings", BAD, one, _advice(one)) for one in problems]
    return [*found, *examine(ground.CHECKS)]


def _advice(problem: str) -> str:
    return next((advice for word, advice in _ADVICE.items() if word in problem), _ELSEWHERE)
