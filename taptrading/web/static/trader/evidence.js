// Why a bet was decided as it was: the recorded path of its column and the band, drawn.

import { clockTime, price, rate, usdc } from "./format.js";
import { el } from "./dom.js";

const WIDTH = 440;
const HEIGHT = 220;
const PAD = 28;
const SVG = "http://www.w3.org/2000/svg";

const svg = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
};

const OUTCOMES = {
  won: "The price touched the band: won.",
  lost: "The price stayed outside the band: lost.",
  void: "Prices are missing for this column: void, the stake is back.",
  rejected: "Rejected by its pricing tick, the stake is back.",
  confirmed: "Not decided yet.",
  pending: "Not priced yet.",
};

export async function evidence(api, config, bet) {
  const settlement = await api.get(`settlements/${bet.column}`);
  const from = new Date((bet.column - 2) * 1_000).toISOString();
  const to = new Date((bet.column + config.column_s + 2) * 1_000).toISOString();
  const { results } = await api.get(`prices?from=${from}&to=${to}&step_s=1&limit=200`);
  const bars = results.map((bar) => ({
    t: Date.parse(bar.at),
    low: Number(bar.low_cents),
    high: Number(bar.high_cents),
    open: Number(bar.open_cents),
    close: Number(bar.close_cents),
  }));
  bars.reverse();
  return el("div.evidence", {}, [
    el("p", {}, OUTCOMES[bet.state] ?? ""),
    drawing(config, bet, bars.filter((bar) => Number.isFinite(bar.low + bar.high)), settlement),
    facts(config, bet, settlement),
  ]);
}

function drawing(config, bet, bars, settlement) {
  const start = (bet.column - 2) * 1_000;
  const end = (bet.column + config.column_s + 2) * 1_000;
  const lows = [bet.low, ...bars.map((bar) => bar.low)];
  const highs = [bet.high, ...bars.map((bar) => bar.high)];
  const [least, most] = [Math.min(...lows) - 200, Math.max(...highs) + 200];
  const x = (ms) => PAD + ((ms - start) / (end - start)) * (WIDTH - 2 * PAD);
  const y = (cents) => HEIGHT - PAD - ((cents - least) / (most - least)) * (HEIGHT - 2 * PAD);
  const made = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Recorded price against the band ${price(bet.low)} to ${price(bet.high)}` });
  const columnEnd = (bet.column + config.column_s) * 1_000;
  made.append(
    svg("rect", { class: "span", x: x(bet.column * 1_000), y: PAD / 2, width: x(columnEnd) - x(bet.column * 1_000), height: HEIGHT - PAD * 1.5 }),
    svg("rect", { class: `band ${bet.state}`, x: x(bet.column * 1_000), y: y(bet.high), width: x(columnEnd) - x(bet.column * 1_000), height: y(bet.low) - y(bet.high) }),
  );
  for (const bar of bars)
    made.append(svg("line", { class: "reach", x1: x(bar.t + 500), x2: x(bar.t + 500), y1: y(bar.low), y2: y(bar.high) }));
  const points = bars.flatMap((bar) => [[bar.t, bar.open], [bar.t + 1_000, bar.close]]);
  made.append(svg("polyline", { class: "line", points: points.map(([t, cents]) => `${x(t)},${y(cents)}`).join(" ") }));
  // The lowest and the highest of the column decide: does what lies between them reach the band?
  for (const [name, cents] of [["lowest", settlement.low_cents], ["highest", settlement.high_cents]]) {
    if (!Number.isSafeInteger(cents)) continue;
    made.append(svg("line", { class: "edge", x1: x(bet.column * 1_000), x2: x(columnEnd), y1: y(cents), y2: y(cents) }));
    const label = svg("text", { x: x(columnEnd) + 5, y: y(cents) + 4 });
    label.textContent = name;
    made.append(label);
  }
  for (const [ms, anchor] of [[bet.column * 1_000, "start"], [columnEnd, "end"]]) {
    const label = svg("text", { x: x(ms), y: HEIGHT - 6, "text-anchor": anchor });
    label.textContent = clockTime(ms);
    made.append(label);
  }
  return made;
}

function facts(config, bet, found) {
  const rows = [
    ["Band", `${price(bet.low)} up to ${price(bet.high)}`],
    ["Column", `${clockTime(bet.column * 1_000)} – ${clockTime((bet.column + config.column_s) * 1_000)}`],
    ["Stake", `$${usdc(bet.stake)}`],
    ["Rate", bet.rate ? rate(bet.rate) : "–"],
  ];
  if (Number.isSafeInteger(found.low_cents))
    rows.push(["Lowest and highest", `${price(found.low_cents)} · ${price(found.high_cents)}`], ["Recorded ticks", String(found.ticks)]);
  if (typeof found.ticks_sha256 === "string" && found.ticks_sha256)
    rows.push(["Evidence (SHA-256)", found.ticks_sha256.slice(0, 64)]);
  if (bet.betId) rows.push(["Bet", bet.betId]);
  return el("dl", {}, rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
