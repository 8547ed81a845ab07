"""The list. Each defect is one that somebody might have written, or one guard taken away while
the others stand: a guard that only the next one covers for is a guard that nobody tests."""

from typing import Final

from tests.sabotage.defect import Defect, Edit

_BOOK: Final = "wallet/book.py"
_WRITER: Final = "wallet/writer.py"
_SERVER: Final = "wallet/server.py"
_ACCOUNTS: Final = "wallet/transfers/accounts.py"
_DEPOSITS: Final = "wallet/transfers/deposits.py"
_WITHDRAWALS: Final = "wallet/transfers/withdrawals.py"
_KEYS: Final = "wallet/keys.py"
_LEDGER_TABLES: Final = "wallet/migrations/0001_initial.py"
_SETTINGS: Final = "taptrading/settings.py"
_PLACING: Final = "bets/placing.py"
_PRICING: Final = "bets/pricing.py"
_SETTLEMENT: Final = "bets/settlement.py"
_LIABILITIES: Final = "bets/liabilities.py"

_OF_BOOK: Final = "tests/integration/wallet/test_book.py::test_"
_OF_CLOCK: Final = "tests/integration/wallet/test_writer_clock.py::test_"
_OF_LEDGER: Final = "tests/integration/wallet/test_ledger.py::test_"
_OF_COMMIT: Final = "tests/integration/wallet/test_commit_order.py::test_"
_OF_DOUBT: Final = "tests/integration/wallet/test_commit_in_doubt.py::test_"
_OF_EDGES: Final = "tests/integration/wallet/test_writer_edges.py::test_"
_OF_NONCES: Final = "tests/integration/wallet/test_nonces.py::test_"
_OF_WITHDRAWALS: Final = "tests/integration/wallet/test_withdrawals.py::test_"
_OF_CUSTODY: Final = "tests/integration/wallet/test_deposits_and_custody.py::test_"
_OF_PLACING: Final = "tests/integration/bets/test_placing.py::test_"
_OF_CAPS: Final = "tests/integration/bets/test_key_caps.py::test_"
_OF_PRICING: Final = "tests/integration/bets/test_pricing.py::test_"
_OF_LIMITS: Final = "tests/integration/bets/test_liability_limits.py::test_"
_OF_GUARDS: Final = "tests/integration/wallet/test_wallet_constraints.py::test_"
_OF_TABLES: Final = "tests/integration/bets/test_bet_constraints.py::test_"
_OF_SETTLEMENT: Final = "tests/integration/bets/test_settlement.py::test_"
_OF_PAYMENT: Final = "tests/integration/bets/test_settlement_money.py::test_"


def _defect(name: str, breaks: str, edits: Edit | tuple[Edit, ...], *caught_by: str) -> Defect:
    return Defect(name, breaks, edits if isinstance(edits, tuple) else (edits,), caught_by)


_DEDUCTION: Final = (
    _defect(
        "deduction_unconditional",
        "a balance is written whatever it has become since it was read",
        Edit(_BOOK, "WHERE id = %s AND balance_micros = %s", "WHERE id = %s AND %s IS NOT NULL"),
        f"{_OF_BOOK}persist_when_a_balance_changed_meanwhile_then_broken",
    ),
    _defect(
        "move_overdraws",
        "the book moves money that a wallet does not have",
        Edit(_BOOK, 'if debit.balance_micros < amount and debit.kind != "custody":', "if False:"),
        f"{_OF_BOOK}move_when_a_micro_is_missing_then_broken_and_nothing_moved",
    ),
    _defect(
        "move_of_nothing",
        "the book moves nothing, or less than nothing",
        Edit(_BOOK, "if amount <= 0:", "if False:"),
        f"{_OF_BOOK}move_when_it_is_nothing_or_less_then_broken_and_nothing_moved",
    ),
    _defect(
        "stake_without_cover",
        "a bet is accepted without looking at the balance",
        Edit(
            _PLACING, "account is None or account.balance_micros < bet.stake_micros", "not account"
        ),
        f"{_OF_PLACING}stakes_of_one_batch_never_exceed_the_balance",
    ),
    _defect(
        "negative_balance_storable",
        "the database takes a player's balance below zero",
        Edit(_LEDGER_TABLES, "('balance_micros__gte', 0)", "('balance_micros__gte', -(10**18))"),
        f"{_OF_LEDGER}database_refuses_a_players_negative_balance",
    ),
)

