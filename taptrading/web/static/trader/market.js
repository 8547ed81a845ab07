// What the server has said of price, grid and breaker, and what time it is there.

import { isGrid, isHeartbeat, isStatus, isTick } from "./shape.js";

const PATH_MS = 240_000;
const CLOCK_WINDOW_MS = 15_000;

/** The server's clock, from the times its frames carry: the least delayed of the last half minute
 *  is nearest to the truth. */
export class ServerClock {
  constructor(now = () => performance.now()) {
    this.read = now;
    this.best = -Infinity;
    this.before = -Infinity;
    this.since = now();
  }

  heard(serverMs) {
    const now = this.read();
    if (now - this.since > CLOCK_WINDOW_MS) {
      this.before = this.best;
      this.best = -Infinity;
      this.since = now;
    }
    this.best = Math.max(this.best, serverMs - now);
  }

  get known() {
    return this.best > -Infinity || this.before > -Infinity;
  }

  now() {
    const offset = Math.max(this.best, this.before);
    return this.read() + (offset > -Infinity ? offset : Date.now() - this.read());
  }
}

const NO_GRID = { columns: [], lows: [], rates: [], room: [] };

/** Events: "tick", "grid", "status". */
export class Market extends EventTarget {
  constructor(config, clock = new ServerClock()) {
    super();
    this.config = config;
    this.clock = clock;
    this.path = []; // {t (ms), cents}, oldest first
    this.grid = NO_GRID;
    this.status = { breaker: "closed", reason: "" };
    this.newest = null;
  }

  /** Take a frame; false if it is none of the market's, or makes no sense. */
  take({ type, data }) {
    if (type === "price.tick" && isTick(data)) this.#tick(data);
    else if (type === "grid.update" && isGrid(data)) this.#grid(data);
    else if (type === "system.status" && isStatus(data)) this.#status(data);
    else if (type === "heartbeat" && isHeartbeat(data)) this.clock.heard(Date.parse(data.server_time));
    else return false;
    return true;
  }

  /** Bars of a second, for the stretches of which no tick was heard. */
  remember(bars) {
    const heard = new Set(this.path.map(({ t }) => Math.ceil(t / 1_000) * 1_000));
    const missed = bars
      .map(({ at, close_cents: cents }) => ({ t: Date.parse(at) + 1_000, cents }))
      .filter(({ t }) => t < this.newest.t && !heard.has(t));
    this.path = [...missed, ...this.path].sort((one, other) => one.t - other.t);
    this.dispatchEvent(new Event("tick"));
  }

  #tick(data) {
    const t = Date.parse(data.at);
    if (this.newest && t <= this.newest.t) return;
    this.newest = { t, cents: data.price_cents };
    this.path.push(this.newest);
    this.clock.heard(t + data.age_ms);
    const oldest = t - PATH_MS;
    if (this.path.length > 64 && this.path[32].t < oldest) this.path.splice(0, 32);
    this.dispatchEvent(new Event("tick"));
  }

  #grid(data) {
    this.grid = {
      columns: data.column_starts,
      lows: data.lows_cents,
      rates: data.rates_bps,
      room: data.room_micros,
    };
    this.dispatchEvent(new Event("grid"));
  }

  #status(data) {
    this.status = data;
    this.dispatchEvent(new Event("status"));
  }

  now() {
    return this.clock.now();
  }

  /** How old the index price is, in ms; Infinity before the first one. */
  age() {
    return this.newest ? Math.max(0, this.now() - this.newest.t) : Infinity;
  }

  /** Is the column past, current or next? Then nobody bets on it. */
  isLocked(column) {
    const { column_s: length, locked_columns: locked } = this.config;
    const current = Math.floor(this.now() / 1_000 / length) * length;
    return column < current + locked * length;
  }

  /** {rate, room} of a cell that can be bet on now, or null. */
  offer(column, low) {
    const at = this.grid.columns.indexOf(column);
    const band = this.grid.lows.indexOf(low);
    if (at < 0 || band < 0 || this.isLocked(column)) return null;
    const rate = this.grid.rates[at][band];
    return rate ? { rate, room: this.grid.room[at][band] ?? 0 } : null;
  }
}
