// Numbers and times as text. Money stays an integer of micros until it is shown.

const MICROS = 1_000_000;
// Made once: a locale is slow to look up, and these are asked for in every frame.
const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const CENTS = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** "1,234.50": to the cent, cut off and not rounded; `exact` shows what is below it too. */
export function usdc(micros, { exact = false } = {}) {
  const size = Math.abs(micros);
  const rest = String(size % MICROS).padStart(6, "0");
  const shown = exact ? rest.replace(/0{1,4}$/, "") : rest.slice(0, 2);
  return `${WHOLE.format(Math.trunc(size / MICROS))}.${shown}`;
}

/** "+$4.20", "−$5.00": with the sign that it has. */
export function gain(micros, options) {
  const sign = micros < 0 ? "−" : micros > 0 ? "+" : "";
  return `${sign}$${usdc(micros, options)}`;
}

/** "5" or "2.50": a stake as short as it can be said. */
export const short = (micros) =>
  micros % MICROS === 0 ? String(micros / MICROS) : usdc(micros);

/** Micros of a decimal text, or null if it is none: "12.5" is 12 500 000. */
export function micros(text) {
  const found = /^\s*(\d{1,12})(?:\.(\d{1,6}))?\s*$/.exec(text);
  if (!found) return null;
  return Number(found[1]) * MICROS + Number((found[2] ?? "").padEnd(6, "0"));
}

export const rate = (bps) => `${(Math.floor(bps / 100) / 100).toFixed(2)}×`;

/** A rate in three figures, for where there is little room: "2.40×", "12.4×". */
export const multiple = (bps) => `${rate(bps).slice(0, 4)}×`;

/** What a stake pays at a rate: micros, rounded down as the platform does. */
export const payout = (stake, bps) => Number((BigInt(stake) * BigInt(bps)) / 10_000n);

export const price = (cents) => CENTS.format(cents / 100);

export const dollars = (cents) => WHOLE.format(cents / 100);

const two = (number) => String(number).padStart(2, "0");

/** "14:03:25" in the trader's own time zone. */
export function clockTime(ms) {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export const dayAndTime = (text) => {
  const at = new Date(text);
  return Number.isNaN(at.getTime())
    ? ""
    : `${at.toLocaleDateString("en-GB", { day: "2-digit", month: "short" })} ${clockTime(at.getTime())}`;
};

export const shortAddress = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;
