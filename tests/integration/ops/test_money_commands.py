"""`manage.py fund_house` and `manage.py export_wallet`: who may, what is written, and only once."""

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command

from ops.models import AuditEntry
from ops.staff import roles
from pricefeed.board import Board
from taptrading import clock
from taptrading.errors import DependencyError
from tests import factories
from tests.factories import USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet import link
from wallet.models import LocalTransfer, TraderSession, Wallet
from wallet.player_limits import SetPlayerLimits


def run(command: str, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(command, *words, stdout=out, stderr=err)
    except SystemExit as left:
        return int(left.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def staff(writer: InProcessLink) -> None:
    for name, role in (("ann", roles.OPERATOR), ("bob", roles.OPERATOR), ("vic", roles.VIEWER)):
        user = User.objects.create_user(name, is_staff=True)
        user.groups.add(Group.objects.get(name=role))


def fund(*words: str, by: str = "ann", also_by: str = "bob") -> tuple[int, dict[str, Any]]:
    people = ("--by", by, "--also-by", also_by, "--reason", "more room")
    code, out, err = run("fund_house", "250.5", "--reference", "bank-7", *people, "--json", *words)
    return code, json.loads(out) if out else {"error": err}


def house() -> int:
    return Wallet.objects.get(kind="house").balance_micros


def test_fund_house_when_two_may_then_funded_once_and_remembered(staff: None) -> None:
    before = house()
    assert fund("--dry-run")[1]["outcome"] == "would be done"
    assert house() == before
    code, told = fund()
    assert (code, told["outcome"]) == (0, "done")
    assert told["after_micros"] - told["before_micros"] == 250_500_000
    assert fund()[1]["outcome"] == "was done before"
    assert house() - before == 250_500_000
    assert LocalTransfer.objects.get(key="funding:bank-7").amount_micros == 250_500_000
    entry = AuditEntry.objects.get(action="house.fund")
    assert (entry.actor, entry.reason) == ("ann, bob", "more room")
    assert entry.after == {"amount_micros": 250_500_000, "reference": "bank-7"}


@pytest.mark.parametrize(
    ("people", "why"),
    [
        ({"also_by": "ann"}, "two people"),
        ({"also_by": "vic"}, "vic may not"),
        ({"by": "vic"}, "vic may not"),
        ({"also_by": "eve"}, "eve is not one of the staff"),
    ],
)
def test_fund_house_when_they_may_not_then_refused_and_nothing_moves(
    staff: None, people: dict[str, str], why: str
) -> None:
    before = house()
    with pytest.raises(CommandError, match=why):
        fund(**people)
    assert house() == before
    assert not AuditEntry.objects.filter(action="house.fund").exists()


@pytest.mark.parametrize("amount", ["0", "-5", "1.0000001", "1e6", "ten"])
def test_fund_house_when_the_amount_is_none_then_says_so(staff: None, amount: str) -> None:
    with pytest.raises(CommandError, match="amount"):
        call_command(
            *("fund_house", "--reference", "x", "--by", "ann", "--also-by", "bob"),
            *("--reason", "y", "--", amount),
        )


def test_fund_house_when_the_writer_is_away_then_could_not_run(staff: None) -> None:
    def away(_: Any) -> Any:
        raise DependencyError("the writer is away")

    link.use(away)
    code, told = fund()
    assert code == 2
    assert "the writer is away" in told["error"]


def test_export_when_a_wallet_has_a_history_then_all_of_it_and_nobody_elses(
    writer: InProcessLink, now: ManualClock, feed_board: Board, tmp_path: Path
) -> None:
    factories.funded_house(writer)
    factories.tick(feed_board)
    mine, other = factories.funded_wallet(writer), factories.funded_wallet(writer, usdc=77)
    bet = accepted(writer.call(place_command(mine)))
    accepted(writer.call(place_command(other)))
    writer.call(SetPlayerLimits(mine.pk, {"loss_day_max_micros": 9 * USDC}))
    at = clock.now()
    TraderSession.objects.create(token_sha256=b"t" * 32, wallet=mine, created_at=at, expires_at=at)
    file = tmp_path / "mine.json"
    code, out, _ = run(
        "export_wallet", str(mine.address).upper().replace("0X", "0x"), str(file), "--json",
        "--by", "ann", "--reason", "asked for it",
    )  # fmt: skip
    assert code == 0
    text = file.read_text()
    told = json.loads(text)
    assert json.loads(out)["ledger"] == len(told["ledger"]) == 2
    assert told["wallet"]["address"] == mine.address
    assert told["wallet"]["balance_micros"] == 1_000 * USDC - 5 * USDC
    assert [entry["kind"] for entry in told["ledger"]] == ["STAKE", "DEPOSIT"]
    limits = told["player_limits"]
    assert (limits["loss_day_max_micros"], limits["loss_day_micros"]) == (9 * USDC, 5 * USDC)
    assert [one["bet_id"] for one in told["bets"]] == [bet["bet_id"]]
    assert len(told["custody_events"]) == len(told["deposits"]) == len(told["sessions"]) == 1
    assert str(other.address) not in text
    assert "74" * 32 not in text  # the session's token, as its hash is kept
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    noted = AuditEntry.objects.get(action="wallet.export")
    assert (noted.actor, noted.subject, noted.reason) == (
        "ann",
        f"wallet:{mine.pk}",
        "asked for it",
    )


def test_export_when_it_is_longer_than_a_page_then_whole(
    writer: InProcessLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ops import exporting

    monkeypatch.setattr(exporting, "_PAGE", 2)
    wallet = factories.funded_wallet(writer)
    for number in range(4):
        _deposit(writer, wallet, number)
    run("export_wallet", str(wallet.address), str(tmp_path / "all.json"))
    assert len(json.loads((tmp_path / "all.json").read_text())["ledger"]) == 5


def _deposit(writer: InProcessLink, wallet: Wallet, number: int) -> None:
    from wallet.transfers import CustodyReport

    owner = str(wallet.address)
    writer.call(CustodyReport(f"more-{number}", "deposit.confirmed", "", owner, USDC))


def test_export_when_there_is_no_such_wallet_or_the_file_is_there_then_could_not_run(
    writer: InProcessLink, tmp_path: Path
) -> None:
    wallet = factories.funded_wallet(writer)
    assert run("export_wallet", "0x" + "9" * 40, str(tmp_path / "a.json"))[0] == 2
    there = tmp_path / "there.json"
    there.write_text("precious")
    code, _, err = run("export_wallet", str(wallet.address), str(there))
    assert (code, there.read_text()) == (2, "precious")
    assert "File exists" in err
