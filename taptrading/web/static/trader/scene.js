// Where things are on the canvas: time runs right, price runs up. Pure but for what it is told.

const NOW_SHARE = 0.3; // of the width: the past lies left of it
const NOW_SHARE_NARROW = 0.22;
const NARROW_PX = 620;
const AXIS_PX = 64;
const FOOT_PX = 22;
const COLUMN_LEAST_PX = 42;
const COLUMNS_LEAST = 4;
const BANDS_LEAST = 8;
const BANDS_MOST = 28;
const MIDDLE = 0.2; // the price may stray this far from the middle before the view follows
const GLIDE_MS = 350;

export class Scene {
  constructor({ column_s, band_cents, columns }) {
    this.columnS = column_s;
    this.bandCents = band_cents;
    this.columns = columns;
    this.bands = 16;
    this.centre = null; // cents at the middle of the height
    this.resize(800, 500);
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.plotWidth = width - AXIS_PX;
    this.plotHeight = height - FOOT_PX;
    this.nowX = Math.round(this.plotWidth * (width < NARROW_PX ? NOW_SHARE_NARROW : NOW_SHARE));
    // The current column and those ahead, as many as a finger can tell apart.
    const ahead = this.plotWidth - this.nowX;
    const fitting = Math.floor(ahead / COLUMN_LEAST_PX);
    this.shown = Math.min(this.columns + 1, Math.max(fitting, COLUMNS_LEAST));
    this.pxPerMs = ahead / (this.shown * this.columnS * 1_000);
    this.columnPx = this.columnS * 1_000 * this.pxPerMs;
  }

  get pxPerCent() {
    return this.plotHeight / (this.bands * this.bandCents);
  }

  get bandPx() {
    return this.plotHeight / this.bands;
  }

  /** Move on to `nowMs`, following the price; `glide` false jumps. */
  follow(nowMs, cents, wantedBands, sinceMs, glide = true) {
    this.now = nowMs;
    const bands = Math.min(Math.max(wantedBands, BANDS_LEAST), BANDS_MOST);
    const share = glide ? 1 - Math.exp(-sinceMs / GLIDE_MS) : 1;
    this.bands += (bands - this.bands) * share;
    if (Math.abs(bands - this.bands) < 0.01) this.bands = bands;
    if (cents === null) return;
    if (this.centre === null) this.centre = cents;
    const stray = (cents - this.centre) / (this.bands * this.bandCents);
    const over = Math.abs(stray) - MIDDLE;
    if (over > 0) this.centre += Math.sign(stray) * over * this.bands * this.bandCents * share;
  }

  x(ms) {
    return this.nowX + (ms - this.now) * this.pxPerMs;
  }

  y(cents) {
    return this.plotHeight / 2 - (cents - this.centre) * this.pxPerCent;
  }

  msAt(x) {
    return this.now + (x - this.nowX) / this.pxPerMs;
  }

  centsAt(y) {
    return this.centre + (this.plotHeight / 2 - y) / this.pxPerCent;
  }

  /** The cell under a point, or null beside the plot. */
  cellAt(x, y) {
    if (this.centre === null || x < 0 || y < 0 || x >= this.plotWidth || y >= this.plotHeight)
      return null;
    const column = Math.floor(this.msAt(x) / 1_000 / this.columnS) * this.columnS;
    const low = Math.floor(this.centsAt(y) / this.bandCents) * this.bandCents;
    return { column, low };
  }

  /** Left, top, width and height of a cell. */
  box(column, low) {
    const left = this.x(column * 1_000);
    const top = this.y(low + this.bandCents);
    return [left, top, this.columnPx, this.bandPx];
  }

  isVisible(column, low) {
    const [left, top, width, height] = this.box(column, low);
    return left + width > 0 && left < this.plotWidth && top + height > 0 && top < this.plotHeight;
  }
}

/** How many bands show all that the next `columns` offer and a little more: the quieter the market,
 *  the nearer. 0 if nothing is on offer: then nothing tells how wild the market is. */
export function bandsFor(grid, bandCents, cents, columns) {
  const rows = grid.rates.slice(0, columns);
  let reach = 0;
  grid.lows.forEach((low, band) => {
    if (rows.some((row) => row[band]))
      reach = Math.max(reach, Math.abs(low + bandCents / 2 - cents) / bandCents);
  });
  return reach && Math.ceil(2 * reach) + 3;
}
