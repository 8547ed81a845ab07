// Draws the scene on one canvas, sixty times a second. Text is laid out once into small pictures
// and copied from there.

import { clockTime, dollars, price, rate, short, usdc } from "./format.js";
import { Strips } from "./strips.js";

const SPRITES_MAX = 1_000;
const POP_MS = 900;

const STYLES = ["--grid", "--ink", "--dim", "--accent", "--price", "--win", "--loss",
  "--void", "--doubt", "--locked", "--surface", "--back", "--cool", "--warm", "--on-accent"];

export class Chart {
  constructor(canvas, market, bets, scene) {
    this.canvas = canvas;
    this.market = market;
    this.bets = bets;
    this.scene = scene;
    this.brush = canvas.getContext("2d", { alpha: false });
    this.hover = null;
    this.focus = null;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.restyle());
    this.sprites = new Map();
    this.strips = new Strips(market);
    this.restyle();
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
  }

  restyle() {
    const found = getComputedStyle(document.documentElement);
    this.colour = Object.fromEntries(
      STYLES.map((name) => [name.slice(2), found.getPropertyValue(name).trim()]),
    );
    this.font = found.getPropertyValue("--font").trim() || "system-ui, sans-serif";
    this.strips.restyle(this.colour, this.font);
    this.sprites.clear();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(height * this.ratio));
    this.scene.resize(width, height);
    this.strips.forget();
    this.sprites.clear();
  }

  draw(offline) {
    const { brush, scene, colour } = this;
    brush.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    brush.fillStyle = colour.back;
    brush.fillRect(0, 0, scene.width, scene.height);
    if (scene.centre === null) return;
    brush.save();
    brush.beginPath();
    brush.rect(0, 0, scene.plotWidth, scene.plotHeight);
    brush.clip();
    this.#lines();
    this.#offers(offline);
    this.#locked();
    this.#path(offline);
    this.#bets();
    this.#marks();
    brush.restore();
    this.#axes();
  }

  // What is ahead.

  #offers(offline) {
    const { brush, scene, strips } = this;
    strips.renew(scene, this.ratio);
    brush.globalAlpha = offline ? 0.25 : 1;
    strips.draw(brush, scene, this.ratio);
    brush.globalAlpha = 1;
  }

  #lines() {
    const { brush, scene, colour } = this;
    const { bandCents, columnS } = scene;
    brush.strokeStyle = colour.grid;
    brush.lineWidth = 1;
    brush.beginPath();
    const lowest = Math.floor(scene.centsAt(scene.plotHeight) / bandCents) * bandCents;
    for (let cents = lowest; scene.y(cents) > 0; cents += bandCents) {
      const y = Math.round(scene.y(cents)) + 0.5;
      brush.moveTo(0, y);
      brush.lineTo(scene.plotWidth, y);
    }
    const first = Math.ceil(scene.msAt(0) / 1_000 / columnS) * columnS;
    for (let start = first; scene.x(start * 1_000) < scene.plotWidth; start += columnS) {
      const x = Math.round(scene.x(start * 1_000)) + 0.5;
      brush.moveTo(x, 0);
      brush.lineTo(x, scene.plotHeight);
    }
    brush.stroke();
  }

  /** The current column and the next: too late for them. */
  #locked() {
    const { brush, scene, market } = this;
    const { column_s: length, locked_columns: locked } = market.config;
    const start = Math.floor(scene.now / 1_000 / length) * length;
    const left = scene.x(scene.now);
    const right = scene.x((start + locked * length) * 1_000);
    brush.fillStyle = this.colour.locked;
    brush.fillRect(left, 0, right - left, scene.plotHeight);
    brush.strokeStyle = this.colour.dim;
    brush.lineWidth = 1;
    brush.setLineDash([3, 4]);
    brush.beginPath();
    brush.moveTo(right, 0);
    brush.lineTo(right, scene.plotHeight);
    brush.stroke();
    brush.setLineDash([]);
    if (right - left > 50) this.#text("locked", (left + right) / 2, 14, this.colour.dim, 11);
  }

  // The trader's own.

  #bets() {
    const now = performance.now();
    for (const bet of this.bets.onChart(this.scene.now)) {
      if (bet.state === "refused" || bet.state === "rejected") {
        if (now - bet.resolvedAt < POP_MS) this.#gone(bet, (now - bet.resolvedAt) / POP_MS);
      } else if (this.scene.isVisible(bet.column, bet.low)) {
        this.#bet(bet, now);
      }
    }
  }

  #bet(bet, now) {
    const { brush, colour, scene } = this;
    const [left, top, width, height] = scene.box(bet.column, bet.low);
    const look = LOOKS[bet.state];
    const beat = bet.state === "pending" && !this.calm.matches ? 0.5 + 0.5 * Math.sin(now / 160) : 1;
    brush.fillStyle = colour.back; // the rate beneath
    brush.fillRect(left + 1, top + 1, width - 2, height - 2);
    brush.globalAlpha = look.fill * (0.55 + 0.45 * beat);
    brush.fillStyle = colour[look.colour];
    brush.fillRect(left + 1, top + 1, width - 2, height - 2);
    brush.globalAlpha = 1;
    brush.strokeStyle = colour[look.colour];
    brush.lineWidth = 2;
    brush.setLineDash(look.dash);
    brush.strokeRect(left + 2, top + 2, width - 4, height - 4);
    brush.setLineDash([]);
    const [above, below] = this.#words(bet, width < 72);
    const middle = left + width / 2;
    const ink = look.fill > 0.7 ? colour["on-accent"] : colour.ink;
    if (height >= 32 && below) {
      this.#text(above, middle, top + height / 2 - 7, ink, 12, true);
      this.#text(below, middle, top + height / 2 + 7, ink, 10);
    } else {
      this.#text(above, middle, top + height / 2, ink, width > 64 ? 12 : 10, true);
    }
  }

  /** What is most worth knowing first; the second line is for cells that have room for it. */
  #words(bet, narrow) {
    const stake = `$${short(bet.stake)}`;
    switch (bet.state) {
      case "pending":
        return [stake, "pending"];
      case "unknown":
        return [`? ${stake}`, "unknown"];
      case "confirmed":
        return [bet.rate ? rate(bet.rate) : stake, stake];
      case "won":
        return [narrow ? `✓ $${dollars(Math.floor((bet.payout ?? 0) / 1e6) * 100)}` : `✓ +$${usdc(bet.payout ?? 0)}`, ""];
      case "lost":
        return [`✕ −${stake}`, ""];
      default:
        return [`↺ ${stake}`, "void"];
    }
  }

  #gone(bet, share) {
    const { brush, scene, colour } = this;
    if (!scene.isVisible(bet.column, bet.low)) return;
    const [left, top, width, height] = scene.box(bet.column, bet.low);
    brush.globalAlpha = 1 - share;
    brush.strokeStyle = colour.loss;
    brush.lineWidth = 2;
    brush.strokeRect(left + 2, top + 2, width - 4, height - 4);
    brush.globalAlpha = 1;
  }

  /** Where the pointer is, and where the keyboard is. */
  #marks() {
    const { brush, scene, colour } = this;
    for (const [cell, dash, width] of [[this.hover, [], 1.5], [this.focus, [4, 3], 2.5]]) {
      if (!cell || !scene.isVisible(cell.column, cell.low)) continue;
      const [left, top, w, h] = scene.box(cell.column, cell.low);
      brush.strokeStyle = colour.accent;
      brush.lineWidth = width;
      brush.setLineDash(dash);
      brush.strokeRect(left + 1, top + 1, w - 2, h - 2);
      brush.setLineDash([]);
    }
  }

  // The price.

  #path(offline) {
    const { brush, scene, market, colour } = this;
    const { path } = market;
    const first = Math.max(0, path.findIndex(({ t }) => t >= scene.msAt(-40)) - 1);
    const last = path.at(-1);
    if (!last) return;
    const shown = headAt(path, scene.now);
    brush.beginPath();
    brush.moveTo(scene.x(path[first].t), scene.y(path[first].cents));
    for (let at = first + 1; at < path.length && path[at].t <= scene.now; at += 1)
      brush.lineTo(scene.x(path[at].t), scene.y(path[at].cents));
    const headX = scene.x(Math.min(scene.now, last.t));
    const headY = scene.y(shown);
    brush.lineTo(headX, headY);
    brush.lineJoin = "round";
    brush.strokeStyle = offline ? colour.dim : colour.price;
    brush.lineWidth = 2;
    brush.stroke();
    brush.setLineDash([2, 4]);
    brush.lineWidth = 1;
    brush.beginPath();
    brush.moveTo(headX, headY);
    brush.lineTo(scene.plotWidth, headY);
    brush.stroke();
    brush.setLineDash([]);
    brush.fillStyle = offline ? colour.dim : colour.price;
    brush.beginPath();
    brush.arc(headX, headY, 4.5, 0, 2 * Math.PI);
    brush.fill();
    this.headY = headY;
    this.headCents = shown;
  }

  #axes() {
    const { brush, scene, colour } = this;
    const { bandCents, columnS } = scene;
    brush.fillStyle = colour.back;
    brush.fillRect(scene.plotWidth, 0, scene.width - scene.plotWidth, scene.height);
    const every = Math.max(1, Math.ceil(18 / scene.bandPx)) * bandCents;
    const lowest = Math.ceil(scene.centsAt(scene.plotHeight - 8) / every) * every;
    const middle = scene.plotWidth + (scene.width - scene.plotWidth) / 2;
    for (let cents = lowest; scene.y(cents) > 8; cents += every)
      this.#text(dollars(cents), middle, scene.y(cents), colour.dim, 10);
    const apart = Math.max(1, Math.ceil(64 / scene.columnPx)) * columnS;
    const first = Math.ceil(scene.msAt(24) / 1_000 / apart) * apart;
    for (let at = first; scene.x(at * 1_000) < scene.plotWidth - 24; at += apart)
      this.#text(clockTime(at * 1_000), scene.x(at * 1_000), scene.plotHeight + 12, colour.dim, 10);
    if (this.headCents === undefined) return;
    brush.fillStyle = colour.price;
    const y = Math.min(Math.max(this.headY, 10), scene.plotHeight - 10);
    brush.fillRect(scene.plotWidth, y - 9, scene.width - scene.plotWidth, 18);
    // Written anew each time: it is another one in almost every frame.
    brush.font = `700 10px ${this.font}`;
    brush.textAlign = "center";
    brush.textBaseline = "middle";
    brush.fillStyle = colour.back;
    brush.fillText(price(this.headCents), middle, y + 0.5);
  }

  // Text, from pictures.

  #text(words, x, y, colour, size, bold = false) {
    const name = `${words}|${colour}|${size}|${bold}`;
    let sprite = this.sprites.get(name);
    if (!sprite) {
      if (this.sprites.size >= SPRITES_MAX) this.sprites.clear();
      sprite = this.#sprite(words, colour, size, bold);
      this.sprites.set(name, sprite);
    }
    const { width, height } = sprite;
    const left = Math.round((x - width / this.ratio / 2) * this.ratio) / this.ratio;
    const top = Math.round((y - height / this.ratio / 2) * this.ratio) / this.ratio;
    this.brush.drawImage(sprite, left, top, width / this.ratio, height / this.ratio);
  }

  #sprite(words, colour, size, bold) {
    const sprite = document.createElement("canvas");
    const brush = sprite.getContext("2d");
    const font = `${bold ? 700 : 500} ${size * this.ratio}px ${this.font}`;
    brush.font = font;
    sprite.width = Math.ceil(brush.measureText(words).width) + 2;
    sprite.height = Math.ceil(size * this.ratio * 1.4);
    brush.font = font;
    brush.fillStyle = colour;
    brush.textBaseline = "middle";
    brush.fillText(words, 1, sprite.height / 2);
    return sprite;
  }
}

// A state is told by colour, by its outline and by a sign, so that no one of them is needed.
const LOOKS = {
  pending: { colour: "accent", fill: 0.35, dash: [5, 4] },
  unknown: { colour: "doubt", fill: 0.25, dash: [2, 3] },
  confirmed: { colour: "accent", fill: 0.85, dash: [] },
  won: { colour: "win", fill: 0.9, dash: [] },
  lost: { colour: "loss", fill: 0.28, dash: [] },
  void: { colour: "void", fill: 0.3, dash: [8, 3] },
};

/** The price at an instant, straight between ticks. */
export function headAt(path, ms) {
  const last = path.at(-1);
  if (path.length < 2 || ms >= last.t) return last.cents;
  for (let at = path.length - 1; at > 0; at -= 1) {
    const [from, to] = [path[at - 1], path[at]];
    if (ms >= from.t)
      return Math.round(from.cents + ((to.cents - from.cents) * (ms - from.t)) / (to.t - from.t));
  }
  return path[0].cents;
}
