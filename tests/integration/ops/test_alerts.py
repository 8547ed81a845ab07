"""The alert rules by promtool, and what no tool looks at: that each has a test and a runbook."""

import os
import re
import shutil
import subprocess
from typing import Any, Final

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.stack import ROOT

FOLDER: Final = ROOT / "deploy" / "prometheus"
RULES: Final = FOLDER / "alerts.yml"
TESTS: Final = (FOLDER / "alerts_test.yml", FOLDER / "alerts_days_test.yml")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*words: str) -> "subprocess.CompletedProcess[str]":
    tool = shutil.which("promtool")
    if tool is None:
        missing = "promtool is not there: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return subprocess.run([tool, *words], capture_output=True, text=True, timeout=100)


def test_rules_when_promtool_looks_at_them_then_they_are_sound() -> None:
    done = promtool("check", "config", str(FOLDER / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_when_their_conditions_come_and_go_then_each_does_what_its_test_says() -> None:
    done = promtool("test", "rules", *map(str, TESTS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases: dict[str, set[bool]] = {}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                cases.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert cases == {rule["alert"]: {True, False} for rule in rules()}


DESIGNED: Final = {
    *("HighErrorRate", "HighLatency", "PriceFeedStale", "CircuitBreakerOpen", "ArchiveStale"),
    *("DiskSpaceLow", "LedgerDrift", "CustodyMismatch", "SettlementLag", "QueueBackpressure"),
    *("WriterDown", "SecurityEvents"),
}


def test_every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on() -> None:
    assert {rule["alert"] for rule in rules()} >= DESIGNED
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule
        assert rule["annotations"]["summary"], rule
        runbook = rule["annotations"]["runbook"]
        assert re.fullmatch(r"docs/(runbooks/[a-z-]+|[A-Z_]+)\.md(#[a-z-]+)?", runbook), rule


RUNBOOKS: Final = ROOT / "docs" / "runbooks"
_COMMAND: Final = re.compile(r"manage\.py ([a-z_]+)([^`|\n>]*)")


def test_every_alert_has_a_runbook_and_stands_in_the_index_and_in_the_manual() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    manual = (ROOT / "docs" / "MONITORING.md").read_text()
    for rule in rules():
        page = ROOT / rule["annotations"]["runbook"].partition("#")[0]
        assert page.is_file(), rule
        assert f"]({page.name})" in index, page.name
        assert rule["alert"] in index, rule
        assert f"| {rule['alert']} |" in manual, rule


def test_every_link_in_the_runbooks_leads_somewhere() -> None:
    pages = [*RUNBOOKS.glob("*.md"), ROOT / "docs" / "MONITORING.md"]
    dead = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:\s]+\.md)[^)]*\)", page.read_text())
        if not (page.parent / target).is_file()
    ]
    assert dead == []


def test_every_command_in_the_runbooks_exists_and_has_the_options_it_is_given() -> None:
    known = get_commands()
    unknown = set()
    for page in [*RUNBOOKS.glob("*.md"), ROOT / "docs" / "MONITORING.md"]:
        for name, words in _COMMAND.findall(page.read_text()):
            if name not in known:
                unknown.add(f"{page.name}: {name}")
                continue
            owner = known[name]
            command = load_command_class(owner, name) if isinstance(owner, str) else owner
            options = command.create_parser("manage.py", name)._option_string_actions
            given = re.findall(r"(?<!\S)--[a-z-]+", re.sub(r'"[^"]*"', "", words))
            unknown |= {f"{page.name}: {name} {one}" for one in given if one not in options}
    assert unknown == set()
