"""The archive: what leaves the database, what stays, and history that nobody sees a change of."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from prometheus_client import REGISTRY

from bets import own_reads
from bets.handlers import game_handlers
from bets.liabilities import promised_micros
from bets.models import Bet, Settlement
from bets.own_reads import Asked
from ops import disk as room
from ops import tasks
from ops.archive import cut, run, shelf, status, store
from ops.archive.removal import (
    Kept,
    RemovalHandler,
    RemoveBets,
    Removed,
    RemoveSeals,
    Shrink,
)
from ops.integrity import verify
from ops.integrity.explain import explain
from pricefeed.board import Board
from taptrading import clock, disk
from tests import factories, fakes
from tests.factories import USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from tests.integration.ops.archived import WEEK_S, World
from tests.small_disk import fill, small_disk
from wallet import segments
from wallet.ids import CUSTODY, HOUSE
from wallet.keys import AuthorizeKey, KeyHandler
from wallet.models import (
    ArchiveRun,
    Checkpoint,
    CustodyEvent,
    LedgerEntry,
    Seal,
    Segment,
    SessionKey,
)
from wallet.protocol import Done
from wallet.transfers import CustodyReport, FundHouse, Reported, TransferHandler
from wallet.writer import Writer

BET_KINDS = ("STAKE", "PAYOUT", "REFUND")


@pytest.fixture
def handlers(nonces: fakes.FakeNonces, feed_board: Board) -> list[Any]:
    game = game_handlers(nonces, feed_board)
    return [TransferHandler(promised_micros), KeyHandler(), *game, RemovalHandler()]


@pytest.fixture
def writer(own_wallets: None, now: ManualClock, handlers: list[Any]) -> Iterator[InProcessLink]:
    with fakes.in_process_link(handlers) as link:
        yield link


@pytest.fixture(autouse=True)
def shelves(settings: Any, tmp_path: Path) -> Path:
    """Where segments stand and where they are stored."""
    settings.SEGMENTS_DIR = tmp_path / "segments"
    settings.RUN_DIR = tmp_path
    folder = {"location": tmp_path / "store", "allow_overwrite": True}
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = settings.STORAGES | {"archive": {"BACKEND": backend, "OPTIONS": folder}}
    return tmp_path


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments that were asked for."""
    names: list[str] = []
    monkeypatch.setattr(segments, "_asked", {})
    monkeypatch.setattr(segments, "_send", names.append)
    return names


@pytest.fixture
def world(writer: InProcessLink, now: ManualClock, feed_board: Board) -> World:
    return World(writer, now, feed_board)


def clean() -> bool:
    report = verify()
    assert report.totals == {}, report.examples
    return True


def put_away(segment: Segment) -> None:
    """As after four weeks."""
    assert shelf.drop(older_than_s=-1) == [segment.name]


# What leaves and what stays.


def test_archive_when_a_week_has_passed_then_history_reads_as_before(world: World) -> None:
    for _ in range(3):
        world.play()
        world.wait(60)
    before = world.history()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    assert (segment.name, segment.state) == ("2025-W48", Segment.State.PRUNED)
    assert not Bet.objects.exists()
    assert not LedgerEntry.objects.filter(kind__in=BET_KINDS).exists()
    assert list(Seal.objects.values_list("id", flat=True)) == [segment.last_seal_id]
    assert world.history() == before
    assert clean()


def test_archive_when_it_has_run_then_what_keeps_requests_from_being_repeated_stays(
    world: World,
) -> None:
    world.play()
    event = CustodyEvent.objects.order_by("id").first()
    assert event is not None
    kept = LedgerEntry.objects.exclude(kind__in=BET_KINDS)
    entries, decisions = set(kept.values_list("id")), set(Settlement.objects.values_list())
    world.wait(WEEK_S)
    world.archive()
    assert set(LedgerEntry.objects.values_list("id")) == entries
    assert set(Settlement.objects.values_list()) == decisions
    again = CustodyReport(
        event.event_id, event.type, event.reference, event.address, event.amount_micros
    )
    assert world.writer.call(again) == Reported("repeated")
    seals = Seal.objects.count()
    funded = LedgerEntry.objects.get(kind="FUNDING")
    assert world.writer.call(FundHouse(10_000_000 * USDC, "test")) == Done(funded.pk)
    assert Seal.objects.count() == seals
    assert clean()


