"""Operators may read bets, exposure and settlements in the admin; nobody may change them there."""

from uuid import UUID

import pytest
from django.urls import reverse

from bets.models import Bet, CellExposure, Settlement
from bets.resolution import deflate_evidence
from taptrading import clock
from wallet.ids import HOUSE
from wallet.models import Wallet

NONCE = UUID("6f1d3c52-0c1b-4a57-9d5e-2f6f0b0c9a11")
ADDRESS = "0x" + "ab" * 20
COLUMN = 1_764_000_010
AT = clock.from_us(COLUMN * 1_000_000)


@pytest.fixture(autouse=True)
def plain_pages(settings):
    """Pages name their styles as they are: tests collect none. Nobody guesses passwords here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    storage = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": storage}
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]


@pytest.fixture
def rows(own_wallets):
    """One bet of 2.5 USDC at 1.9423, its liability and its column's decision."""
    wallet = Wallet.objects.create(id=7_000, kind="player", address=ADDRESS, created_at=AT)
    bet = Bet.objects.create(
        id=8_000,
        wallet=wallet,
        house_id=HOUSE,
        column_start=COLUMN,
        low_cents=9_500_000,
        high_cents=9_501_000,
        stake_micros=2_500_000,
        min_rate_bps=15_000,
        nonce=NONCE,
        timestamp=COLUMN - 12,
        signature=bytes(65),
        status=Bet.Status.WON,
        rate_bps=19_423,
        payout_micros=4_855_750,
        cursor=3,
        accepted_at=AT,
    )
    exposure = CellExposure.objects.create(
        house_id=HOUSE, column_start=COLUMN, low_cents=9_500_000, liability_micros=4_855_750
    )
    evidence = "1764000010000 9500100\n1764000015000 9500200"
    settlement = Settlement.objects.create(
        column_start=COLUMN,
        state="void",
        reason="gap",
        ticks=2,
        max_gap_ms=5_000,
        ticks_sha256="0" * 64,
        evidence=deflate_evidence(evidence),
        decided_at=AT,
    )
    return {"bet": bet, "cellexposure": exposure, "settlement": settlement}


MODELS = ["bet", "cellexposure", "settlement"]


@pytest.mark.parametrize("model", MODELS)
def test_operator_reads_rows_when_they_open_the_list_and_one(admin_client, rows, model):
    listed = admin_client.get(reverse(f"admin:bets_{model}_changelist"))
    one = admin_client.get(reverse(f"admin:bets_{model}_change", args=[rows[model].pk]))

    assert listed.status_code == 200
    assert one.status_code == 200
    assert b'name="_save"' not in one.content
    assert b"deletelink" not in one.content


@pytest.mark.parametrize("model", MODELS)
def test_operator_is_refused_when_they_try_to_write(admin_client, rows, model):
    pk = rows[model].pk

    for name, arguments in (("add", []), ("change", [pk]), ("delete", [pk])):
        url = reverse(f"admin:bets_{model}_{name}", args=arguments)
        assert admin_client.post(url, {"post": "yes"}).status_code == 403
    assert type(rows[model]).objects.filter(pk=pk).exists()


def test_list_shows_money_and_rate_in_the_words_of_traders(admin_client, rows):
    page = admin_client.get(reverse("admin:bets_bet_changelist")).content.decode()

    for text in ("1764000010_9500000_9501000", "2.50", "1.9423", "4.85575"):
        assert text in page


@pytest.mark.parametrize(
    ("words", "found"),
    [("8000", 1), (ADDRESS, 1), (str(NONCE), 1), ("8001", 0), ("'; drop", 0), ("9" * 40, 0)],
)
def test_search_finds_a_bet_by_id_wallet_or_nonce(admin_client, rows, words, found):
    reply = admin_client.get(reverse("admin:bets_bet_changelist"), {"q": words})

    assert reply.status_code == 200
    assert reply.context["cl"].result_count == found


def test_settlement_shows_the_text_that_its_hash_is_of(admin_client, rows):
    page = admin_client.get(reverse("admin:bets_settlement_change", args=[COLUMN]))

    assert "1764000015000 9500200" in page.content.decode()


def test_list_of_bets_takes_no_more_queries_when_there_are_more(
    admin_client, rows, django_assert_num_queries
):
    url = reverse("admin:bets_bet_changelist")
    admin_client.get(url)
    with django_assert_num_queries(5):
        admin_client.get(url)
    bet = rows["bet"]
    for n in range(1, 6):
        wallet = Wallet.objects.create(
            id=7_000 + n, kind="player", address=f"0x{n:040x}", created_at=AT
        )
        bet.pk, bet.wallet, bet.nonce = 8_000 + n, wallet, UUID(int=n)
        bet.save(force_insert=True)

    with django_assert_num_queries(5):
        admin_client.get(url)
