"""A COMMIT that fails: what the writer may say afterwards."""

from collections.abc import Callable

import pytest
from django.db import OperationalError, connection

from taptrading.errors import Refusal
from tests.fakes import InProcessLink
from wallet.models import Wallet
from wallet.transfers import OpenWallet
from wallet.writer import CommitInDoubt

pytestmark = pytest.mark.django_db(transaction=True)

OWNER = "0x" + "ab" * 20


def failing(why: str, *, after: bool = False) -> Callable[[], None]:
    """A COMMIT that says `why`, before it took place or after."""
    commit = connection._commit

    def fails() -> None:
        if after:
            commit()
        raise OperationalError(why)

    return fails


@pytest.mark.parametrize("took_place", [True, False])
def test_run_when_nobody_knows_whether_it_committed_stops_instead_of_refusing(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch, took_place: bool
) -> None:
    monkeypatch.setattr(connection, "_commit", failing("disk I/O error", after=took_place))
    with pytest.raises(CommitInDoubt):
        writer.call(OpenWallet(OWNER))
    assert Wallet.objects.filter(address=OWNER).exists() is took_place


def test_run_when_the_disk_is_full_at_commit_refuses(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_commit", failing("database or disk is full"))
    assert writer.call(OpenWallet(OWNER)) == Refusal("dependency_unavailable")
    assert not Wallet.objects.filter(address=OWNER).exists()


def test_run_when_locked_at_commit_tries_again(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = [failing("database is locked"), connection._commit]
    monkeypatch.setattr(connection, "_commit", lambda: commits.pop(0)())
    writer.call(OpenWallet(OWNER))
    assert Wallet.objects.filter(address=OWNER).exists()


def test_run_when_a_statement_finds_a_broken_disk_refuses(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr("wallet.book.Book.persist", broken)
    assert writer.call(OpenWallet(OWNER)) == Refusal("dependency_unavailable")