def test_archive_when_bets_span_the_cut_then_their_rows_and_entries_stay_till_the_next(
    world: World,
) -> None:
    early = world.play()
    world.wait(30)
    spanning = world.take_bets()
    until_us = world.now.us + 1_000
    world.wait(1)
    world.end_column(spanning[0].column_start)
    before = world.history()
    world.wait(2 * 3_600)
    (first,) = world.archive(until_us)
    here = set(Bet.objects.values_list("id", flat=True))
    rejected = {bet.pk for bet in spanning if bet.status == "rejected"}
    assert rejected
    assert here == {bet.pk for bet in spanning} - rejected
    assert first.bets == len(early) + len(rejected)
    stakes = LedgerEntry.objects.filter(kind="STAKE").values_list("reference", flat=True)
    assert set(stakes) == {f"bet:{bet_id}" for bet_id in here}
    assert world.history() == before
    assert clean()
    world.wait(WEEK_S)
    (second,) = world.archive()
    assert (second.name, second.first_seal_id) == ("2025-W48-2", first.last_seal_id + 1)
    assert second.bets == len(here)
    assert not Bet.objects.exists()
    assert world.history() == before
    assert clean()


def test_archive_when_bets_are_open_then_they_stay(world: World) -> None:
    open_bets = [bet for bet in world.take_bets() if bet.status == "confirmed"]
    world.wait(WEEK_S)
    (segment,) = world.archive()
    assert segment.bets == 2
    assert set(Bet.objects.all()) == set(open_bets)
    assert clean()


def test_archive_when_nothing_is_old_enough_then_nothing_but_the_run_is_recorded(
    world: World,
) -> None:
    world.play()
    world.wait(WEEK_S - 3_600)
    assert world.archive() == []
    assert not Segment.objects.exists()
    assert ArchiveRun.objects.get().segments == 0


def test_archive_when_asked_for_the_last_hour_then_refused(world: World) -> None:
    world.play()
    with pytest.raises(cut.TooYoung):
        run.archive(world.now.us - 3_599_000_000, lambda *_: None)
    assert not Segment.objects.exists()


def test_archive_when_there_is_more_than_a_segment_may_hold_then_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "LIMITS", replace(cut.LIMITS, segment_entries=12))
    for _ in range(4):
        world.play()
        world.wait(60)
    before = world.history()
    world.wait(WEEK_S)
    made = world.archive()
    assert [segment.name for segment in made[:2]] == ["2025-W48", "2025-W48-2"]
    assert all(segment.entries <= 12 for segment in made)
    assert sum(segment.bets for segment in made) == 24
    assert world.history() == before
    assert clean()


def test_archive_when_play_goes_on_then_the_chain_goes_on_from_the_checkpoint(
    world: World, handlers: list[Any]
) -> None:
    world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    highest = segment.last_entry_id
    world.writer.writer = Writer(handlers)  # a writer that starts on what is left
    world.now.us = clock.to_us(segment.cut_at)  # on a clock that was set back by a week
    world.writer.call(FundHouse(USDC, "later"))
    assert Seal.objects.latest("id").previous == segment.seal
    assert Seal.objects.latest("id").first_entry_id > highest
    world.wait(WEEK_S + 60)
    world.play()
    assert set(verify().totals) <= {"custody_matches"}  # nobody told the local custodian


