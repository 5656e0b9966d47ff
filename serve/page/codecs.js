// Pictures to payloads and back, in the codecs of the protocol: raw RGB, JPEG, and H.264 by WebCodecs.

import { KEY } from "./lsd.js";

const JPEG_QUALITY = 0.92;
const BITS_PER_PIXEL = 0.15;
const ENCODER = "avc1.42E01F"; // constrained baseline: no picture waits for another
const DECODER = "avc1.64001F";
const DECODE_MS = 500; // a decoder that keeps a picture for so long will not give it back

export const canH264 = () => Boolean(globalThis.VideoEncoder && globalThis.VideoDecoder);

// Canvases to payloads. `encode` gives {payload, flags}, or null when there is none.
export class Packer {
  #codec;
  #encoder = null;
  #waiting = []; // functions to call with what the encoder gives, in its order
  #keyWanted = true;
  onColour = () => {}; // told once how H.264 is coloured: what is sent does not say so itself

  constructor(codec) {
    this.#codec = codec;
  }

  askForKey() {
    this.#keyWanted = true;
  }

  async encode(canvas) {
    if (this.#codec === "rgb24") return { payload: packRgb(canvas), flags: KEY };
    if (this.#codec === "h264") return this.#encodeH264(canvas);
    const payload = await encodeJpeg(canvas);
    return payload && { payload, flags: KEY };
  }

  close() {
    if (this.#encoder?.state === "configured") this.#encoder.close();
    this.#encoder = null;
    for (const give of this.#waiting.splice(0)) give(null);
  }

  #encodeH264(canvas) {
    const { width, height } = canvas;
    this.#encoder ??= this.#open(width, height);
    if (this.#encoder.state !== "configured") return null;
    const frame = new VideoFrame(canvas, { timestamp: performance.now() * 1000 });
    const given = new Promise((give) => this.#waiting.push(give));
    this.#encoder.encode(frame, { keyFrame: this.#keyWanted });
    this.#keyWanted = false;
    frame.close();
    return given;
  }

  #open(width, height) {
    const encoder = new VideoEncoder({
      output: (chunk, metadata) => {
        const colour = metadata?.decoderConfig?.colorSpace;
        if (colour) this.onColour({ full_range: Boolean(colour.fullRange), matrix: colour.matrix ?? "bt709" });
        const payload = new Uint8Array(chunk.byteLength);
        chunk.copyTo(payload);
        this.#waiting.shift()?.({ payload, flags: chunk.type === "key" ? KEY : 0 });
      },
      error: () => this.close(),
    });
    encoder.configure({
      codec: ENCODER,
      width,
      height,
      framerate: 30,
      bitrate: Math.max(400_000, BITS_PER_PIXEL * 30 * width * height),
      latencyMode: "realtime",
      avc: { format: "annexb" },
    });
    return encoder;
  }
}

// Payloads to what a canvas can draw.
export class Unpacker {
  #decoder = null;
  #waiting = [];
  #scratch = null;

  // The picture of a frame. Raises when it is broken.
  decode(frame) {
    if (frame.codec === "jpeg") return createImageBitmap(new Blob([frame.payload], { type: "image/jpeg" }));
    return frame.codec === "h264" ? this.#decodeH264(frame) : this.#unpackRgb(frame);
  }

  close() {
    if (this.#decoder?.state === "configured") this.#decoder.close();
    this.#decoder = null;
    for (const give of this.#waiting.splice(0)) give(null);
  }

  async #decodeH264({ payload, flags, capturedUs }) {
    const isKey = Boolean(flags & KEY);
    if (this.#decoder?.state !== "configured") {
      if (!isKey) throw new Error("a key frame is needed");
      this.#decoder = this.#open();
    }
    const given = new Promise((give) => this.#waiting.push(give));
    const type = isKey ? "key" : "delta";
    this.#decoder.decode(new EncodedVideoChunk({ type, timestamp: capturedUs, data: payload }));
    const timer = setTimeout(() => this.close(), DECODE_MS);
    const picture = await given;
    clearTimeout(timer);
    if (!picture) throw new Error("the decoder gave no picture");
    return picture;
  }

  #open() {
    const decoder = new VideoDecoder({
      output: (picture) => {
        const give = this.#waiting.shift();
        if (give) give(picture);
        else picture.close();
      },
      error: () => this.close(),
    });
    decoder.configure({ codec: DECODER, optimizeForLatency: true });
    return decoder;
  }

  #unpackRgb({ payload, width, height }) {
    if (this.#scratch?.width !== width || this.#scratch?.height !== height) {
      this.#scratch = Object.assign(document.createElement("canvas"), { width, height });
    }
    const context = this.#scratch.getContext("2d", { willReadFrequently: true });
    const image = context.createImageData(width, height);
    const { data } = image;
    for (let from = 0, to = 0; to < data.length; from += 3, to += 4) {
      data[to] = payload[from];
      data[to + 1] = payload[from + 1];
      data[to + 2] = payload[from + 2];
      data[to + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return this.#scratch;
  }
}

function packRgb(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const rgb = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return rgb;
}

function encodeJpeg(canvas) {
  return new Promise((resolve) => {
    canvas.toBlob(
      async (blob) => resolve(blob && new Uint8Array(await blob.arrayBuffer())),
      "image/jpeg",
      JPEG_QUALITY,
    );
  });
}
