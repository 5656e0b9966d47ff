// A session on an lsdjax server: the wire format, the acknowledgement window, reconnection and
// resumption. This file needs no other and can be dropped into any page:
//
//   import { Session, capture } from "./lsd.js";
//   const session = new Session("wss://example.org/ws", { token });
//   session.addEventListener("frame", async ({ detail: frame }) => {
//     const picture = await createImageBitmap(new Blob([frame.payload], { type: "image/jpeg" }));
//     canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
//     session.acknowledge(frame); // once it is drawn: it opens the window for the next one
//   });
//   session.setParams({ prompt: "watercolour painting" });
//   session.open();
//   capture(session, videoElement); // or call session.send(jpegBytes, {width, height, capturedUs})
//
// Events, each with a `detail`:
//   "state"    {state, message?, retryAt?, readiness?, position?, size?, etaS?, code?}, where state is
//              idle, connecting, warming, queued, live, full, lost, unreachable, refused, taken, ending
//   "welcome"  the server's welcome: model, limits, params_schema, params, resumed
//   "frame"    {codec, flags, seq, revision, capturedUs, serverMs, width, height, payload}
//   "params"   the server's params_ack: status, effective, first_seq, message when rejected
//   "stats"    the server's counters, once a second     "notice"  {degraded, reason, message}
//   "error"    {code, message, retryable}               "key"     the next H.264 frame must be a key
//
// A page of another origin must be allowed by the server (--origin).

const MAGIC = 0x56;
const VERSION = 1;
const HEADER_BYTES = 32;
const INPUT = 1;
const OUTPUT = 2;
const CODECS = ["rgb24", "jpeg", "webp", "h264", "vp8"];
const LOST_MS = 2000; // an unanswered frame no longer counts against the window after this long
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const POLL_MS = 700;
const FINAL = { 4401: "refused", 4409: "taken", 4400: "refused", 4426: "refused" };

export const KEY = 1; // flags of a frame
export const DISCONTINUITY = 2;
export const DEGRADED = 4;
export const REPEATED = 8;

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
  #url;
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
  #resumeToken = null;
  #settings = {}; // what was asked for, to be asked for again in a new session

  // `url` is that of the stream, absolute or relative to the page; `token` a bearer token, where
  // the server asks for one.
  constructor(url = "/ws", { token = null, fps = 30 } = {}) {
    super();
    this.#url = new URL(url, location.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.token = token;
    this.fps = fps; // what the page means to send
    this.codecs = ["jpeg", "rgb24"]; // in order of preference, asked for at the next connection
    this.state = "idle";
    this.welcome = null;
  }

  // -- connection

  // Connects, and goes on connecting until `close`.
  open() {
    this.#wanted = true;
    this.#attempt();
  }

  retryNow() {
    this.#failures = 0;
    this.#attempt();
  }

  // Leaves for good: the place on the server is free at once.
  close() {
    this.#wanted = false;
    this.#resumeToken = null;
    clearTimeout(this.#timer);
    this.#tell("bye");
    this.#socket?.close(1000);
  }

  // Goes over to another connection, as after a change of `codecs`; the session is resumed on it.
  reconnect() {
    if (!this.#socket || !this.#resumeToken) return;
    this.#socket.onmessage = this.#socket.onclose = null; // the server closes it
    this.#forget();
    this.#enter("connecting");
    this.#connect();
  }

  #forget() {
    this.#socket = null;
    this.welcome = null;
    this.#unanswered = [];
    this.#paramsInFlight = false;
  }

  async #attempt() {
    clearTimeout(this.#timer);
    if (!this.#wanted || this.#socket) return;
    let ready;
    try {
      const address = new URL("/readyz", this.#url);
      address.protocol = address.protocol.replace("ws", "http");
      const response = await fetch(address, { cache: "no-store" });
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
    const socket = new WebSocket(this.#url, "lsd.v1");
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#lastError = null;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      const { codecs, fps, token } = this;
      this.#tell("hello", { version: VERSION, codecs, fps, token, resume: this.#resumeToken });
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#onText(JSON.parse(data));
      else this.#onFrame(data);
    };
    socket.onclose = ({ code }) => this.#onClose(code, opened);
  }

  #onClose(code, opened) {
    this.#forget();
    if (!this.#wanted) {
      this.#enter("idle");
      return;
    }
    const error = this.#lastError;
    if (error?.code === "resume_expired" || error?.code === "not_yours") {
      this.#resumeToken = null; // the place was given away: begin anew
      this.#attempt();
    } else if (error?.code === "not_ready") {
      this.#attempt();
    } else if (error?.code === "full") {
      this.#retry("full", "Every place on this server is taken, and so is its queue.", 5000);
    } else if (code in FINAL) {
      this.#wanted = false;
      const text = error?.message ?? "the server and this page disagree";
      this.#enter(FINAL[code], { message: sentence(text), code: error?.code });
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

  // Sends one picture; call it only while `canSend`. `capturedUs` is `nowUs()` when it was taken.
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

  // Says that a frame is drawn, or was thrown away: the server sends the next one only then.
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

  // Changes prompt, strength, seed, steps, skip_still, motion_noise, stabilise, sharpen or scale. Only
  // the latest of several quick changes is sent: one change is under way at a time. May be called at
  // any moment.
  setParams(params) {
    Object.assign(this.#settings, params);
    this.#pendingParams = { ...this.#pendingParams, ...params };
    this.#sendParams();
  }

  // Sends "pause", "resume", "reset" or "request_key".
  command(type, fields = {}) {
    this.#tell(type, fields);
  }

  #sendParams() {
    if (this.state !== "live" || this.#paramsInFlight) return;
    if (this.#pendingParams === null || !Object.keys(this.#pendingParams).length) return;
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
        this.#resumeToken = message.resume_token;
        this.#failures = this.#refusals = 0;
        if (!message.resumed) this.#pendingParams = { ...this.#settings, ...this.#pendingParams };
        this.#emit("welcome", message);
        break;
      case "queue":
        this.#enter("queued", { position: message.position, size: message.size, etaS: message.eta_s });
        break;
      case "notice":
        this.#emit("notice", message);
        break;
      case "goaway":
        this.#lastError = { code: "goaway", message: "it is being stopped" };
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
        if (message.code === "decode") this.#emit("key");
        else this.#lastError = message;
        this.#emit("error", message);
        break;
      default: // unknown types are ignored
    }
  }
}

// Sends the pictures of a playing <video> as JPEGs, cropped around the centre to the model's size,
// whenever there is a new one and the window is open. Returns a function that ends it.
export function capture(session, video, { quality = 0.9 } = {}) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { alpha: false });
  let running = true;
  let busy = false;
  const take = async () => {
    if (!running) return;
    video.requestVideoFrameCallback(take);
    if (busy || !session.canSend || !video.videoWidth) return;
    busy = true;
    const capturedUs = nowUs();
    const { width, height } = session.welcome.model;
    Object.assign(canvas, { width, height });
    const scale = Math.max(width / video.videoWidth, height / video.videoHeight);
    const [w, h] = [width / scale, height / scale];
    const [x, y] = [(video.videoWidth - w) / 2, (video.videoHeight - h) / 2];
    context.drawImage(video, x, y, w, h, 0, 0, width, height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
    const payload = new Uint8Array(await blob.arrayBuffer());
    if (running && session.canSend) session.send(payload, { width, height, capturedUs });
    busy = false;
  };
  video.requestVideoFrameCallback(take);
  return () => (running = false);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