def test_archive_when_a_key_signed_bets_then_what_it_used_still_adds_up(world: World) -> None:
    player = world.players[0]
    until_us = world.now.us + 30 * 86_400_000_000
    caps = (100 * USDC, 1_000 * USDC, until_us)
    world.writer.call(AuthorizeKey(player.pk, f"0x{'d' * 40}", "key", *caps, "e" * 32, 0, b""))
    key = SessionKey.objects.get()
    factories.tick(world.board)
    command = place_command(player, key_id=key.pk, low_cents=9_496_000, high_cents=9_497_000)
    signed = accepted(world.writer.call(command))["bet_id"]
    world.now.advance(0.1)
    world.end_column(world.take_bets()[0].column_start)
    assert Bet.objects.get(pk=signed).status in ("won", "lost")
    world.wait(WEEK_S)
    world.archive()
    key.refresh_from_db()
    assert key.archived_micros == key.used_micros == 5 * USDC
    assert clean()


def test_checkpoints_tell_each_wallets_balance_at_the_cut(world: World) -> None:
    world.play()
    balances = {wallet.pk: wallet for wallet in world.players}
    for wallet in balances.values():
        wallet.refresh_from_db()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    told = dict(Checkpoint.objects.filter(segment=segment).values_list("wallet", "balance_micros"))
    assert {pk: told[pk] for pk in balances} == {
        pk: wallet.balance_micros for pk, wallet in balances.items()
    }
    assert sum(told.values()) == 0
    assert {CUSTODY, HOUSE} < set(told)


def test_explain_when_history_was_archived_then_it_begins_with_what_that_left(
    world: World,
) -> None:
    world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    world.play()
    found = explain(str(world.players[0].pk))
    assert found.adds_up
    assert (found.archived_until, found.entries) == (segment.name, 6 - 1)


# The trigger.


@pytest.mark.parametrize("state", Segment.State.values)
def test_delete_when_a_segment_covers_the_row_then_only_once_it_is_verified(
    world: World, state: str
) -> None:
    world.play()
    found = cut.find(world.now.us - 3_600_000_000) or cut.find(_soon(world))
    assert found is not None
    segment = cut.record(found)
    Segment.objects.update(state=state)
    may_go = state in ("verified", "pruned")
    stake = LedgerEntry.objects.filter(kind="STAKE").earliest("id")
    for table, where, allowed in (
        ("wallet_ledgerentry", f"id = {stake.pk}", may_go),
        ("wallet_ledgerentry", "kind = 'DEPOSIT'", False),
        ("wallet_ledgerentry", "kind = 'FUNDING'", False),
        ("wallet_seal", f"id = {segment.last_seal_id}", False),
        ("wallet_seal", f"id = {segment.last_seal_id - 1}", may_go),
    ):
        assert _deletes(f"DELETE FROM {table} WHERE {where}") == allowed, (table, where)
    assert not _deletes("UPDATE wallet_ledgerentry SET amount_micros = 1")


def test_delete_when_the_row_is_newer_than_the_segment_then_refused(world: World) -> None:
    world.play()
    until_us = _soon(world)
    world.play()
    found = cut.find(until_us)
    assert found is not None
    cut.record(found)
    Segment.objects.update(state="verified")
    newest = LedgerEntry.objects.filter(kind="STAKE").latest("id")
    assert not _deletes(f"DELETE FROM wallet_ledgerentry WHERE id = {newest.pk}")
    assert not _deletes(f"DELETE FROM wallet_seal WHERE id = {found.last_seal_id + 1}")


def _soon(world: World) -> int:
    """Now, an hour and a bit later."""
    now_us = world.now.us
    world.wait(3_700)
    return now_us


