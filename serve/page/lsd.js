// A session on an lsdjax server: the wire format, the acknowledgement window, and reconnection.
//
//   const session = new Session("/ws");
//   session.addEventListener("frame", ({ detail }) => { draw(detail); session.acknowledge(detail); });
//   session.open();
//   if (session.canSend) session.send(jpegBytes, { width, height });
//
// Events: "state" {state, message, retryAt}, "welcome", "frame", "stats", "params", "error".

const MAGIC = 0x56;
const VERSION = 1;
const HEADER_BYTES = 32;
const INPUT = 1;
const OUTPUT = 2;
const CODECS = ["rgb24", "jpeg", "webp", "h264", "vp8"];
const LOST_MS = 2000; // an unanswered frame no longer counts against the window after this long
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const POLL_MS = 700;

export function packFrame({ codec, seq, flags = 0, revision = 0, capturedUs, width, height }, payload) {
  const message = new Uint8Array(HEADER_BYTES + payload.byteLength);
  const view = new DataView(message.buffer);
  view.setUint8(0, MAGIC);
  view.setUint8(1, VERSION);
  view.setUint8(2, INPUT);
  view.setUint8(3, CODECS.indexOf(codec));
  view.setUint16(4, flags, true);
  view.setUint16(6, HEADER_BYTES, true);
  view.setUint32(8, seq, true);
  view.setUint32(12, revision, true);
  view.setBigUint64(16, BigInt(capturedUs), true);
  view.setUint32(24, 0, true);
  view.setUint16(28, width, true);
  view.setUint16(30, height, true);
  message.set(payload, HEADER_BYTES);
  return message;
}

export function unpackFrame(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || view.getUint8(0) !== MAGIC || view.getUint8(2) !== OUTPUT) {
    return null;
  }
  return {
    codec: CODECS[view.getUint8(3)],
    flags: view.getUint16(4, true),
    seq: view.getUint32(8, true),
    revision: view.getUint32(12, true),
    capturedUs: Number(view.getBigUint64(16, true)),
    serverMs: view.getUint32(24, true) / 1000,
    width: view.getUint16(28, true),
    height: view.getUint16(30, true),
    payload: new Uint8Array(buffer, view.getUint16(6, true)),
  };
}

export const nowUs = () => Math.round(performance.now() * 1000);

export class Session extends EventTarget {
  #path;
  #socket = null;
  #unanswered = []; // [{seq, at}]
  #window = 2;
  #frameBytes = 0;
  #nextSeq = 0;
  #nextId = 0;
  #failures = 0;
  #refusals = 0;
  #timer = null;
  #lastError = null;
  #pendingParams = null;
  #paramsInFlight = false;
  #wanted = false;

  constructor(path) {
    super();
    this.#path = path;
    this.codecs = ["jpeg", "rgb24"]; // in order of preference, asked for at the next connection
    this.state = "idle";
    this.welcome = null;
  }

  // -- connection

  open() {
    this.#wanted = true;
    this.#attempt();
  }

  retryNow() {
    this.#failures = 0;
    this.#attempt();
  }

