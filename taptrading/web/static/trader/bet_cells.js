// The trader's own bets on the chart: what each cell looks like in each state.

import { dollars, gain, rate, short, usdc } from "./format.js";

const POP_MS = 900;
const RISE_MS = 1_600;

// A state is told by colour, by its outline and by a sign, so that no one of them is needed.
const LOOKS = {
  pending: { colour: "accent", fill: 0.35, dash: [5, 4] },
  unknown: { colour: "doubt", fill: 0.25, dash: [2, 3] },
  confirmed: { colour: "accent", fill: 0.85, dash: [] },
  won: { colour: "win", fill: 0.9, dash: [] },
  lost: { colour: "loss", fill: 0.28, dash: [] },
  void: { colour: "void", fill: 0.3, dash: [8, 3] },
};

export class BetCells {
  constructor(chart, bets) {
    this.chart = chart;
    this.bets = bets;
  }

  draw() {
    const now = performance.now();
    for (const bet of this.bets.onChart(this.chart.scene.now)) {
      if (bet.state === "refused" || bet.state === "rejected") {
        if (now - bet.resolvedAt < POP_MS) this.#gone(bet, (now - bet.resolvedAt) / POP_MS);
      } else if (this.chart.scene.isVisible(bet.column, bet.low)) {
        this.#bet(bet, now);
      }
    }
  }

  #bet(bet, now) {
    const { brush, colour, scene } = this.chart;
    const [left, top, width, height] = scene.box(bet.column, bet.low);
    const look = LOOKS[bet.state];
    const beat = bet.state === "pending" && !this.chart.calm.matches ? 0.5 + 0.5 * Math.sin(now / 160) : 1;
    brush.beginPath();
    brush.roundRect(left + 2, top + 2, width - 4, height - 4, 4);
    brush.fillStyle = colour.back; // the rate beneath
    brush.fill();
    brush.globalAlpha = look.fill * (0.55 + 0.45 * beat);
    brush.fillStyle = colour[look.colour];
    brush.fill();
    brush.globalAlpha = 1;
    brush.strokeStyle = colour[look.colour];
    brush.lineWidth = 2;
    brush.setLineDash(look.dash);
    brush.stroke();
    brush.setLineDash([]);
    const [above, below] = this.#words(bet, width < 72);
    const middle = left + width / 2;
    const ink = look.fill > 0.7 ? colour["on-accent"] : colour.ink;
    if (height >= 32 && below) {
      this.chart.text(above, middle, top + height / 2 - 7, ink, 12, true);
      this.chart.text(below, middle, top + height / 2 + 7, ink, 10);
    } else {
      this.chart.text(above, middle, top + height / 2, ink, width > 64 ? 12 : 10, true);
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
        return [narrow ? `✓ $${dollars(Math.floor((bet.payout ?? 0) / 1e6) * 100)}` : `✓ $${usdc(bet.payout ?? 0)}`, ""];
      case "lost":
        return [`✕ −${stake}`, ""];
      default:
        return [`↺ ${stake}`, "void"];
    }
  }

  /** What was gained rises from a cell that has just won. */
  drawWins() {
    const now = performance.now();
    for (const bet of this.bets.onChart(this.chart.scene.now)) {
      const share = (now - bet.resolvedAt) / RISE_MS;
      if (bet.state !== "won" || bet.resolvedAt === null || share >= 1) continue;
      if (this.chart.scene.isVisible(bet.column, bet.low)) this.#rise(bet, this.chart.calm.matches ? 0.5 : share);
    }
  }

  #rise(bet, share) {
    const { brush, scene, colour } = this.chart;
    const [left, top, width, height] = scene.box(bet.column, bet.low);
    const spread = 10 * share;
    brush.globalAlpha = 1 - share;
    brush.strokeStyle = colour.win;
    brush.lineWidth = 3;
    brush.beginPath();
    brush.roundRect(left - spread, top - spread, width + 2 * spread, height + 2 * spread, 4 + spread);
    brush.stroke();
    brush.globalAlpha = Math.min(1, 2 - 2 * share);
    const [x, y] = [left - 36 - 8 * share, top + height / 2 - 14 * share];
    brush.fillStyle = colour.back; // the path behind it
    brush.beginPath();
    brush.roundRect(x - 32, y - 11, 64, 22, 11);
    brush.fill();
    this.chart.text(gain((bet.payout ?? 0) - bet.stake), x, y, colour.win, 13, true);
    brush.globalAlpha = 1;
  }

  #gone(bet, share) {
    const { brush, scene, colour } = this.chart;
    if (!scene.isVisible(bet.column, bet.low)) return;
    const [left, top, width, height] = scene.box(bet.column, bet.low);
    brush.globalAlpha = 1 - share;
    brush.strokeStyle = colour.loss;
    brush.lineWidth = 2;
    brush.strokeRect(left + 2, top + 2, width - 4, height - 4);
    brush.globalAlpha = 1;
  }
}