def _deletes(statement: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            rows = cursor.rowcount
    except DatabaseError as error:
        assert "append-only" in str(error)  # noqa: PT017
        return False
    assert rows
    return True


# The writer's part.


def test_removal_when_something_is_not_as_it_should_be_then_nothing_goes(world: World) -> None:
    bets = world.play()
    ids = [bet.pk for bet in bets]
    open_ids = [bet.pk for bet in world.take_bets()]
    world.wait(3_700)
    found = cut.find(world.now.us - 3_600_000_000)
    assert found is not None
    segment = cut.record(found)
    call = world.writer.call
    assert call(RemoveBets(segment.pk, ids)) == Kept("the segment is not verified")
    assert call(RemoveSeals(segment.pk, 10)) == Kept("the segment is not verified")
    assert call(RemoveBets(segment.pk + 1, ids)) == Kept("the segment is not verified")
    Segment.objects.update(state="verified")
    assert call(RemoveBets(segment.pk, open_ids)) == Kept("a bet has not ended")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM wallet_ledgerentry WHERE reference = %s", [f"bet:{ids[0]}"])
    outcome = call(RemoveBets(segment.pk, ids))
    assert isinstance(outcome, Kept)
    assert "entries where bets need" in outcome.why
    assert Bet.objects.filter(pk__in=ids).count() == len(ids)
    assert call(RemoveBets(segment.pk, ids[1:])) == Removed(len(ids) - 1)
    assert call(RemoveBets(segment.pk, ids[1:])) == Removed(0)


def test_removal_when_one_batch_names_a_bet_twice_then_it_goes_once(world: World) -> None:
    ids = [bet.pk for bet in world.play()]
    world.wait(3_700)
    found = cut.find(world.now.us - 3_600_000_000)
    assert found is not None
    segment = cut.record(found)
    Segment.objects.update(state="verified")
    command = RemoveBets(segment.pk, ids)
    first, second = world.writer.run([command, command])
    assert first == Removed(len(ids))
    assert not isinstance(second, Removed) or second.rows == 0
    assert not Bet.objects.exists()


def test_shrink_when_nothing_is_free_then_nothing_goes(world: World) -> None:
    assert world.writer.call(Shrink(10)) == Removed(0)


# Copies that are not what they should be.


def test_archive_when_the_stored_copy_is_damaged_then_nothing_goes_and_it_is_stored_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.play()
    before = world.history()
    world.wait(WEEK_S)
    rows = (Bet.objects.count(), LedgerEntry.objects.count(), Seal.objects.count())

    def upload(path: Path, segment: Segment) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + b"!" + whole[-8:])
        original(path, segment)
        path.write_bytes(whole)

    original = store.upload
    monkeypatch.setattr(store, "upload", upload)
    with pytest.raises(run.Unfinished, match="2025-W48"):
        world.archive()
    assert (Bet.objects.count(), LedgerEntry.objects.count(), Seal.objects.count()) == rows
    assert Segment.objects.get().state == Segment.State.WRITTEN
    assert not ArchiveRun.objects.exists()
    assert world.history() == before
    monkeypatch.undo()
    (segment,) = world.archive()
    assert segment.state == Segment.State.PRUNED
    assert world.history() == before


def test_archive_when_an_entry_was_tampered_with_then_its_segment_does_not_add_up(
    world: World,
) -> None:
    world.play()
    world.wait(WEEK_S)
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER wallet_ledgerentry_no_update")
        cursor.execute(
            "UPDATE wallet_ledgerentry SET amount_micros = amount_micros + 1 WHERE id ="
            " (SELECT min(id) FROM wallet_ledgerentry WHERE kind = 'STAKE')"
        )
    bets = Bet.objects.count()
    with pytest.raises(run.Unfinished, match="does not add up"):
        world.archive()
    assert Bet.objects.count() == bets
    assert Segment.objects.get().state == Segment.State.UPLOADED


def test_archive_when_the_work_file_is_gone_then_it_is_written_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.play()
    world.wait(WEEK_S)

    def no_store(*_: object) -> None:
        raise OSError("no route to the store")

    monkeypatch.setattr(store, "upload", no_store)
    with pytest.raises(OSError, match="no route"):
        world.archive()
    segment = Segment.objects.get()
    assert segment.state == Segment.State.WRITTEN
    shelf.clear_work(segment)
    monkeypatch.undo()
    (segment,) = world.archive()
    assert segment.state == Segment.State.PRUNED
    assert clean()


