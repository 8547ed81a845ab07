// Wires the page together: what comes in, what is drawn, what a finger or a key does.

import { Account, findWallets } from "./account.js";
import * as api from "./api.js";
import { Bets } from "./bets.js";
import { Chart } from "./chart.js";
import { byId, el, say } from "./dom.js";
import { Feel } from "./feel.js";
import { clockTime, gain, payout, price, rate, short, shortAddress, usdc } from "./format.js";
import { Limits } from "./limits.js";
import { Market } from "./market.js";
import { announce, banner, toast } from "./notices.js";
import { Outcomes } from "./outcomes.js";
import { attempt, Panels } from "./panels.js";
import { bandsFor, Scene } from "./scene.js";
import { isBar, isConfig, isSnapshot } from "./shape.js";
import { Choices } from "./store.js";
import { Stream } from "./stream.js";
import { Taps } from "./tap.js";
import { sentence } from "./words.js";

const STALE_MS = 1_500;
const SLOW_MS = 400;
const PAST_MS = 60_000;
const FRAMES_KEPT = 1_200;
// The line is drawn so far behind the newest tick that there is always one ahead of it.
const BEHIND_MS = 120;

class Page {
  constructor(config) {
    this.config = config;
    this.choices = new Choices();
    this.market = new Market(config);
    this.bets = new Bets();
    this.account = new Account(config, this.market, api);
    this.scene = new Scene(config);
    this.chart = new Chart(byId("chart"), this.market, this.bets, this.scene);
    this.feel = new Feel(this.choices);
    this.stream = new Stream(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/v1`, () => this.#channels());
    this.taps = new Taps({ config, market: this.market, bets: this.bets, stream: this.stream, account: this.account, choices: this.choices, api, chart: this.chart, say: (code, more) => this.#refusal(code, more) });
    this.panels = new Panels({ config, account: this.account, bets: this.bets, choices: this.choices, api, market: this.market });
    this.limits = new Limits({ account: this.account, api, market: this.market, panels: this.panels });
    this.outcomes = new Outcomes((text, kind) => {
      toast(text, kind);
      announce(text);
    });
    this.frames = [];
    this.drawnTaps = [];
    this.latency = null;
  }

  async start() {
    this.#stakes();
    this.#stream();
    this.#pointer();
    this.#keyboard();
    this.#entrance();
    this.#zoom();
    this.bets.addEventListener("change", ({ detail }) => this.#betChanged(detail));
    this.account.addEventListener("change", () => this.#accountChanged());
    // Whoever has no session is not asked who they are.
    const known = "session" in document.body.dataset ? this.account.restore().catch(() => false) : null;
    await known;
    this.#accountChanged();
    this.stream.connect();
    requestAnimationFrame((at) => this.#frame(at));
    setInterval(() => this.#vitals(), 250);
  }

  #channels() {
    const channels = ["price", "grid", "status"];
    return this.account.signedIn ? { channels: [...channels, "bets"], since: this.account.cursor } : { channels };
  }

  /** The minute before this connection, from the record. */
  async #past() {
    const to = new Date(this.market.now());
    const from = new Date(to.getTime() - PAST_MS);
    try {
      const { results } = await api.get(`prices?from=${from.toISOString()}&to=${to.toISOString()}&step_s=1&limit=200`);
      if (Array.isArray(results)) this.market.remember(results.filter(isBar));
    } catch {
      // The line begins with the next tick, then.
    }
  }

  // What comes in.

  #stream() {
    const { stream } = this;
    stream.addEventListener("frame", ({ detail }) => this.#take(detail));
    stream.addEventListener("open", () => {
      this.shutdown = false;
      // With the first price, which tells the time there.
      this.market.addEventListener("tick", () => this.#past(), { once: true });
      this.#vitals();
      this.taps.settleDoubts();
    });
    stream.addEventListener("lost", ({ detail }) => {
      this.taps.lost();
      if (detail.code === 4401) this.account.restore().then((known) => known || location.reload(), () => {});
      this.#vitals();
    });
    stream.addEventListener("shutdown", () => {
      this.shutdown = true;
      this.#vitals();
    });
    stream.addEventListener("latency", ({ detail }) => (this.latency = detail));
    addEventListener("online", () => stream.live || stream.connect());
  }

  #take(frame) {
    if (typeof frame.data !== "object" || frame.data === null) return;
    if (this.market.take(frame)) return;
    this.account.take(frame);
    if (frame.type === "snapshot") this.#snapshot(frame.data);
    else this.taps.take(frame);
  }

  #snapshot(data) {
    if (!isSnapshot(data)) return;
    for (const bet of [...data.missed, ...data.open]) this.bets.told(bet);
    this.taps.settleDoubts();
  }

  #betChanged({ bet, before }) {
    const event = bet.state === "pending" ? "tap" : bet.state === "rejected" ? "refused" : bet.state;
    if (before || bet.mine) this.feel.of(event);
    if (!before || before.state === bet.state) return;
    if (["won", "lost", "void"].includes(bet.state)) this.outcomes.add(bet);
    if (bet.state === "unknown") toast("Connection lost with a bet under way: finding out.", "warn");
    if (bet.state === "confirmed")
      announce(`Bet on ${price(bet.low)} to ${price(bet.high)} confirmed at ${bet.rate ? rate(bet.rate) : ""}.`);
  }

  #refusal(code, more = {}) {
    const text = sentence(code, more);
    toast(text, "bad");
    announce(text);
    this.feel.of("refused");
    if (code === "unauthenticated") byId("welcome").hidden = false;
  }

  // What is shown.

  #frame(at) {
    const started = performance.now();
    const since = Math.min(at - (this.drawnAt ?? at), 250);
    this.drawnAt = at;
    const { market, scene, chart } = this;
    if (market.newest) {
      const zoom = this.choices.get("zoom");
      const wanted = zoom || bandsFor(market.grid, this.config.band_cents, market.newest.cents, scene.shown - 1) || scene.bands;
      scene.follow(market.now() - BEHIND_MS, market.newest.cents, wanted, since, !chart.calm.matches);
    }
    chart.draw(!this.stream.live || market.age() > STALE_MS);
    this.panels.refresh();
    this.#tappedShown();
    this.frames.push(performance.now() - started);
    if (this.frames.length > FRAMES_KEPT) this.frames.shift();
    requestAnimationFrame((next) => this.#frame(next));
  }

  #tappedShown() {
    if (!this.waitingTaps?.length) return;
    const now = performance.now();
    for (const at of this.waitingTaps) this.drawnTaps.push(now - at);
    this.waitingTaps = [];
    this.drawnTaps.splice(0, this.drawnTaps.length - 100);
  }

  /** What changes slowly: price, age, balance, banner. */
  #vitals() {
    const { market, account, bets } = this;
    const live = this.stream.live;
    const age = market.age();
    say(byId("price"), market.newest ? `$${price(market.newest.cents)}` : "–");
    say(byId("age"), !market.newest ? "" : age < STALE_MS ? "live" : `${Math.round(age / 1_000)} s old`);
    byId("age").className = age < STALE_MS && live ? "fresh" : "stale";
    say(byId("latency"), live ? (this.latency === null ? "connected" : `${Math.round(this.latency)} ms`) : "offline");
    byId("latency").className = `pill ${!live || this.latency > SLOW_MS ? "bad" : "good"}`;
    this.#offer();
    say(byId("net"), gain(bets.net));
    byId("net").className = bets.net > 0 ? "good" : bets.net < 0 ? "bad" : "";
    say(byId("open"), String(bets.open.length));
    if (account.wallet) say(byId("balance"), `$${usdc(account.wallet.balance_micros)}`);
    this.#banner(live, age);
  }

  /** What the cell under the pointer, or under the keyboard, would bring. */
  #offer() {
    const cell = this.chart.hover ?? this.chart.focus;
    const offer = cell && this.market.offer(cell.column, cell.low);
    const stake = this.choices.get("stake");
    say(byId("offer"), offer ? `$${short(stake)} at ${rate(offer.rate)} pays $${usdc(payout(stake, offer.rate))} · room for $${usdc(Math.floor(offer.room / 1e6) * 1e6).slice(0, -3)}` : "");
  }

  #banner(live, age) {
    const { breaker, reason } = this.market.status;
    const why = reason ? ` ${reason}` : "";
    if (this.shutdown) banner("The server is restarting. Your bets are safe; reconnecting …");
    else if (!live) banner(navigator.onLine ? "Reconnecting … Your bets are safe on the server." : "You are offline. Your bets are safe on the server.", "bad");
    else if (breaker === "open") banner(`Betting is paused.${why} Bets already placed are decided by the recorded prices.`, "bad");
    else if (breaker === "degraded") banner(`Prices are slow to arrive.${why}`);
    else if (this.limits.away) banner(this.limits.away);
    else if (age > STALE_MS && this.market.newest) banner("Waiting for a fresh price.");
    else banner("");
  }

  #accountChanged() {
    const { account } = this;
    const known = account.signedIn;
    byId("welcome").hidden = known;
    for (const node of document.querySelectorAll("[data-signed-in]")) node.hidden = !known;
    if (known) {
      say(byId("who"), shortAddress(account.address));
      say(byId("balance"), `$${usdc(account.wallet.balance_micros)}`);
    }
    if (known !== this.wasKnown || account.address !== this.wasAddress) {
      this.wasKnown = known;
      this.wasAddress = account.address;
      // The handshake carries the cookie, so a new session needs a new one.
      if (this.stream.socket) this.stream.connect();
    }
    byId("needs-key").hidden = !known || account.signer !== null;
  }

  // What the trader does.

  #stakes() {
    const box = byId("stakes");
    const presets = this.config.presets_micros;
    if (!presets.includes(this.choices.get("stake"))) this.choices.set("stake", presets[0]);
    for (const stake of presets) {
      const input = el("input", { type: "radio", name: "stake", id: `stake-${stake}`, value: String(stake), checked: stake === this.choices.get("stake"), onchange: () => this.choices.set("stake", stake) });
      box.append(input, el("label", { htmlFor: `stake-${stake}` }, `$${short(stake)}`));
    }
  }

  /** `pressed`: when the finger or the key moved, as the browser says (ms of its clock). */
  #tap(cell, pressed) {
    if (this.taps.tap(cell.column, cell.low)) (this.waitingTaps ??= []).push(pressed);
  }

  #pointer() {
    const canvas = byId("chart");
    const cellOf = (event) => {
      const box = canvas.getBoundingClientRect();
      return this.scene.cellAt(event.clientX - box.left, event.clientY - box.top);
    };
    canvas.addEventListener("pointermove", (event) => {
      const cell = event.pointerType === "mouse" ? cellOf(event) : null;
      this.chart.hover = cell && this.market.offer(cell.column, cell.low) ? cell : null;
      canvas.style.cursor = this.chart.hover ? "pointer" : "default";
      this.#offer();
    });
    canvas.addEventListener("pointerleave", () => (this.chart.hover = null));
    let down = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 0) down = { x: event.clientX, y: event.clientY, cell: cellOf(event) };
    });
    // On release, so that a swipe over the page stakes nothing; the cell is the one that was pressed.
    canvas.addEventListener("pointerup", (event) => {
      const pressed = down;
      down = null;
      if (!pressed?.cell || Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 12) return;
      this.#pressed(pressed.cell, event.timeStamp);
    });
    canvas.addEventListener("pointercancel", () => (down = null));
  }

  /** An own bet explains itself; anything ahead is a tap. */
  #pressed(cell, at) {
    const mine = [...this.bets.onChart(this.market.now())].find((bet) => bet.column === cell.column && bet.low === cell.low && !["refused", "rejected"].includes(bet.state));
    if (mine && !["pending", "unknown"].includes(mine.state)) this.panels.explain(mine);
    else if (cell.column * 1_000 > this.market.now() - this.config.column_s * 1_000) this.#tap(cell, at);
  }

  #keyboard() {
    const canvas = byId("chart");
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        if (this.chart.focus) this.#pressed(this.chart.focus, event.timeStamp);
      } else if (event.key === "Escape") {
        this.chart.focus = null;
      } else if (steps[event.key]) {
        this.#step(...steps[event.key]);
      } else return;
      event.preventDefault();
    });
    canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && !this.chart.focus && this.#step(0, 0));
    canvas.addEventListener("blur", () => (this.chart.focus = null));
  }

  #step(columns, bands) {
    const { market, config } = this;
    if (!market.newest) return;
    const { column_s: length, band_cents: band } = config;
    const first = market.grid.columns.find((column) => !market.isLocked(column));
    if (first === undefined) return;
    const at = this.chart.focus ?? { column: first + length, low: Math.floor(market.newest.cents / band) * band };
    const last = market.grid.columns.at(-1);
    const focus = { column: Math.min(Math.max(at.column + columns * length, first), last), low: at.low + bands * band };
    if (!market.grid.lows.includes(focus.low)) return;
    this.chart.focus = focus;
    const offer = market.offer(focus.column, focus.low);
    announce(`${price(focus.low)} to ${price(focus.low + band)}, ${clockTime(focus.column * 1_000)}: ${offer ? `${rate(offer.rate)}, Enter stakes $${short(this.choices.get("stake"))}` : "not on offer"}.`);
  }

  #zoom() {
    const change = (by) => {
      const now = this.choices.get("zoom") || Math.round(this.scene.bands);
      this.choices.set("zoom", Math.min(28, Math.max(8, now + by)));
    };
    byId("nearer").addEventListener("click", () => change(-4));
    byId("farther").addEventListener("click", () => change(4));
    byId("auto").addEventListener("click", () => this.choices.set("zoom", 0));
  }

  #entrance() {
    const play = byId("play");
    play.hidden = !this.config.demo;
    play.addEventListener("click", () => attempt(play, async () => {
      await this.account.play();
      toast("You have play money. Tap a cell to bet.", "good");
    }));
    this.account.allOffered = findWallets(({ name, provider }) => {
      this.account.offered.push({ name, provider });
      const label = `Connect ${name}`;
      const box = byId("wallets");
      if ([...box.children].some((node) => node.textContent === label)) return;
      const button = el("button.quiet", { type: "button", onclick: () => attempt(button, () => this.account.connect(provider, name)) }, label);
      box.append(button);
      byId("no-wallet").hidden = true;
    });
    byId("sign-out").addEventListener("click", (event) => attempt(event.currentTarget, async () => {
      await this.account.signOut();
      this.bets.clear();
    }));
    byId("make-key").addEventListener("click", () => this.panels.open("keys", true));
  }

  /** For whoever measures: milliseconds of script a frame; from each tap to the end of the frame
   *  that draws it; and how many taps still wait for theirs. */
  timings() {
    return { frames: [...this.frames], taps: [...this.drawnTaps] };
  }

  /** What is on the canvas, for whoever cannot see it: cells on offer with their middles, bets. */
  look() {
    const { market, scene, bets } = this;
    const cells = market.grid.columns.flatMap((column) =>
      market.grid.lows
        .filter((low) => market.offer(column, low) && scene.isVisible(column, low))
        .map((low) => {
          const [left, top, width, height] = scene.box(column, low);
          return { column, low, x: left + width / 2, y: top + height / 2, rate: market.offer(column, low).rate };
        }),
    );
    return { now: market.now(), since: market.path[0]?.t, cells, bets: [...bets.byNonce.values()] };
  }
}

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** Signatures name the platform's domain: under another name of this machine, go there. */
function atHome({ domain }) {
  const home = new URL(`${location.protocol}//${domain}/`);
  if (location.host === home.host || !LOOPBACK.has(location.hostname) || !LOOPBACK.has(home.hostname)) return true;
  location.replace(home);
  return false;
}

async function begin() {
  for (;;) {
    try {
      const config = await api.get("config");
      if (isConfig(config) && atHome(config)) return new Page(config);
    } catch {
      // Not there yet: say so, and ask again.
    }
    banner("Waiting for the server …", "bad");
    await new Promise((done) => setTimeout(done, 1_000));
  }
}

const page = await begin();
globalThis.tapTrading = {
  timings: () => page.timings(),
  look: () => page.look(),
  tap: (column, low) => page.taps.tap(column, low),
};
await page.start();
