// Pictures on their way: from the source to the session, and from the session to the stage.

import { Packer, Unpacker } from "./codecs.js";
import { nowUs } from "./lsd.js";

const FRAME_MS = 1000 / 30; // a 60 Hz source is halved
const EARLY_MS = 12; // how much a frame may come before its time: cameras are not punctual
const STILL_MS = 120; // a source that stands still is sent again this often: snow keeps falling
const RING = 6; // inputs kept until their output is there; more than any window

export class Pipeline {
  #session;
  #camera;
  #stage;
  #ring = []; // canvases of the latest inputs, by sequence number
  #encoding = false;
  #sentAt = 0;
  #dueAt = 0;
  #drawnSeq = -1;
  #codec = "jpeg";
  #packer = new Packer("jpeg");
  #unpacker = new Unpacker();
  #order = Promise.resolve(); // pictures are drawn in the order in which they came
  size = null; // {width, height} of the model
  halted = false;
  onDrawn = () => {}; // with the age of the picture in ms

  constructor(session, camera, stage) {
    this.#session = session;
    this.#camera = camera;
    this.#stage = stage;
    camera.onFrame = () => (session.state === "live" ? this.pump() : this.#preview());
    session.addEventListener("frame", ({ detail }) => {
      this.#order = this.#order.then(() => this.#draw(detail));
    });
    session.addEventListener("key", () => this.#packer.askForKey());
    setInterval(() => {
      if (performance.now() - this.#sentAt < STILL_MS) return;
      camera.again();
      this.pump();
    }, STILL_MS);
  }

  setSize({ width, height }) {
    if (this.size?.width === width && this.size?.height === height) return;
    this.size = { width, height };
    const canvas = () => Object.assign(document.createElement("canvas"), this.size);
    this.#ring = Array.from({ length: RING }, canvas);
    this.#stage.resize(this.size);
  }

  // A connection has begun: codecs that remember begin anew.
  restart() {
    this.#drawnSeq = -1;
    this.#packer.close();
    this.#unpacker.close();
    [this.#codec] = this.#session.codecs;
    this.#packer = new Packer(this.#codec);
    this.#packer.onColour = (colour) => this.#session.command("colour", colour);
    this.pump();
  }

  // Sends the newest picture, if there is one and the window is open.
  async pump() {
    const session = this.#session;
    const now = performance.now();
    if (session.state !== "live" || this.halted || this.#encoding || !this.size) return;
    if (!this.#camera.fresh || !session.canSend || now < this.#dueAt - EARLY_MS) return;
    this.#sentAt = now;
    this.#dueAt = Math.max(now, this.#dueAt + FRAME_MS);
    const capturedUs = nowUs();
    const canvas = this.#ring[session.nextSeq % RING];
    this.#camera.take(canvas);
    this.#encoding = true;
    const codec = this.#codec;
    const packed = await this.#packer.encode(canvas);
    this.#encoding = false;
    if (packed && session.state === "live" && codec === this.#codec) {
      const { width, height } = canvas;
      session.send(packed.payload, { width, height, codec, capturedUs, flags: packed.flags });
    }
  }

  #preview() {
    if (!this.size || !this.#camera.fresh) return;
    this.#camera.take(this.#ring[0]);
    this.#stage.drawInput(this.#ring[0]);
  }

  async #draw(frame) {
    let picture = null;
    try {
      picture = await this.#unpacker.decode(frame);
    } catch {
      // a broken picture is answered like any other, or the stream would stop
      if (frame.codec === "h264") this.#session.command("request_key");
    }
    if (picture && frame.seq > this.#drawnSeq) {
      this.#drawnSeq = frame.seq;
      this.#stage.drawInput(this.#ring[frame.seq % RING]);
      this.#stage.drawOutput(picture);
      this.onDrawn((nowUs() - frame.capturedUs) / 1000, frame);
    }
    picture?.close?.();
    this.#session.acknowledge(frame);
    this.pump();
  }
}
