// Draws the scene on one canvas, sixty times a second.

import { BetCells } from "./bet_cells.js";
import { clockTime, dollars, price } from "./format.js";
import { Sprites } from "./sprites.js";
import { Strips } from "./strips.js";

const STYLES = ["--grid", "--ink", "--dim", "--accent", "--price", "--price-light", "--win", "--loss",
  "--void", "--doubt", "--locked", "--surface", "--back", "--cool", "--warm", "--on-accent"];

export class Chart {
  constructor(canvas, market, bets, scene) {
    this.canvas = canvas;
    this.market = market;
    this.betCells = new BetCells(this, bets);
    this.scene = scene;
    this.brush = canvas.getContext("2d", { alpha: false });
    this.hover = null;
    this.focus = null;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.restyle());
    this.sprites = new Sprites();
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
    this.sprites.restyle(this.font, this.ratio);
    this.light = null;
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(height * this.ratio));
    this.scene.resize(width, height);
    this.strips.forget();
    this.sprites.restyle(this.font, this.ratio);
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
    this.betCells.draw();
    this.#path(offline); // over the bets: it is what decides them
    this.betCells.drawWins();
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
    if (right - left > 50) this.text("locked", (left + right) / 2, 14, this.colour.dim, 11);
    this.#countdown(right, 1 - (scene.now / 1_000 - start) / length);
  }

  /** How long the first open column stays open: a bar that shrinks over it. */
  #countdown(left, share) {
    const { brush, scene, colour } = this;
    brush.fillStyle = colour.back;
    brush.fillRect(left + 1, 0, scene.columnPx - 2, 24);
    brush.fillStyle = colour.doubt;
    brush.fillRect(left + 1, 0, (scene.columnPx - 2) * share, 3);
    this.text(`${Math.ceil(share * scene.columnS)} s`, left + scene.columnPx / 2, 14, colour.doubt, 11);
  }

  /** Words with their middle at a point. */
  text(words, x, y, colour, size, bold = false) {
    this.sprites.write(this.brush, words, x, y, colour, size, bold);
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
    brush.strokeStyle = colour.back; // keeps it apart from what it crosses
    brush.lineWidth = 4;
    brush.stroke();
    brush.strokeStyle = offline ? colour.dim : colour.price;
    brush.lineWidth = 2;
    brush.stroke();
    if (!offline) this.#under(scene.x(path[first].t), headX);
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
    brush.globalAlpha = 0.25;
    brush.beginPath();
    brush.arc(headX, headY, 9, 0, 2 * Math.PI);
    brush.fill();
    brush.globalAlpha = 1;
    this.headY = headY;
    this.headCents = shown;
  }

  /** A light below the path that was just drawn, from one x to another. */
  #under(from, to) {
    const { brush, scene, colour } = this;
    if (this.light?.height !== scene.plotHeight) {
      const made = brush.createLinearGradient(0, 0, 0, scene.plotHeight);
      made.addColorStop(0, colour["price-light"]);
      made.addColorStop(1, "transparent");
      this.light = { height: scene.plotHeight, made };
    }
    brush.lineTo(to, scene.plotHeight);
    brush.lineTo(from, scene.plotHeight);
    brush.fillStyle = this.light.made;
    brush.fill();
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
      this.text(dollars(cents), middle, scene.y(cents), colour.dim, 10);
    const apart = Math.max(1, Math.ceil(64 / scene.columnPx)) * columnS;
    const first = Math.ceil(scene.msAt(24) / 1_000 / apart) * apart;
    for (let at = first; scene.x(at * 1_000) < scene.plotWidth - 24; at += apart)
      this.text(clockTime(at * 1_000), scene.x(at * 1_000), scene.plotHeight + 12, colour.dim, 10);
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
}

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
