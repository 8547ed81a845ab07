// What a frame or a reply must look like before the page believes it. A server that errs, or that
// is not ours, may send anything: nothing of it reaches the screen but checked numbers and text.

const TEXT_MAX = 300;

export const isInt = (value, least = 0, most = Number.MAX_SAFE_INTEGER) =>
  Number.isSafeInteger(value) && value >= least && value <= most;

export const isText = (value, most = TEXT_MAX) => typeof value === "string" && value.length <= most;

const orNull = (check) => (value) => value === null || value === undefined || check(value);
const isTime = (value) => isText(value, 40) && !Number.isNaN(Date.parse(value));
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export const STATUSES = new Set(["accepted", "confirmed", "rejected", "won", "lost", "void"]);

/** "<column start>_<low>_<high>" as numbers, or null. */
export function parseCell(text) {
  if (!isText(text, 60)) return null;
  const found = /^(\d{1,12})_(\d{1,14})_(\d{1,14})$/.exec(text);
  if (!found) return null;
  const [column, low, high] = found.slice(1).map(Number);
  return high > low ? { column, low, high } : null;
}

export function isBet(bet) {
  return (
    isObject(bet) &&
    isText(bet.bet_id, 40) &&
    STATUSES.has(bet.status) &&
    parseCell(bet.cell_id) !== null &&
    isInt(bet.stake_micros, 1) &&
    isInt(bet.min_rate_bps) &&
    orNull(isInt)(bet.rate_bps) &&
    orNull(isInt)(bet.potential_payout_micros) &&
    orNull(isInt)(bet.payout_micros) &&
    isText(bet.nonce, 40) &&
    isTime(bet.accepted_at) &&
    orNull(isText)(bet.reason)
  );
}

export const isTick = (data) =>
  isObject(data) && isInt(data.price_cents, 1, 1e13) && isTime(data.at) && isInt(data.age_ms);

export const isBar = (data) =>
  isObject(data) && isInt(data.close_cents, 1, 1e13) && isTime(data.at);

const COLUMNS_MAX = 64;
const BANDS_MAX = 128;
const isRow = (check, length) => (row) =>
  Array.isArray(row) && row.length === length && row.every(orNull(check));

export function isGrid(data) {
  if (!isObject(data) || !isTime(data.quoted_at)) return false;
  const { column_starts: columns, lows_cents: lows, rates_bps: rates, room_micros: room } = data;
  if (![columns, lows, rates, room].every(Array.isArray)) return false;
  if (columns.length > COLUMNS_MAX || lows.length > BANDS_MAX) return false;
  if (!columns.every((value) => isInt(value)) || !lows.every((value) => isInt(value))) return false;
  const rateRow = isRow((value) => isInt(value, 1, 1_000_000), lows.length);
  const roomRow = isRow((value) => isInt(value), lows.length);
  return (
    rates.length === columns.length &&
    room.length === columns.length &&
    rates.every(rateRow) &&
    room.every(roomRow)
  );
}

export const isStatus = (data) =>
  isObject(data) &&
  ["closed", "degraded", "open"].includes(data.breaker) &&
  orNull(isText)(data.reason) &&
  orNull(isInt)(data.price_age_ms);

export const isWallet = (data) =>
  isObject(data) &&
  isText(data.address, 42) &&
  isInt(data.balance_micros) &&
  isInt(data.held_micros) &&
  isInt(data.open_stake_micros) &&
  typeof data.frozen === "boolean";

export const isSnapshot = (data) =>
  isObject(data) &&
  isInt(data.balance_micros) &&
  isInt(data.cursor) &&
  [data.open, data.missed].every((list) => Array.isArray(list) && list.length <= 10_000);

export const isHeartbeat = (data) => isObject(data) && isTime(data.server_time);

export function isConfig(data) {
  return (
    isObject(data) &&
    isText(data.domain) &&
    isInt(data.chain_id, 1) &&
    Array.isArray(data.presets_micros) &&
    data.presets_micros.length > 0 &&
    data.presets_micros.every((value) => isInt(value, 1)) &&
    [data.column_s, data.band_cents, data.columns, data.bands].every((value) => isInt(value, 1)) &&
    isInt(data.locked_columns) &&
    typeof data.demo === "boolean"
  );
}