def test_archive_when_another_run_goes_on_then_it_says_so(
    world: World, shelves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = run.FolderLock(shelves / "archive.lock")
    lock.take()
    with pytest.raises(SystemExit) as ended:
        call_command("archive")
    lock.release()
    assert ended.value.code == 2
    assert "another run" in capsys.readouterr().err


# Reads.


def test_history_when_a_segment_is_not_at_hand_then_being_restored_until_it_is(
    world: World, asked: list[str]
) -> None:
    (bet, *_) = world.play()
    before = world.history()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    put_away(segment)
    player = world.players[0]
    nonce = str(bet.nonce)
    for path in ("bets", "ledger?kind=STAKE", f"bets/{bet.pk}", f"bets/by-nonce/{nonce}"):
        reply = world.get(player, path)
        assert reply.status_code == 503, path
        assert reply.json()["error"] == "being_restored"
        assert int(reply.headers["Retry-After"]) >= 1
    assert asked == [segment.name]  # once, however many ask
    call_command("restore_segment", segment.name)
    assert world.history() == before


def test_history_when_newer_rows_are_at_hand_then_they_are_told_and_the_rest_follows(
    world: World,
) -> None:
    old = world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    new = world.play()
    player = world.players[0]
    whole = world.pages_json(player, "bets")
    put_away(segment)
    reply = world.get(player, "bets?limit=50").json()
    assert reply["results"] == whole[:3]
    assert [int(bet["bet_id"]) for bet in reply["results"]] == [
        bet.pk for bet in reversed(new) if bet.wallet_id == player.pk
    ]
    assert world.get(player, reply["next"].removeprefix("/api/v1/")).status_code == 503
    call_command("restore_segment", segment.name)
    rest = world.get(player, reply["next"].removeprefix("/api/v1/")).json()
    assert rest["next"] is None
    assert rest["results"] == whole[3:]
    assert {int(bet["bet_id"]) for bet in rest["results"]} <= {bet.pk for bet in old}


def test_reads_of_what_never_was_when_a_segment_is_away_then_not_found_and_none_is_fetched(
    world: World, asked: list[str]
) -> None:
    world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    put_away(segment)
    player = world.players[0]
    assert (
        world.get(player, f"bets/by-nonce/{'0' * 8}-0000-4000-8000-{'0' * 12}").status_code == 404
    )
    assert world.get(player, f"bets/{2**63 - 1}").status_code == 404
    assert asked == []
    segments.nonces_path_of(segment.name).unlink()
    unknown = world.get(player, f"bets/by-nonce/{'0' * 8}-0000-4000-8000-{'0' * 12}")
    assert unknown.status_code == 503  # nobody can tell without the segment


def test_reads_when_the_bet_is_somebody_elses_then_not_found(world: World) -> None:
    bets = world.play()
    world.wait(WEEK_S)
    world.archive()
    other = next(bet for bet in bets if bet.wallet_id == world.players[1].pk)
    assert world.get(world.players[0], f"bets/{other.pk}").status_code == 404
    assert world.get(world.players[0], f"bets/by-nonce/{other.nonce}").status_code == 404


def test_own_reads_when_rows_may_be_archived_then_left_to_the_views(world: World) -> None:
    (bet, *_) = world.play()
    player = world.players[0]
    paths = ["bets", "ledger", f"bets/{bet.pk}", f"bets/by-nonce/{bet.nonce}"]
    asked = [Asked(f"/api/v1/{path}", world.token(player), {}) for path in paths]
    asked.append(Asked("/api/v1/ledger", world.token(player), {"kind": "DEPOSIT"}))
    world.wait(WEEK_S)
    assert None not in own_reads.read_together(asked)
    world.archive()
    *gone, transfers = own_reads.read_together(asked)
    assert gone == [None] * len(paths)
    assert transfers is not None


def test_nonce_of_an_archived_bet_when_it_is_signed_anew_then_a_bet_of_its_own(
    world: World,
) -> None:
    (bet, *_) = world.play()
    world.wait(WEEK_S)
    world.archive()
    player = world.players[0]
    world.take_bets()
    again = place_command(player, nonce=bet.nonce.hex, low_cents=9_490_000, high_cents=9_491_000)
    made = accepted(world.writer.call(again))
    assert world.get(player, f"bets/by-nonce/{bet.nonce}").json()["bet_id"] == made["bet_id"]
    assert world.get(player, f"bets/{bet.pk}").status_code == 200


def test_restore_when_the_stored_copy_is_not_what_was_stored_then_one_and_nothing_is_put(
    world: World, shelves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    put_away(segment)
    stored = shelves / "store" / store.key_of(segment)
    whole = stored.read_bytes()
    for spoiled in (whole[: len(whole) // 2], whole[:-20] + bytes(20), b"nothing of the kind"):
        stored.write_bytes(spoiled)
        with pytest.raises(SystemExit) as ended:
            call_command("restore_segment", segment.name)
        assert ended.value.code == 1
        assert not shelf.is_at_hand(segment)
    stored.unlink()
    with pytest.raises(SystemExit) as ended:
        call_command("restore_segment", segment.name)
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        call_command("restore_segment", "2025-W01")
    assert ended.value.code == 2
    assert "no segment 2025-W01" in capsys.readouterr().err
    stored.write_bytes(whole)
    call_command("restore_segment", segment.name, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["clean"], told["bets"]) == (True, 6)


def test_restore_when_the_record_tells_other_figures_then_it_is_found(world: World) -> None:
    world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    share = Checkpoint.objects.filter(wallet=world.players[0]).get()
    Checkpoint.objects.filter(pk=share.pk).update(balance_micros=share.balance_micros + 1)
    with pytest.raises(SystemExit) as ended:
        call_command("restore_segment", segment.name)
    assert ended.value.code == 1


def test_drop_when_segments_are_recent_or_not_done_then_they_stay(
    world: World, shelves: Path
) -> None:
    world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    assert shelf.drop() == []
    Segment.objects.update(state="verified")
    assert shelf.drop(older_than_s=-1) == []
    Segment.objects.update(state="pruned")
    put_away(segment)
    assert not shelf.is_at_hand(segment)
    assert segments.nonces_path_of(segment.name).exists()


def test_prune_when_the_local_copy_is_gone_then_it_is_fetched_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.play()
    before = world.history()
    world.wait(WEEK_S)

    def no_writer(*_: object) -> None:
        raise run.Unfinished("no writer")

    monkeypatch.setattr(run, "_carry_out", no_writer)
    with pytest.raises(run.Unfinished):
        world.archive()
    monkeypatch.undo()
    segment = Segment.objects.get()
    assert segment.state == Segment.State.VERIFIED
    assert world.history() == before  # from both at once
    segments.path_of(segment.name).unlink()
    world.archive()
    assert world.history() == before


# What is told.


def test_dry_run_then_it_says_what_would_go_and_nothing_goes(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.play()
    world.wait(WEEK_S + 1)
    call_command("archive", "--dry-run", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["unfinished"] is None
    assert told["next"]["entries"] == LedgerEntry.objects.count()
    call_command("archive", "--dry-run")
    assert "would archive" in capsys.readouterr().out
    assert not Segment.objects.exists()
    call_command("archive", "--json")
    (made,) = json.loads(capsys.readouterr().out)["segments"]
    assert (made["name"], made["state"], made["bets"]) == ("2025-W48", "pruned", 6)
    call_command("archive", "--dry-run")
    assert "nothing more is old enough" in capsys.readouterr().out


def test_command_when_asked_for_the_last_hour_then_two(world: World) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("archive", until=world.now.us)
    assert ended.value.code == 2


def test_metric_when_a_run_has_ended_then_its_time_else_since_when_there_is_history(
    world: World,
) -> None:
    oldest = Seal.objects.earliest("id").created_at
    world.play()
    assert status.last_success_us() == clock.to_us(oldest)
    world.wait(WEEK_S)
    world.archive()
    status.tell()
    sample = REGISTRY.get_sample_value
    assert sample("last_successful_archive_timestamp") == world.now.us / 1_000_000


def test_metric_when_pages_hold_nothing_then_how_many(world: World) -> None:
    def free() -> float:
        status.tell()
        return REGISTRY.get_sample_value("database_free_pages") or 0.0

    before = free()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE scratch (page BLOB)")
        cursor.executemany("INSERT INTO scratch VALUES (zeroblob(%s))", [[8_000]] * 20)
        cursor.execute("DROP TABLE scratch")
    assert free() >= before + 20


def test_store_when_there_is_no_bucket_then_it_is_said_that_the_disk_is_the_same(
    world: World, shelves: Path
) -> None:
    assert str(shelves / "store") in store.where()
    assert "set S3_BUCKET" in store.where()
    shutil.rmtree(shelves / "store", ignore_errors=True)
    assert storages["archive"].exists("x") is False


# A full disk.


def test_disk_when_it_is_too_full_then_segments_that_are_stored_go_and_the_archive_runs_early(
    world: World, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(tasks.archive_early, "apply_async", lambda **words: asked.append(words))
    monkeypatch.setattr(room, "_archived_s", None)
    with small_disk(tmp_path / "small", 32) as small:
        settings.DATA_DIR, settings.SEGMENTS_DIR = small, small / "segments"
        # It is smaller than what is to stay free.
        monkeypatch.setattr(disk, "LIMITS", replace(disk.LIMITS, disk_keep_free_bytes=0))
        world.play()
        before = world.history()
        world.wait(WEEK_S)
        (segment,) = world.archive()
        left_behind = shelf.work_file(segment, "restored")
        left_behind.write_bytes(b"half")
        for path in (left_behind, segments.path_of(segment.name)):
            os.utime(path, (0, 0))
        assert tasks.watch_disk() == "fine"
        fill(small, 84)
        assert tasks.watch_disk() == "warn"
        assert shelf.is_at_hand(segment)
        fill(small, 90)
        assert tasks.watch_disk() == "clean"
        assert not shelf.is_at_hand(segment)
        assert not left_behind.exists()
        assert tasks.watch_disk() == "clean"
        assert len(asked) == 1  # the archive, once an hour
        fill(small, 0)
        call_command("restore_segment", segment.name)
        assert world.history() == before


def test_archive_when_a_run_was_killed_as_all_was_done_then_the_next_removes_what_it_left(
    world: World,
) -> None:
    world.play()
    world.wait(WEEK_S)
    (segment,) = world.archive()
    left_behind = shelf.work_file(segment, "zst")
    fetched = shelf.work_file(segment, "restored")  # somebody may be at it
    for path in (left_behind, fetched):
        path.write_bytes(b"half")
    assert world.archive() == []
    assert (left_behind.exists(), fetched.exists()) == (False, True)


def test_archive_early_then_what_is_a_day_old_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []

    def run_it(command: str, *words: str) -> bool:
        ran.append((command, *words))
        return True

    monkeypatch.setattr(tasks.process, "run", run_it)
    world.play()
    world.wait(2 * 86_400)
    assert tasks.archive_early() is True
    ((command, _, until, _),) = ran
    world.wait(60)
    call_command(command, "--until", until)
    assert Segment.objects.get().state == Segment.State.PRUNED
    assert not Bet.objects.exists()


def test_archive_when_the_disk_has_no_room_for_a_segment_then_unfinished_and_none_is_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.play()
    world.wait(WEEK_S)
    monkeypatch.setattr(shelf, "entries_that_fit", lambda: 3)
    with pytest.raises(run.Unfinished, match="no room"):
        world.archive()
    assert not Segment.objects.exists()


def test_archive_when_the_disk_has_room_for_a_part_then_several_smaller_segments(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        world.play()
        world.wait(60)
    before = world.history()
    world.wait(WEEK_S)
    monkeypatch.setattr(run, "LEAST_ENTRIES", 1)
    monkeypatch.setattr(shelf, "entries_that_fit", lambda: 12)
    assert len(world.archive()) > 1
    assert world.history() == before
