// The trader's bets as this page knows them, by nonce. Says "pending" until the server confirms,
// "unknown" when it may have and nobody can tell, and never forgets a decided one for an older word.
//
// States: pending, confirmed, won, lost, void, rejected, refused (nothing was staked), unknown.

import { isBet, parseCell } from "./shape.js";

const RANK = { pending: 0, unknown: 0, confirmed: 1, rejected: 2, refused: 2, won: 2, lost: 2, void: 2 };
const KEPT_MAX = 2_000;
const LINGER_MS = 120_000;

const stateOf = (status) => (status === "accepted" ? "pending" : status);

/** Event "change" (detail: the bet and its state before, null for a new one). */
export class Bets extends EventTarget {
  constructor() {
    super();
    this.byNonce = new Map();
    this.net = 0; // of what was resolved in this visit, micros
  }

  /** Bets that belong on the chart: of columns not long past. */
  *onChart(nowMs) {
    for (const bet of this.byNonce.values()) if (bet.column * 1_000 > nowMs - LINGER_MS) yield bet;
  }

  get open() {
    return [...this.byNonce.values()].filter((bet) => RANK[bet.state] < 2);
  }

  /** Tapped: on the screen before anybody was asked. */
  tapped({ nonce, cellId, stake, minRate, shownRate, at }) {
    this.#put({
      nonce,
      ...parseCell(cellId),
      cellId,
      stake,
      minRate,
      shownRate,
      rate: null,
      payout: null,
      state: "pending",
      reason: "",
      betId: null,
      resolvedAt: null,
      tappedAt: at,
      mine: true,
    });
  }

  /** A bet in the server's words. Anything else is passed over. */
  told(data) {
    if (!isBet(data)) return null;
    const known = this.byNonce.get(data.nonce);
    const state = stateOf(data.status);
    if (known && known.state !== "unknown" && RANK[state] < RANK[known.state]) return known;
    const settled = RANK[state] === 2 && ["won", "lost"].includes(state);
    if (settled && known && RANK[known.state] < 2) this.net += (data.payout_micros ?? 0) - known.stake;
    return this.#put({
      ...(known ?? { shownRate: null, mine: false, tappedAt: Date.parse(data.accepted_at) }),
      ...parseCell(data.cell_id),
      nonce: data.nonce,
      cellId: data.cell_id,
      stake: data.stake_micros,
      minRate: data.min_rate_bps,
      rate: data.rate_bps ?? null,
      payout: data.payout_micros ?? data.potential_payout_micros ?? null,
      state,
      reason: data.reason ?? "",
      betId: data.bet_id,
      // Of a bet that was decided before this page heard of it, nobody knows when: null.
      resolvedAt: RANK[state] === 2 && known ? (known.resolvedAt ?? performance.now()) : null,
    });
  }

  /** Refused at entry: no stake was taken. */
  refused(nonce, code) {
    const bet = this.byNonce.get(nonce);
    if (bet && RANK[bet.state] < 1)
      this.#put({ ...bet, state: "refused", reason: code, resolvedAt: performance.now() });
  }

  /** The connection went: what was not confirmed may or may not be. */
  doubt(which = (bet) => bet.state === "pending") {
    for (const bet of this.byNonce.values())
      if (bet.state === "pending" && which(bet)) this.#put({ ...bet, state: "unknown" });
  }

  get unknown() {
    return [...this.byNonce.values()].filter((bet) => bet.state === "unknown");
  }

  clear() {
    this.byNonce.clear();
    this.net = 0;
  }

  #put(bet) {
    const before = this.byNonce.get(bet.nonce) ?? null;
    this.byNonce.delete(bet.nonce);
    this.byNonce.set(bet.nonce, bet);
    if (this.byNonce.size > KEPT_MAX) this.#forgetOne();
    this.dispatchEvent(new CustomEvent("change", { detail: { bet, before } }));
    return bet;
  }

  /** The one longest untouched, rather of those that are decided. */
  #forgetOne() {
    const oldest = [...this.byNonce.values()];
    this.byNonce.delete((oldest.find((bet) => RANK[bet.state] === 2) ?? oldest[0]).nonce);
  }
}
