"""How full the disk is, what fills it how fast, and room made by hand."""

import json
import sys
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from ops import disk as making
from ops import growth
from taptrading import disk
from taptrading.disk import Level, Room
from taptrading.limits import LIMITS, MIB

TOO_FULL: Final = 1
COULD_NOT_RUN: Final = 2


class Command(BaseCommand):
    help = (
        "Tell the disk's room and growth; with --make-room remove what is stored elsewhere. Exit "
        "code: 0 there is room, 1 the disk is so full that room has to be made, 2 could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--make-room",
            action="store_true",
            help="remove local files of segments that are stored, and what killed runs left",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *, make_room: bool, **options: Any) -> None:
        try:
            made = making.make_room() if make_room else None
            room = disk.room()
            grown = growth.measure() if connection.vendor == "sqlite" else None
        except (DatabaseError, OSError) as error:
            self.stderr.write(f"could not run: {error}")
            sys.exit(COULD_NOT_RUN)
        if options["json"]:
            told = making.as_json(room) | (growth.as_json(grown) if grown else {})
            if made is not None:
                told |= {"segments": made.segments, "leftovers": made.leftovers}
            self.stdout.write(json.dumps(told))
        else:
            if made is not None:
                self.stdout.write(_made_as_line(made))
            self.stdout.write(_as_line(room))
            if grown is not None:
                self.stdout.write(_growth_as_lines(grown))
        if room.level() >= Level.CLEAN:
            sys.exit(TOO_FULL)


def _made_as_line(made: making.Made) -> str:
    gone = ", ".join([*made.segments, *made.leftovers]) or "nothing"
    freed = made.before.used_bytes - made.after.used_bytes
    return f"removed {gone}: {freed // MIB} MiB"


def _as_line(room: Room) -> str:
    return (
        f"{room.used_pct:.1f} % used, {room.free_bytes // MIB} MiB free:"
        f" {room.level().name.lower()} (it is said from {LIMITS.disk_warn_pct} %, room is made from"
        f" {LIMITS.disk_clean_pct} %, bets are refused from {LIMITS.disk_refuse_pct} % or below"
        f" {LIMITS.disk_keep_free_bytes // MIB} MiB)"
    )


def _growth_as_lines(grown: growth.Growth) -> str:
    days_left = grown.days_left
    until = "never" if days_left is None else f"after {days_left:.1f} days"
    return (
        f"{grown.bytes_a_bet} bytes a bet ({grown.bets} bets in {grown.ledger_bytes // MIB} MiB),"
        f" {grown.bets_a_day} bets in the last day: {grown.bytes_a_day // MIB} MiB a day\n"
        f"archived weekly: {100 * grown.projected_ratio:.1f} % used in the long run; with nothing"
        f" archived bets are refused {until}"
    )