_COMMIT: Final = (
    _defect(
        "decide_before_begin",
        "balances are read before the transaction that deducts from them",
        Edit(
            _WRITER,
            "            with transaction.atomic(), connection.cursor() as cursor:\n"
            "                book = self._book = Book(cursor, self._ids, self._now_us(),"
            " self._house_id)\n"
            "                for work, _ in works:\n"
            "                    work.prefetch(book)\n",
            "            cursor = connection.cursor()\n"
            "            book = self._book = Book(cursor, self._ids, self._now_us(),"
            " self._house_id)\n"
            "            for work, _ in works:\n"
            "                work.prefetch(book)\n"
            "            with transaction.atomic():\n",
        ),
        f"{_OF_COMMIT}batch_when_it_reads_then_nobody_else_can_write",
    ),
    _defect(
        "begin_deferred",
        "the transaction takes the write lock with its first write, after all reads",
        Edit(_SETTINGS, '"transaction_mode": "IMMEDIATE"', '"transaction_mode": "DEFERRED"'),
        f"{_OF_COMMIT}batch_when_it_reads_then_nobody_else_can_write",
    ),
    _defect(
        "reply_before_commit",
        "outcomes are sent before the COMMIT that makes them true",
        (
            Edit(_SERVER, "import DatabaseError", "import DatabaseError, transaction"),
            Edit(
                _SERVER,
                "        outcomes = self._run(\n"
                "            [command for request in requests for command in request.commands],"
                " patience_s\n"
                "        )\n"
                "        start = 0\n"
                "        for request in requests:\n"
                "            end = start + len(request.commands)\n"
                "            request.answer(outcomes[start:end])\n"
                "            start = end\n",
                "        with transaction.atomic():\n"
                "            outcomes = self._run(\n"
                "                [c for r in requests for c in r.commands], patience_s\n"
                "            )\n"
                "            start = 0\n"
                "            for request in requests:\n"
                "                end = start + len(request.commands)\n"
                "                request.answer(outcomes[start:end])\n"
                "                start = end\n",
            ),
        ),
        f"{_OF_COMMIT}reply_when_the_commit_fails_then_refused",
    ),
    _defect(
        "told_although_not_committed",
        "bets are announced, and priced later, that no COMMIT has stored",
        Edit(
            _PLACING,
            "        if not committed:\n            return []\n        self._unpriced",
            "        self._unpriced",
        ),
        f"{_OF_COMMIT}bet_when_its_batch_is_not_committed_then_nobody_is_told_and_it_is_not_priced",
    ),
    _defect(
        "doubt_taken_for_refusal",
        "a COMMIT that failed is said not to have taken place",
        Edit(_WRITER, "if committing and not (_locked(error) or _full(error)):", "if False:"),
        f"{_OF_DOUBT}run_when_nobody_knows_whether_it_committed_stops_instead_of_refusing",
    ),
    _defect(
        "fsync_skipped",
        "a COMMIT does not wait for the disk",
        Edit(_SETTINGS, '"PRAGMA synchronous=FULL;"', '"PRAGMA synchronous=OFF;"'),
        f"{_OF_COMMIT}connection_when_opened_then_each_commit_is_synced_to_disk",
    ),
    _defect(
        "fsync_of_checkpoints_only",
        "a COMMIT is in the log, but not on disk until the next checkpoint",
        Edit(_SETTINGS, '"PRAGMA synchronous=FULL;"', '"PRAGMA synchronous=NORMAL;"'),
        f"{_OF_COMMIT}connection_when_opened_then_each_commit_is_synced_to_disk",
    ),
    _defect(
        "checkpoint_not_synced",
        "the log starts over before what was copied from it is on disk",
        Edit("wallet/checkpoints.py", "PRAGMA synchronous=FULL", "PRAGMA synchronous=OFF"),
        f"{_OF_COMMIT}checkpoint_when_it_copies_then_it_syncs",
    ),
    _defect(
        "clock_steps_back",
        "a batch lies before the one before it",
        Edit(_WRITER, "max(self._last_us, clock.now_us())", "clock.now_us()"),
        f"{_OF_CLOCK}batch_when_the_clock_steps_back_then_not_before_the_last_one",
    ),
)

