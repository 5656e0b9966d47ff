// Where pictures come from: the sample clip, the webcam, the screen or a file. Each is a playing
// <video>, from which `Camera` takes the newest frame at the model's size.

export class SourceError extends Error {}

const CAMERA_WORDS = {
  NotAllowedError:
    "The camera was refused. Allow it in the browser’s address bar, then choose Webcam again.",
  NotFoundError: "No camera was found on this machine.",
  NotReadableError: "The camera is in use by another program, or it does not answer.",
  OverconstrainedError: "The camera offers no picture of a usable size.",
};

async function openWebcam() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new SourceError(
      "Browsers give the camera only to pages from https or localhost. Open this page as http://localhost.",
    );
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" },
    });
  } catch (error) {
    throw new SourceError(CAMERA_WORDS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

async function openScreen() {
  if (!navigator.mediaDevices?.getDisplayMedia) {
    throw new SourceError("This browser cannot share its screen with a page.");
  }
  try {
    // Or Chromium turns to the tab that is shared, and this page, then out of sight, would halt.
    const controller = globalThis.CaptureController && new CaptureController();
    controller?.setFocusBehavior?.("no-focus-change");
    return await navigator.mediaDevices.getDisplayMedia({ audio: false, video: { frameRate: 30 }, controller });
  } catch (error) {
    throw new SourceError(
      error.name === "NotAllowedError"
        ? "Screen sharing was refused or cancelled."
        : `The screen cannot be shared: ${error.message}`,
    );
  }
}

async function openUrl(video, url, name) {
  video.src = url;
  video.loop = true;
  try {
    await video.play();
  } catch (error) {
    if (error.name === "NotAllowedError") return; // autoplay is off: the first frame still shows
    throw new SourceError(`${name} is not a video that this browser can play.`);
  }
  if (!video.videoWidth) throw new SourceError(`${name} has no picture that this browser can play.`);
}

export class Camera {
  #source = newSource();
  #generation = 0;
  #fresh = false;
  kind = null;
  onFrame = () => {}; // a new picture is there
  onEnded = () => {}; // sharing was stopped, the camera unplugged, or the file turned out broken

  // Opens another source beside the present one, which goes on until the new one plays. False when
  // another choice was made meanwhile.
  async open(kind, { url, file } = {}) {
    const generation = ++this.#generation;
    const source = newSource();
    try {
      await this.#fill(source, kind, { url, file });
    } catch (error) {
      release(source);
      if (generation !== this.#generation) return false;
      throw error;
    }
    if (generation !== this.#generation) {
      release(source);
      return false;
    }
    release(this.#source);
    this.#source = source;
    this.kind = kind;
    const ended = () => source === this.#source && this.onEnded(kind);
    source.stream?.getVideoTracks()[0]?.addEventListener("ended", ended);
    if (kind === "file") source.video.addEventListener("error", ended);
    this.#watch(source.video);
    return true;
  }

  async #fill(source, kind, { url, file }) {
    if (kind === "file") {
      source.url = URL.createObjectURL(file);
      await openUrl(source.video, source.url, `“${file.name}”`);
    } else if (kind === "sample") {
      await openUrl(source.video, url, "The sample clip");
    } else {
      source.stream = await (kind === "webcam" ? openWebcam() : openScreen());
      source.video.srcObject = source.stream;
      await source.video.play();
    }
  }

  // Lets go of the present source: there is no picture until another is opened.
  close() {
    release(this.#source);
    this.#source = newSource();
    this.kind = null;
  }

  pause() {
    this.#source.video.pause();
  }

  resume() {
    this.#source.video.play().catch(() => {});
  }

  #watch(video) {
    const arrived = () => {
      if (video !== this.#source.video) return;
      this.#fresh = true;
      this.onFrame();
      next();
    };
    const next = () =>
      video.requestVideoFrameCallback ? video.requestVideoFrameCallback(arrived) : requestAnimationFrame(arrived);
    next();
  }

  // Whether there is a picture that `take` has not returned yet.
  get fresh() {
    return this.#fresh && this.#source.video.videoWidth > 0;
  }

  // The present picture counts as new once more.
  again() {
    this.#fresh = true;
  }

  // Draws the newest picture, cropped around its centre, into `canvas`. The webcam is mirrored, as
  // people expect of a picture of themselves.
  take(canvas) {
    const { video } = this.#source;
    const { width, height } = canvas;
    const scale = Math.max(width / video.videoWidth, height / video.videoHeight);
    const w = width / scale;
    const h = height / scale;
    const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.save();
    if (this.kind === "webcam") {
      context.translate(width, 0);
      context.scale(-1, 1);
    }
    const x = (video.videoWidth - w) / 2;
    const y = (video.videoHeight - h) / 2;
    context.drawImage(video, x, y, w, h, 0, 0, width, height);
    context.restore();
    this.#fresh = false;
  }
}

function newSource() {
  const video = document.createElement("video");
  video.muted = video.playsInline = true;
  return { video, stream: null, url: null };
}

function release({ video, stream, url }) {
  stream?.getTracks().forEach((track) => track.stop());
  video.pause();
  video.removeAttribute("src");
  video.srcObject = null; // also makes it let go of what it was reading
  if (url) URL.revokeObjectURL(url);
}
