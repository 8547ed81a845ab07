// Numbers and times as text. Money stays an integer of micros until it is shown.

const MICROS = 1_000_000;

/** "1,234.50": two decimals, more only where they are not zero. */
export function usdc(micros, { sign = false } = {}) {
  const whole = Math.trunc(Math.abs(micros) / MICROS);
  const rest = String(Math.abs(micros) % MICROS).padStart(6, "0").replace(/0{1,4}$/, "");
  const minus = micros < 0 ? "−" : sign && micros > 0 ? "+" : "";
  return `${minus}${whole.toLocaleString("en-US")}.${rest}`;
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

export const price = (cents) =>
  (cents / 100).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const dollars = (cents) => Math.round(cents / 100).toLocaleString("en-US");

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