_LEDGER: Final = (
    _defect(
        "seal_not_chained",
        "a seal does not cover the seal before it",
        Edit("wallet/seals.py", "sha256(previous + ", "sha256("),
        "tests/unit/wallet/test_seals.py::test_seal_when_worked_by_hand_then_the_same",
    ),
    _defect(
        "chain_begins_anew",
        "each batch begins a chain of its own",
        Edit(_BOOK, "seals.seal(previous, ", "seals.seal(seals.GENESIS, "),
        f"{_OF_LEDGER}every_batch_with_entries_extends_the_chain_of_seals",
    ),
    _defect(
        "seal_leaves_amounts_out",
        "an entry's amount is not under the seal",
        Edit(
            "wallet/seals.py",
            "(_TEXT % entry)",
            "(_TEXT % entry._replace(amount_micros=0))",
        ),
        "tests/unit/wallet/test_seals.py::test_leaf_when_any_part_of_the_entry_differs_then_another",
    ),
    _defect(
        "delete_trigger_missing",
        "ledger entries and seals can be deleted",
        Edit(
            "wallet/triggers.py",
            "editor.execute(text.format(",
            "verb == 'delete' or editor.execute(text.format(",
        ),
        f"{_OF_LEDGER}ledger_is_append_only",
        f"{_OF_LEDGER}every_trigger_is_there_after_all_migrations",
    ),
    _defect(
        "update_trigger_missing",
        "ledger entries and seals can be changed",
        Edit(
            "wallet/triggers.py",
            "editor.execute(text.format(",
            "verb == 'update' or editor.execute(text.format(",
        ),
        f"{_OF_LEDGER}ledger_is_append_only",
        f"{_OF_LEDGER}every_trigger_is_there_after_all_migrations",
    ),
    _defect(
        "payout_beside_refund",
        "the database takes a refund of a bet that was paid",
        Edit(
            _LEDGER_TABLES,
            "models.When(kind='REFUND', then=models.Value('PAYOUT')), ",
            "",
        ),
        f"{_OF_LEDGER}database_refuses_a_refund_beside_a_payout",
    ),
    _defect(
        "release_beside_withdrawal",
        "the database takes the release of a hold that was paid out",
        Edit(
            _LEDGER_TABLES,
            "models.When(kind='RELEASE', then=models.Value('WITHDRAWAL')), ",
            "",
        ),
        f"{_OF_GUARDS}ledger_when_a_reference_has_an_outcome_then_no_other_one",
    ),
    _defect(
        "entry_stored_twice",
        "the database takes the same movement of money again",
        Edit(
            _LEDGER_TABLES,
            "models.F('reference'), name='ledger_once'",
            "models.F('id'), name='ledger_once'",
        ),
        f"{_OF_GUARDS}ledger_when_a_reference_has_an_outcome_then_no_other_one",
    ),
    _defect(
        "sequence_forgotten",
        "a writer that starts mints ids from the clock alone",
        Edit(_WRITER, "IdMint(node, max(largest, ", "IdMint(node, 0 * max(largest, "),
        f"{_OF_CLOCK}writer_when_it_starts_under_an_older_clock_then_ids_go_on",
    ),
)

