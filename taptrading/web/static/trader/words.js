// What the codes of the contract mean to somebody who taps.

import { rate, usdc } from "./format.js";
import { ownLimit } from "./limits.js";

const SENTENCES = {
  offline: "Not connected. Nothing was staked.",
  breaker_open: "Betting is paused.",
  price_stale: "The price is not fresh enough to bet on. Nothing was staked.",
  unauthenticated: "Get play money or connect a wallet first.",
  cell_locked: "Too late for that column.",
  cell_off_grid: "That cell is not on offer.",
  cell_taken: "You already have a bet on that cell.",
  stake_not_allowed: "That stake is not one of the presets.",
  rate_limited: "That was very fast. Take a breath and tap again.",
  overloaded: "Very busy right now. Nothing was staked; tap again.",
  dependency_unavailable: "A part of the platform is restarting. Nothing was staked; tap again.",
  session_key_invalid: "This browser's key has expired or reached its limit. Renew it under Keys.",
  bad_signature: "The signature was not accepted.",
  wallet_frozen: "This wallet is frozen. Please contact support.",
  timestamp_expired: "The tap took too long to arrive. Nothing was staked.",
  timestamp_in_future: "This device's clock confuses the server. Nothing was staked.",
  not_placed: "The bet never arrived. Nothing was staked.",
  rejected: "The bet was not taken. Your stake is back.",
};

/** A sentence for a refusal of `code`; `bet` and `detail` make it more exact. A bet that has an id
 *  was accepted before it was rejected: then the stake had moved, and is back. */
export function sentence(code, { bet, detail = {}, room } = {}) {
  const back = bet?.betId ? " Your stake is back." : "";
  if (code === "rate_moved") {
    const shown = bet?.shownRate ? rate(bet.shownRate) : "";
    const now = Number.isSafeInteger(detail.rate_bps) ? rate(detail.rate_bps) : "";
    const moved = shown && now ? `${shown} → ${now}` : shown ? `${shown} is gone` : "";
    return `Rate moved${moved ? ` ${moved}` : ""}, stake returned.`;
  }
  if (code === "limit_reached") {
    const left = Number.isSafeInteger(detail.room_micros) ? detail.room_micros : room;
    return Number.isSafeInteger(left) ? `That cell takes $${usdc(left)} more at most.${back}` : `That cell is full.${back}`;
  }
  if (code === "player_limit") return ownLimit(detail);
  if (code === "insufficient_funds") return "Not enough balance for this stake.";
  if (code === "price_stale" && bet?.betId) return "No price came in time, stake returned.";
  if (Object.hasOwn(SENTENCES, code)) return SENTENCES[code];
  return back ? SENTENCES.rejected : "The bet was refused. Nothing was staked.";
}
