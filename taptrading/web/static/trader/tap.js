// A tap becomes a signed bet. It is on the screen as pending before it is signed and sent.

import { betText, signText } from "./signing.js";

const ANSWER_MS = 6_000;
const RATE_LEAST_BPS = 10_100;
const ASK_AGAIN_MS = 2_000;
// By the contract a 404 by nonce is final so long after the bet's timestamp.
const FINAL_S = 42;

export class Taps {
  constructor({ config, market, bets, stream, account, choices, api, chart, say }) {
    Object.assign(this, { config, market, bets, stream, account, choices, api, chart, say });
    this.byId = new Map();
    this.last = 0;
  }

  /** Why nobody can bet now, as a word of the contract, or "". */
  obstacle() {
    if (!this.stream.live) return "offline";
    if (this.market.status.breaker === "open") return "breaker_open";
    if (this.market.age() > 1_500) return "price_stale";
    if (!this.account.signer) return "unauthenticated";
    return "";
  }

  /** Stake the chosen preset on a cell. The bet's nonce, or "" with the reason said. */
  tap(column, low) {
    const offer = this.market.offer(column, low);
    const stake = this.choices.get("stake");
    const why = this.obstacle() || this.#against(column, low, offer, stake);
    if (why) {
      this.say(why, { room: offer?.room });
      return "";
    }
    const nonce = crypto.randomUUID();
    const slack = this.choices.get("slack");
    const shownRate = this.chart.strips.rateShown(column, low) ?? offer.rate;
    const minRate = Math.max(RATE_LEAST_BPS, Math.floor((shownRate * (100 - slack)) / 100));
    const cellId = `${column}_${low}_${low + this.config.band_cents}`;
    const at = performance.now();
    this.bets.tapped({ nonce, cellId, stake, minRate, shownRate, at });
    // After the frame that shows it: a signature takes a millisecond or two.
    requestAnimationFrame(() => setTimeout(() => this.#send(nonce, cellId, stake, minRate)));
    return nonce;
  }

  #against(column, low, offer, stake) {
    if (this.market.isLocked(column)) return "cell_locked";
    if (!offer) return "cell_off_grid";
    for (const bet of this.bets.onChart(this.market.now()))
      if (bet.column === column && bet.low === low && !["refused", "rejected"].includes(bet.state))
        return "cell_taken";
    if (offer.room < stake) return "limit_reached";
    return this.account.wallet && this.account.wallet.balance_micros < stake ? "insufficient_funds" : "";
  }

  #send(nonce, cellId, stake, minRate) {
    const { signer } = this.account;
    if (!signer) return this.bets.refused(nonce, "unauthenticated");
    const bet = {
      wallet: this.account.address,
      cell_id: cellId,
      stake_micros: stake,
      min_rate_bps: minRate,
      nonce,
      timestamp: Math.floor(this.market.now() / 1_000),
      chain_id: this.config.chain_id,
    };
    bet.signature = signText(betText(this.config, bet), signer);
    const id = (this.last += 1);
    this.byId.set(id, nonce);
    if (!this.stream.send({ op: "bet", id, ...bet })) {
      this.byId.delete(id);
      this.bets.refused(nonce, "offline");
      this.say("offline");
      return undefined;
    }
    setTimeout(() => this.#silent(id, nonce), ANSWER_MS);
    return undefined;
  }

  #silent(id, nonce) {
    if (!this.byId.delete(id)) return;
    this.bets.doubt((bet) => bet.nonce === nonce);
    this.settleDoubts();
  }

  /** The server's word on a bet of this socket. True if it was for us. */
  take({ type, data }) {
    if (!type.startsWith("bet.") || typeof data !== "object" || data === null) return false;
    if (Number.isSafeInteger(data.id)) {
      const nonce = this.byId.get(data.id);
      this.byId.delete(data.id);
      if (type === "bet.rejected" && nonce && typeof data.error === "string") {
        this.#refused(nonce, data);
        return true;
      }
    }
    const bet = this.bets.told(data);
    if (bet && type === "bet.rejected") {
      // This word carries no rate. The grid's, of about the same instant, is shown if it explains it.
      const rate = this.market.offer(bet.column, bet.low)?.rate;
      this.say(bet.reason || "rejected", { bet, detail: rate < bet.minRate ? { rate_bps: rate } : {} });
    }
    return bet !== null;
  }

  #refused(nonce, { error, detail }) {
    if (error === "outcome_unknown") {
      this.bets.doubt((bet) => bet.nonce === nonce);
      this.settleDoubts();
      return;
    }
    const bet = this.bets.byNonce.get(nonce);
    this.bets.refused(nonce, error);
    this.say(error, { bet, detail: typeof detail === "object" && detail ? detail : {} });
  }

  /** The connection is gone, and with it the answers under way. */
  lost() {
    this.byId.clear();
    this.bets.doubt();
  }

  /** Ask what became of each bet that is in doubt, until the answer is final. */
  async settleDoubts() {
    if (this.asking) return;
    this.asking = true;
    try {
      while (this.bets.unknown.length && this.stream.live) {
        for (const bet of this.bets.unknown) await this.#ask(bet);
        if (this.bets.unknown.length) await new Promise((done) => setTimeout(done, ASK_AGAIN_MS));
      }
    } finally {
      this.asking = false;
    }
  }

  async #ask(bet) {
    try {
      this.bets.told(await this.api.get(`bets/by-nonce/${bet.nonce}`));
    } catch (error) {
      const old = performance.now() - bet.tappedAt > FINAL_S * 1_000;
      if (error.code === "not_found" && old) {
        this.bets.refused(bet.nonce, "not_placed");
        this.say("not_placed", { bet });
      }
    }
  }
}
