// What came of the bets of a column, told once and together: they are decided at the same instant.

import { gain, price, usdc } from "./format.js";

const GATHER_MS = 250;

export class Outcomes {
  constructor(tell) {
    this.tell = tell; // (text, kind) =>
    this.gathered = [];
  }

  add(bet) {
    this.gathered.push(bet);
    if (this.gathered.length === 1) setTimeout(() => this.#tell(), GATHER_MS);
  }

  #tell() {
    const bets = this.gathered;
    this.gathered = [];
    this.tell(bets.length === 1 ? one(bets[0]) : many(bets), netOf(bets) > 0 ? "good" : "info");
  }
}

const paid = (bets) => bets.reduce((sum, { payout }) => sum + (payout ?? 0), 0);
const staked = (bets) => bets.reduce((sum, { stake }) => sum + stake, 0);
const netOf = (bets) => {
  const decided = bets.filter(({ state }) => state !== "void");
  return paid(decided.filter(({ state }) => state === "won")) - staked(decided);
};

function one(bet) {
  const band = `${price(bet.low)} to ${price(bet.high)}`;
  if (bet.state === "won")
    return `Won on ${band}: $${usdc(bet.payout ?? 0)} paid, ${gain((bet.payout ?? 0) - bet.stake)}.`;
  if (bet.state === "lost") return `Lost $${usdc(bet.stake)} on ${band}.`;
  return `Void: prices were missing. $${usdc(bet.stake)} is back.`;
}

function many(bets) {
  const won = bets.filter(({ state }) => state === "won");
  const backs = bets.filter(({ state }) => state === "void");
  const back = backs.length ? `, ${backs.length} void with $${usdc(staked(backs))} back` : "";
  return `${won.length} of ${bets.length} won${back}: $${usdc(paid(won))} paid, net ${gain(netOf(bets))}.`;
}
