// The WebSocket: connects, reconnects with jitter, and passes on whole frames, each once.
//
// Events: "open", "lost" (detail: why), "frame" (detail: {type, data}), "latency" (detail: ms).

const FRAME_MAX = 1_000_000;
const FIRST_DELAY_MS = 300;
const LONGEST_DELAY_MS = 10_000;
const PING_MS = 4_000;
// A server says something at least every five seconds.
const SILENCE_MS = 12_000;

const AGAIN_AT_ONCE = new Set([1000, 1001]);

export class Stream extends EventTarget {
  constructor(url, channels) {
    super();
    this.url = url;
    this.channels = channels; // () => what to subscribe to, with `since` for the trader's bets
    this.attempts = 0;
    this.socket = null;
    this.notBefore = 0;
    setInterval(() => this.#look(), 1_000);
  }

  get live() {
    return this.socket?.readyState === WebSocket.OPEN && this.greeted;
  }

  connect() {
    this.drop();
    clearTimeout(this.timer);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.greeted = false;
    this.seq = 0;
    this.heardAt = performance.now();
    socket.onopen = () => {
      this.greeted = true;
      this.pingedAt = 0;
      this.subscribe();
      this.#tell("open");
    };
    socket.onmessage = (message) => socket === this.socket && this.#read(message.data);
    socket.onclose = (event) => socket === this.socket && this.#closed(event.code);
  }

  /** Close and say nothing of it. */
  drop() {
    const socket = this.socket;
    this.socket = null;
    if (socket) socket.onclose = socket.onmessage = socket.onopen = null;
    socket?.close();
  }

  subscribe() {
    const { channels, since } = this.channels();
    this.send({ op: "subscribe", channels, ...(since === undefined ? {} : { since }) });
  }

  /** False: there is no connection, and nothing was sent. */
  send(frame) {
    if (!this.live) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  #read(text) {
    this.heardAt = performance.now();
    if (typeof text !== "string" || text.length > FRAME_MAX) return;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (typeof frame?.type !== "string" || !Number.isSafeInteger(frame.seq)) return;
    if (frame.seq !== this.seq + 1) {
      this.#closed(0, "a frame is missing");
      return;
    }
    this.seq = frame.seq;
    this.attempts = 0;
    if (frame.type === "pong") {
      if (this.pingedAt) this.#tell("latency", this.heardAt - this.pingedAt);
      this.pingedAt = 0;
    } else if (frame.type === "server.shutdown") {
      const after = Number(frame.data?.reconnect_after_ms);
      this.notBefore = performance.now() + Math.min(Math.max(after || 0, 0), LONGEST_DELAY_MS);
      this.#tell("shutdown");
    } else {
      this.#tell("frame", { type: frame.type, data: frame.data });
    }
  }

  #look() {
    if (!this.live) return;
    const now = performance.now();
    if (now - this.heardAt > SILENCE_MS) this.#closed(0, "silence");
    else if (!this.pingedAt && now - (this.lastPing ?? 0) > PING_MS) {
      this.pingedAt = this.lastPing = now;
      this.send({ op: "ping" });
    }
  }

  #closed(code, why = "") {
    this.drop();
    this.#tell("lost", { code, why });
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempts);
    this.attempts += 1;
    const delay = AGAIN_AT_ONCE.has(code) && this.attempts === 1 ? 0 : Math.random() * longest;
    const asked = this.notBefore - performance.now();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), Math.max(delay, asked, 50));
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