_BETS: Final = (
    _defect(
        "nonce_not_looked_up",
        "a bet that comes again is not told from a new one",
        Edit(
            _PLACING,
            "used = self._used.get((bet.wallet_id, bet.nonce))",
            "used = self._used.get((0, bet.nonce))",
        ),
        f"{_OF_PLACING}same_nonce_is_answered_with_its_bet",
    ),
    _defect(
        "nonce_not_unique",
        "the database takes two bets with one nonce",
        Edit(
            "bets/migrations/0001_initial.py",
            "models.UniqueConstraint(fields=('wallet', 'nonce'), name='bet_nonce')",
            "models.UniqueConstraint(fields=('wallet', 'nonce', 'id'), name='bet_nonce')",
        ),
        f"{_OF_TABLES}bet_when_its_nonce_has_one_then_the_database_refuses",
    ),
    _defect(
        "nonce_claimed_over_another",
        "a claim takes the place of what Redis remembers of a nonce",
        Edit("wallet/nonces.py", "DataPersistOptions.NX, px=ttl_ms", "px=ttl_ms"),
        f"{_OF_NONCES}admit_repeats_a_refusal_that_was_final",
    ),
    _defect(
        "refusal_forgotten",
        "a bet that was refused for good may come again and be accepted",
        Edit(_PLACING, "refused.append((bet, outcome.refusal))", "give_back.append(bet)"),
        f"{_OF_PLACING}final_refusal_is_remembered_with_its_nonce",
    ),
    _defect(
        "taken_cell_not_looked_up",
        "a second bet on a cell is left to the database to refuse",
        Edit(_PLACING, "(bet.wallet_id, bet.column_start, bet.low_cents) in self._taken", "False"),
        f"{_OF_PLACING}two_bets_on_one_cell_in_one_batch_move_money_once",
    ),
    _defect(
        "taken_cell_storable",
        "the database takes two open bets on one cell",
        Edit(
            "bets/migrations/0002_open_bets.py",
            'fields=("column_start", "taken_low_cents", "wallet")',
            'fields=("column_start", "taken_low_cents", "wallet", "id")',
        ),
        f"{_OF_TABLES}bet_when_its_cell_is_taken_then_the_database_refuses",
    ),
    _defect(
        "time_window_unchecked",
        "the writer takes bets that were signed long ago, or for later",
        Edit(
            _PLACING,
            "late = signing.check_timestamp(bet.timestamp, self._decided_us)",
            "late = None",
        ),
        f"{_OF_PLACING}frozen_unknown_and_late_are_refused_in_order",
    ),
    _defect(
        "locked_column_open",
        "the writer takes bets on a column that has become the next one",
        Edit(_PLACING, "if bet.column_start < self._first_open:", "if False:"),
        f"{_OF_PLACING}column_that_became_the_next_one_is_locked_as_the_writer_decides",
    ),
    _defect(
        "lock_a_moment_late",
        "a column is open for one more",
        Edit(
            _PLACING,
            "if bet.column_start < self._first_open:",
            "if bet.column_start + 5 < self._first_open:",
        ),
        f"{_OF_PLACING}column_that_became_the_next_one_is_locked_as_the_writer_decides",
    ),
    _defect(
        "old_price_taken",
        "the writer takes bets without looking at breaker and price",
        Edit(_PLACING, "else self._board.refusal(now_us // clock.US_PER_MS)", "else None"),
        f"{_OF_PLACING}bet_on_a_stale_price_is_refused_and_keeps_its_nonce",
        f"{_OF_PLACING}bet_while_the_breaker_is_open_is_refused_and_keeps_its_nonce",
    ),
    _defect(
        "frozen_wallet_bets",
        "a frozen wallet may bet",
        Edit(_PLACING, 'Refusal("wallet_frozen") if account.frozen else None', "None"),
        f"{_OF_PLACING}frozen_unknown_and_late_are_refused_in_order",
    ),
    _defect(
        "key_total_unchecked",
        "a session key spends more than its total",
        Edit(
            _KEYS,
            "            and self._used.get(key_id, used) + stake_micros <= max_total\n",
            "",
        ),
        f"{_OF_PLACING}session_key_is_held_to_its_caps",
        f"{_OF_CAPS}stakes_when_they_come_to_the_keys_total_then_accepted_and_not_a_micro_more",
    ),
    _defect(
        "key_stake_unchecked",
        "a session key stakes more at once than it may",
        Edit(_KEYS, "            and stake_micros <= max_stake\n", ""),
        f"{_OF_CAPS}stake_when_all_that_the_key_may_at_once_then_accepted_and_not_a_micro_more",
    ),
    _defect(
        "key_of_another",
        "a session key signs for a wallet that is not its own",
        Edit(
            _KEYS, "            owner == wallet_id\n            and revoked", "            revoked"
        ),
        f"{_OF_PLACING}session_key_is_useless_when_expired_revoked_or_anothers",
    ),
    _defect(
        "key_that_has_expired",
        "a session key signs at the instant of its expiry, and after",
        Edit(_KEYS, "            and self._book.now_us < expires_at_us\n", ""),
        f"{_OF_CAPS}key_when_it_expires_at_this_instant_then_it_has_expired",
    ),
    _defect(
        "high_s_taken",
        "the malleated twin of a signature is a second signature",
        Edit("wallet/signing.py", " or signature[32:64] > _HALF_ORDER", ""),
        "tests/unit/wallet/test_signing.py::test_recover_when_s_is_high_then_none",
        "tests/integration/bets/test_endpoint.py::test_malleated_signature_is_bad",
    ),
)

