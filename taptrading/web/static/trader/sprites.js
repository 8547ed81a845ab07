// Short texts as pictures: laid out once, copied every frame.

const KEPT_MAX = 1_000;

export class Sprites {
  constructor() {
    this.byName = new Map();
    this.restyle("system-ui, sans-serif", 1);
  }

  restyle(font, ratio) {
    this.font = font;
    this.ratio = ratio;
    this.byName.clear();
  }

  /** Write `words` with their middle at a point, on whole pixels of the screen. */
  write(brush, words, x, y, colour, size, bold = false) {
    const name = `${words}|${colour}|${size}|${bold}`;
    let sprite = this.byName.get(name);
    if (!sprite) {
      if (this.byName.size >= KEPT_MAX) this.byName.clear();
      sprite = this.#made(words, colour, size, bold);
      this.byName.set(name, sprite);
    }
    const { ratio } = this;
    const { width, height } = sprite;
    const left = Math.round((x - width / ratio / 2) * ratio) / ratio;
    const top = Math.round((y - height / ratio / 2) * ratio) / ratio;
    brush.drawImage(sprite, left, top, width / ratio, height / ratio);
  }

  #made(words, colour, size, bold) {
    const sprite = document.createElement("canvas");
    const brush = sprite.getContext("2d");
    const font = `${bold ? 700 : 500} ${size * this.ratio}px ${this.font}`;
    brush.font = font;
    sprite.width = Math.ceil(brush.measureText(words).width) + 2;
    sprite.height = Math.ceil(size * this.ratio * 1.4);
    brush.font = font; // a new size of the picture forgets it
    brush.fillStyle = colour;
    brush.textBaseline = "middle";
    brush.fillText(words, 1, sprite.height / 2);
    return sprite;
  }
}