  close() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#tell("bye");
    this.#socket?.close(1000);
  }

  async #attempt() {
    clearTimeout(this.#timer);
    if (!this.#wanted || this.#socket) return;
    let ready;
    try {
      const response = await fetch("/readyz", { cache: "no-store" });
      ready = await response.json();
    } catch {
      this.#retry("unreachable", "The server cannot be reached.");
      return;
    }
    if (!this.#wanted || this.#socket) return;
    if (!ready.ready) {
      this.#failures = 0;
      this.#enter(ready.state === "loading" ? "warming" : "ending", { readiness: ready });
      this.#timer = setTimeout(() => this.#attempt(), POLL_MS);
      return;
    }
    this.#enter("connecting");
    this.#connect();
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}${this.#path}`, "lsd.v1");
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#lastError = null;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#tell("hello", { version: VERSION, codecs: this.codecs, fps: 30 });
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#onText(JSON.parse(data));
      else this.#onFrame(data);
    };
    socket.onclose = ({ code }) => this.#onClose(code, opened);
  }

  #onClose(code, opened) {
    this.#socket = null;
    this.welcome = null;
    this.#unanswered = [];
    this.#paramsInFlight = false;
    if (!this.#wanted) {
      this.#enter("idle");
      return;
    }
    const error = this.#lastError;
    if (error?.code === "not_ready") {
      this.#attempt();
    } else if (error?.code === "full") {
      this.#retry("full", "Every place on this server is taken.", 5000);
    } else if (code === 4400 || code === 4426) {
      this.#enter("refused", { message: `${error?.message ?? "The server and this page disagree"}. Reload the page.` });
    } else if (!opened && ++this.#refusals >= 2) {
      // The server answers, yet refuses the upgrade: the browser does not tell why.
      this.#retry(
        "refused",
        `The server does not open streams for pages from ${location.origin}. ` +
          `Start it with --origin ${location.origin}, or use localhost.`,
        8000,
      );
    } else if (error) {
      this.#retry("lost", `The server ended the stream: ${error.message}.`);
    } else {
      this.#retry("lost", "The server went away, or the network did.");
    }
  }

  #retry(state, message, delayMs) {
    const step = RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)];
    const wait = delayMs ?? step * (0.8 + 0.4 * Math.random());
    this.#enter(state, { message, retryAt: performance.now() + wait });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#attempt(), wait);
  }

  #enter(state, detail = {}) {
    this.state = state;
    this.#emit("state", { state, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // -- frames

  get canSend() {
    const now = performance.now();
    while (this.#unanswered.length && now - this.#unanswered[0].at > LOST_MS) this.#unanswered.shift();
    return (
      this.state === "live" &&
      this.#unanswered.length < this.#window &&
      this.#socket.bufferedAmount <= this.#frameBytes
    );
  }

  send(payload, { codec = "jpeg", width, height, capturedUs, flags = 0 }) {
    const seq = this.#nextSeq++;
    const message = packFrame({ codec, seq, flags, capturedUs, width, height }, payload);
    this.#frameBytes = message.byteLength;
    this.#unanswered.push({ seq, at: performance.now() });
    this.#socket.send(message);
    return seq;
  }

  get nextSeq() {
    return this.#nextSeq;
  }

  acknowledge(frame) {
    this.#tell("ack", { seq: frame.seq });
  }

  #onFrame(buffer) {
    const frame = unpackFrame(buffer);
    if (frame === null) return;
    this.#answered(frame.seq);
    this.#emit("frame", frame);
  }

  #answered(seq) {
    while (this.#unanswered.length && this.#unanswered[0].seq <= seq) this.#unanswered.shift();
  }

  // -- messages

  // Only the latest of several quick changes is sent: one change is under way at a time.
  setParams(params) {
    this.#pendingParams = { ...this.#pendingParams, ...params };
    this.#sendParams();
  }

  command(type) {
    this.#tell(type);
  }

  #sendParams() {
    if (this.state !== "live" || this.#paramsInFlight || this.#pendingParams === null) return;
    this.#paramsInFlight = true;
    this.#tell("params", { id: ++this.#nextId, ...this.#pendingParams });
    this.#pendingParams = null;
  }

  #tell(type, fields = {}) {
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify({ type, ...fields }));
    }
  }

  #onText(message) {
    switch (message.type) {
      case "welcome":
        this.welcome = message;
        this.#window = message.window;
        this.#failures = this.#refusals = 0;
        this.#emit("welcome", message);
        break;
      case "started":
        this.#enter("live");
        this.#sendParams();
        break;
      case "params_ack":
        this.#paramsInFlight = false;
        this.#emit("params", message);
        this.#sendParams();
        break;
      case "stats":
        this.#window = message.window;
        if (message.settled_seq !== null) this.#answered(message.settled_seq);
        this.#emit("stats", message);
        break;
      case "error":
        this.#lastError = message;
        this.#emit("error", message);
        break;
      default: // unknown types are ignored
    }
  }
}