_PRICES: Final = (
    _defect(
        "refund_forgotten",
        "a bet that its pricing tick rejects costs its stake",
        Edit(
            _PRICING,
            'self._book.move("REFUND", house, account, stake, f"bet:{bet_id}")',
            "self._book.change(account)",
        ),
        f"{_OF_PRICING}tick_below_the_smallest_rate_rejects_and_refunds_once",
        f"{_OF_PRICING}no_tick_within_patience_rejects_and_refunds_once",
    ),
    _defect(
        "smallest_rate_ignored",
        "a bet is confirmed at a rate that its trader did not sign",
        Edit(_PRICING, "rate_bps == 0 or rate_bps < min_rate_bps", "rate_bps == 0"),
        f"{_OF_PRICING}tick_below_the_smallest_rate_rejects_and_refunds_once",
    ),
    _defect(
        "priced_by_a_seen_tick",
        "a bet is priced by a tick that may have been seen at the tap",
        Edit(_PRICING, "return LIMITS.pricing_delay_ms * clock.US_PER_MS", "return 0"),
        f"{_OF_PRICING}bet_waits_for_the_first_tick_after_the_delay",
        f"{_OF_PRICING}bet_is_priced_by_the_first_due_tick_even_if_seen_late",
    ),
    _defect(
        "priced_twice",
        "a bet that was priced meanwhile is priced again",
        Edit(
            _PRICING,
            "if self._book.cursor.rowcount != len(rows):",
            "if self._book.cursor.rowcount > len(rows):",
        ),
        f"{_OF_LIMITS}bet_when_another_hand_has_priced_it_then_the_batch_breaks",
    ),
    _defect(
        "refused_batch_forgotten",
        "bets of a batch that could not be committed are never priced",
        Edit(_PRICING, "self._unpriced.back(command)", "pass"),
        f"{_OF_PRICING}refused_batch_is_priced_again_by_the_same_tick",
    ),
    _defect(
        "key_use_kept",
        "a rejected bet still counts against its session key",
        Edit(_PRICING, "self._caps.use(bet.key_id, -stake)", "pass"),
        f"{_OF_LIMITS}key_when_its_bet_is_rejected_then_it_may_stake_that_again",
    ),
    _defect(
        "exposure_of_bet_unlimited",
        "one bet may promise any share of the house",
        Edit(_LIABILITIES, "payout_micros > of_bet", "False"),
        f"{_OF_LIMITS}payout_when_it_is_all_a_bet_may_promise_then_one_more_is_refused",
    ),
    _defect(
        "exposure_of_cell_unlimited",
        "the bets on a cell may promise any share of the house",
        Edit(_LIABILITIES, "            or in_cell > of_cell\n", ""),
        f"{_OF_LIMITS}payouts_when_they_fill_a_cell_then_one_more_is_refused",
    ),
    _defect(
        "exposure_of_column_unlimited",
        "the bets on a column may promise any share of the house",
        Edit(_LIABILITIES, "            or in_column > of_column\n", ""),
        f"{_OF_LIMITS}payouts_when_they_fill_a_column_then_one_more_is_refused",
    ),
    _defect(
        "exposure_unlimited",
        "all bets together may promise more than the house has",
        Edit(_LIABILITIES, "min(of_all, house - refundable_micros)", "house - refundable_micros"),
        f"{_OF_LIMITS}payouts_when_they_fill_the_house_then_one_more_is_refused",
    ),
    _defect(
        "refundable_stakes_promised",
        "payouts are promised from stakes that may have to be given back",
        Edit(_LIABILITIES, "min(of_all, house - refundable_micros)", "of_all"),
        f"{_OF_PRICING}stakes_that_may_have_to_be_given_back_promise_no_payout",
    ),
    _defect(
        "limits_not_asked",
        "pricing confirms whatever the room",
        Edit(
            _PRICING,
            "if self._liabilities.take(column_start, low_cents, payout, self._refundable_micros):",
            "if self._liabilities.take(column_start, low_cents, payout, 0) or True:",
        ),
        f"{_OF_PRICING}limit_reached_is_decided_in_order_of_acceptance",
    ),
)

