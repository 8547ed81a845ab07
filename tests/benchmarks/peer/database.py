"""Makes the peer's tables and wallets: `python -m tests.benchmarks.peer.database < addresses`."""

import taptrading  # noqa: F401, I001  # the safe SQLite, before anything imports another

import os
import sys

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.peer.settings")

BALANCE_MICROS = 100_000_000_000


def main() -> None:
    django.setup()
    from tests.benchmarks.peer.models import Wallet

    call_command("migrate", run_syncdb=True, verbosity=0)
    Wallet.objects.bulk_create(
        Wallet(address=address, balance_micros=BALANCE_MICROS)
        for address in sys.stdin.read().split()
    )


if __name__ == "__main__":
    main()
