// The grid's columns as pictures, one of them drawn anew a frame. Rates change ten times a second,
// which nobody can read and which would cost every frame the drawing of two hundred of them.

import { multiple } from "./format.js";

const HEAT = 8;

export class Strips {
  constructor(market) {
    this.market = market;
    this.byColumn = new Map();
    this.turn = 0;
  }

  restyle({ cool, warm, ink }, font) {
    this.heat = Array.from({ length: HEAT }, (_, at) => mixed(cool, warm, at / (HEAT - 1)));
    this.ink = ink;
    this.font = font;
    this.forget();
  }

  forget() {
    this.byColumn.clear();
  }

  /** Draw one column anew, and those that have no picture yet. */
  renew(scene, ratio) {
    const { columns } = this.market.grid;
    const size = { width: Math.ceil(scene.columnPx * ratio), band: scene.bandPx * ratio, ratio };
    for (const column of this.byColumn.keys()) if (!columns.includes(column)) this.byColumn.delete(column);
    this.turn = (this.turn + 1) % Math.max(columns.length, 1);
    columns.forEach((column, at) => {
      if (at === this.turn || !this.byColumn.has(column)) this.#paint(column, at, size);
    });
  }

  #paint(column, at, { width, band, ratio }) {
    const { lows, rates } = this.market.grid;
    if (!lows.length) return;
    let strip = this.byColumn.get(column);
    if (!strip) {
      strip = { picture: document.createElement("canvas") };
      strip.brush = strip.picture.getContext("2d");
      this.byColumn.set(column, strip);
    }
    const height = Math.ceil(lows.length * band);
    if (strip.picture.width !== width || strip.picture.height !== height)
      Object.assign(strip.picture, { width, height });
    else strip.brush.clearRect(0, 0, width, height);
    Object.assign(strip, { lows, rates: rates[at], band });
    const { brush } = strip;
    const gap = ratio;
    const round = 4 * ratio;
    const shown = width > 44 * ratio ? multiple : (bps) => multiple(bps).slice(0, -1);
    brush.font = `500 ${Math.round((band > 20 * ratio ? 12 : 10) * ratio)}px ${this.font}`;
    brush.textAlign = "center";
    brush.textBaseline = "middle";
    lows.forEach((_, index) => {
      const bps = rates[at][index];
      if (!bps) return;
      const top = Math.round(height - (index + 1) * band);
      const tall = Math.round(height - index * band) - top;
      brush.fillStyle = this.heat[heatOf(bps)];
      brush.beginPath();
      brush.roundRect(gap, top + gap, width - 2 * gap, tall - 2 * gap, round);
      brush.fill();
      brush.fillStyle = this.ink;
      brush.fillText(shown(bps), width / 2, top + tall / 2 + gap / 2);
    });
  }

  draw(brush, scene, ratio) {
    const width = Math.ceil(scene.columnPx * ratio) / ratio;
    for (const [column, { picture, lows }] of this.byColumn) {
      if (!lows || this.market.isLocked(column)) continue;
      const left = Math.round(scene.x(column * 1_000) * ratio) / ratio;
      const top = Math.round(scene.y(lows.at(-1) + scene.bandCents) * ratio) / ratio;
      brush.drawImage(picture, left, top, width, lows.length * scene.bandPx);
    }
  }

  /** The rate that stands on the screen, or null. */
  rateShown(column, low) {
    const strip = this.byColumn.get(column);
    return strip?.rates?.[strip.lows.indexOf(low)] ?? null;
  }
}

/** Rates from 1 to 20 in equal steps of their logarithm. */
const heatOf = (bps) =>
  Math.min(HEAT - 1, Math.max(0, Math.floor((Math.log(bps / 10_000) / Math.log(20)) * HEAT)));

function mixed(one, other, share) {
  const [a, b] = [one, other].map((text) => text.split(/\s+/).map(Number));
  const [red, green, blue, alpha] = a.map((value, at) => value + (b[at] - value) * share);
  return `rgba(${Math.round(red)},${Math.round(green)},${Math.round(blue)},${alpha.toFixed(3)})`;
}
