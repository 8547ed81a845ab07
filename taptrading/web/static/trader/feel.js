// Sound and touch, for who wants them.

const NOTES = { tap: [[660, 0.04]], confirmed: [[880, 0.05]], won: [[784, 0.09], [988, 0.09], [1319, 0.16]], lost: [[220, 0.14]], refused: [[180, 0.08]] };
const BUZZ = { tap: 8, won: [30, 40, 60], refused: [20, 30, 20] };

export class Feel {
  constructor(choices) {
    this.choices = choices;
    this.context = null;
  }

  of(event) {
    if (this.choices.get("haptics") && BUZZ[event]) navigator.vibrate?.(BUZZ[event]);
    if (this.choices.get("sound") && NOTES[event]) this.#play(NOTES[event]);
  }

  #play(notes) {
    this.context ??= new AudioContext();
    let at = this.context.currentTime;
    for (const [hertz, seconds] of notes) {
      const tone = new OscillatorNode(this.context, { frequency: hertz, type: "triangle" });
      const loudness = new GainNode(this.context, { gain: 0.08 });
      loudness.gain.exponentialRampToValueAtTime(0.001, at + seconds);
      tone.connect(loudness).connect(this.context.destination);
      tone.start(at);
      tone.stop(at + seconds);
      at += seconds;
    }
  }
}
