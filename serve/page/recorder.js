// Recording what is drawn to a file, without a server: the browser's own MediaRecorder.

const TYPES = ["video/mp4;codecs=avc1.42E01F", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];
const BITS_PER_S = 8_000_000;

export class Recorder {
  #recorder = null;
  #began = 0;
  onStopped = () => {}; // with the file's name

  get isRunning() {
    return this.#recorder !== null;
  }

  get seconds() {
    return this.isRunning ? Math.floor((performance.now() - this.#began) / 1000) : 0;
  }

  // Raises when the browser cannot record.
  start(canvas) {
    if (!globalThis.MediaRecorder || !canvas.captureStream) {
      throw new Error("This browser cannot record a picture.");
    }
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType, videoBitsPerSecond: BITS_PER_S });
    const pieces = [];
    recorder.ondataavailable = ({ data }) => data.size && pieces.push(data);
    recorder.onstop = () => this.#save(pieces, recorder.mimeType);
    recorder.start(1000);
    this.#recorder = recorder;
    this.#began = performance.now();
  }

  stop() {
    this.#recorder?.stop();
    this.#recorder = null;
  }

  #save(pieces, type) {
    const blob = new Blob(pieces, { type });
    const when = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    const name = `lsdjax-${when}.${type.includes("mp4") ? "mp4" : "webm"}`;
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    this.onStopped(name, blob.size);
  }
}