_OUTCOMES: Final = (
    _defect(
        "payout_rounded",
        "a payout is rounded to the nearest micro, not down",
        Edit(
            "taptrading/money.py",
            "return stake_micros * rate_bps // BPS",
            "return round(stake_micros * rate_bps / BPS)",
        ),
        "tests/unit/taptrading/test_money.py::test_payout_when_it_does_not_come_out_even_then_rounded_down",
        "tests/properties/test_rates.py::test_payout_is_the_exact_product_rounded_down",
    ),
    _defect(
        "touch_of_the_upper_edge",
        "a path that ends at a band's upper edge touches it",
        Edit(
            "bets/resolution.py",
            "path_low_cents < high_cents and",
            "path_low_cents <= high_cents and",
        ),
        "tests/unit/bets/test_resolution.py::test_outcome_is_half_open_when_the_path_ends_on_an_edge",
        "tests/properties/test_resolution.py::test_outcome_is_that_of_the_exact_intersection",
        f"{_OF_PAYMENT}settle_when_the_path_ends_at_an_edge_then_by_the_half_open_band",
    ),
    _defect(
        "touch_of_the_lower_edge_missed",
        "a path that ends at a band's lower edge misses it",
        Edit("bets/resolution.py", "path_high_cents >= low_cents", "path_high_cents > low_cents"),
        "tests/unit/bets/test_resolution.py::test_outcome_is_half_open_when_the_path_ends_on_an_edge",
        f"{_OF_PAYMENT}settle_when_the_path_ends_at_an_edge_then_by_the_half_open_band",
    ),
    _defect(
        "gap_settled",
        "a column is settled although ticks are missing",
        Edit("bets/resolution.py", "max_gap_ms > limits.gap_ms", "max_gap_ms < 0"),
        f"{_OF_SETTLEMENT}column_with_a_gap_is_void_and_refunded",
    ),
    _defect(
        "late_ticks_count",
        "what was recorded after the patience still decides a column",
        Edit("bets/resolution.py", "v.recorded_at_us <= min(now_us, deadline_us)", "True"),
        "tests/unit/bets/test_resolution.py::test_resolve_ignores_recordings_when_they_came_after_the_patience",
        "tests/unit/bets/test_resolution.py::test_resolve_ignores_what_was_recorded_after_the_decision",
    ),
    _defect(
        "decided_again",
        "a second opinion takes the place of a column's decision",
        Edit(_SETTLEMENT, "if command.column_start not in self._decisions:", "if True:"),
        f"{_OF_PAYMENT}decision_when_the_column_has_one_then_named_and_left_as_it_is",
    ),
    _defect(
        "paid_twice_in_a_batch",
        "two commands of one batch settle the same bets",
        Edit(
            _SETTLEMENT,
            "rows, self._bets[command.column_start] = self._bets[command.column_start], []",
            "rows = self._bets[command.column_start]",
        ),
        f"{_OF_SETTLEMENT}second_opinion_after_the_decision_pays_nothing_more",
    ),
    _defect(
        "paid_again",
        "bets that are resolved already are resolved once more",
        Edit(
            _SETTLEMENT,
            " AND resolved_at IS NULL\"\n    \" AND status = 'confirmed' ORDER BY",
            '"\n    " AND rate_bps IS NOT NULL ORDER BY',
        ),
        f"{_OF_PAYMENT}settle_when_nothing_is_left_then_nothing_told",
        f"{_OF_SETTLEMENT}second_opinion_after_the_decision_pays_nothing_more",
    ),
    _defect(
        "resolved_by_two_hands",
        "a bet that another hand resolved meanwhile is paid all the same",
        Edit(
            _SETTLEMENT,
            "if cursor.rowcount != len(self._resolved):",
            "if cursor.rowcount > len(self._resolved):",
        ),
        f"{_OF_PAYMENT}settle_when_a_bet_was_resolved_by_another_hand_then_the_batch_breaks",
    ),
    _defect(
        "void_kept",
        "the stakes of a void column stay with the house",
        Edit(
            _SETTLEMENT,
            'kind, status, reason, paid = "REFUND", "void", decision.reason, stake',
            'kind, status, reason, paid = "REFUND", "void", decision.reason, 0',
        ),
        f"{_OF_SETTLEMENT}column_with_a_gap_is_void_and_refunded",
        f"{_OF_PAYMENT}settle_when_the_column_has_no_whole_range_then_refunded_with_its_reason",
    ),
    _defect(
        "liability_kept",
        "a resolved bet still counts against its cell's room",
        Edit(_SETTLEMENT, "self._liabilities.release(column_start, low_cents, potential)", "pass"),
        f"{_OF_SETTLEMENT}touched_cell_wins_its_rate",
    ),
)

_TRANSFERS_OF_MONEY: Final = (
    _defect(
        "withdrawal_repeated",
        "a withdrawal that comes again is a second one",
        Edit(_WITHDRAWALS, "if (account.id, command.nonce) in self._nonces:", "if False:"),
        f"{_OF_LEDGER}withdrawal_with_a_used_nonce_is_refused",
        f"{_OF_WITHDRAWALS}withdraw_when_sent_again_then_nonce_reused_and_held_once",
    ),
    _defect(
        "withdrawal_nonce_not_unique",
        "the database takes two withdrawals with one nonce",
        Edit(
            _LEDGER_TABLES,
            "fields=('wallet', 'nonce'), name='withdrawal_nonce'",
            "fields=('wallet', 'nonce', 'id'), name='withdrawal_nonce'",
        ),
        f"{_OF_GUARDS}withdrawal_when_its_nonce_has_one_then_the_database_refuses",
    ),
    _defect(
        "withdrawal_of_too_much",
        "a withdrawal is held without looking at the balance",
        Edit(_WITHDRAWALS, "if account.balance_micros < command.amount_micros:", "if False:"),
        f"{_OF_LEDGER}withdrawal_over_the_balance_leaves_no_row",
    ),
    _defect(
        "withdrawal_steps_back",
        "a withdrawal that is on its way can be cancelled",
        Edit(_WITHDRAWALS, "if row.status != Status.HELD:", "if False:"),
        f"{_OF_LEDGER}cancel_gives_back_while_held_and_not_after",
    ),
    _defect(
        "payout_sent_twice",
        "the local custodian sends a payout as often as it is asked",
        Edit(
            "wallet/custody.py",
            "        LocalTransfer.objects.get_or_create(\n            key=key,",
            "        again = LocalTransfer.objects.filter(key=key).exists()\n"
            "        LocalTransfer.objects.get_or_create(\n"
            "            key=f'{key} again' if again else key,",
        ),
        f"{_OF_WITHDRAWALS}advance_when_it_died_after_sending_then_sent_once",
    ),
    _defect(
        "withdrawal_of_a_frozen_wallet",
        "a frozen wallet may withdraw",
        Edit(_WITHDRAWALS, "        if account.frozen:\n", "        if False:\n"),
        f"{_OF_LEDGER}frozen_wallet_cannot_withdraw",
    ),
    _defect(
        "deposit_event_again",
        "an event that the custodian repeats is carried out again",
        Edit(_DEPOSITS, "if command.event_id in self._events:", "if False:"),
        f"{_OF_LEDGER}deposit_credits_once_when_the_event_comes_twice",
        f"{_OF_CUSTODY}event_when_delivered_twice_then_credited_once",
    ),
    _defect(
        "transfer_under_two_events",
        "one transfer is credited for every event that names it",
        Edit(_DEPOSITS, "applied = not known and apply(command)", "applied = apply(command)"),
        f"{_OF_LEDGER}transfer_told_again_under_another_event_moves_nothing",
    ),
    _defect(
        "deposit_completed_twice",
        "a deposit that is completed is credited again",
        Edit(_DEPOSITS, " or deposit.status != Deposit.Status.PENDING:", ":"),
        f"{_OF_GUARDS}deposit_when_it_was_credited_under_another_spelling_of_its_id_then_not_again",
    ),
    _defect(
        "deposit_of_another",
        "a deposit is credited to whoever the event names",
        Edit(_DEPOSITS, "deposit.wallet_id != account.id or ", ""),
        f"{_OF_CUSTODY}event_when_for_a_deposit_of_another_then_unmatched",
    ),
    _defect(
        "event_storable_twice",
        "the database takes one event twice",
        Edit(
            _LEDGER_TABLES,
            "('event_id', models.CharField(max_length=100, unique=True))",
            "('event_id', models.CharField(max_length=100))",
        ),
        f"{_OF_GUARDS}custody_event_when_it_is_stored_then_the_database_refuses_it_again",
    ),
    _defect(
        "custodian_not_asked_for_a_signature",
        "anybody's events are believed",
        Edit(
            "wallet/custody.py",
            "if not hmac.compare_digest(expected.encode(), signature.lower().encode()):",
            "if expected is None:",
        ),
        f"{_OF_CUSTODY}event_when_signature_is_wrong_then_bad_signature",
        f"{_OF_CUSTODY}event_when_body_was_changed_then_bad_signature",
    ),
    _defect(
        "event_of_last_year",
        "a signed event is good for ever",
        Edit(
            "wallet/custody.py",
            "if abs(skew_us) > LIMITS.custody_skew_s * clock.US_PER_S:",
            "if False:",
        ),
        f"{_OF_CUSTODY}event_when_older_or_newer_than_five_minutes_then_bad_signature",
    ),
    _defect(
        "house_funded_twice",
        "a funding that comes again is a second one",
        Edit(_ACCOUNTS, "if command.reference not in self._funded:", "if True:"),
        f"{_OF_LEDGER}fund_house_counts_a_reference_once",
    ),
    _defect(
        "internal_command_from_outside",
        "whoever reaches the writer's socket prices bets",
        Edit(
            _WRITER, "for kind in self._by_kind if not kind.internal", "for kind in self._by_kind"
        ),
        f"{_OF_EDGES}frame_when_it_holds_an_internal_command_then_hung_up_and_not_carried_out",
    ),
    _defect(
        "late_request_carried_out",
        "a request that waited too long is carried out after it was given up",
        Edit("wallet/inbox.py", "if request.until <= now:", "if False:"),
        "tests/unit/wallet/test_inbox.py::test_take_when_a_request_waited_too_long_then_nothing_was_done",
    ),
)

DEFECTS: Final = (
    *_DEDUCTION,
    *_COMMIT,
    *_LEDGER,
    *_BETS,
    *_PRICES,
    *_OUTCOMES,
    *_TRANSFERS_OF_MONEY,
)
