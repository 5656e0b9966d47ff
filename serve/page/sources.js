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

async function openWebcam(video) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new SourceError(
      "Browsers give the camera only to pages from https or localhost. Open this page as http://localhost.",
    );
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" },
    });
    await play(video, stream);
    return stream;
  } catch (error) {
    throw new SourceError(CAMERA_WORDS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

async function openScreen(video) {
  if (!navigator.mediaDevices?.getDisplayMedia) {
    throw new SourceError("This browser cannot share its screen with a page.");
  }
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ audio: false, video: { frameRate: 30 } });
    await play(video, stream);
    return stream;
  } catch (error) {
    throw new SourceError(
      error.name === "NotAllowedError"
        ? "Screen sharing was refused or cancelled."
        : `The screen cannot be shared: ${error.message}`,
    );
  }
}

async function openUrl(video, url, name) {
  video.srcObject = null;
  video.src = url;
  video.loop = true;
  try {
    await video.play();
  } catch (error) {
    if (error.name === "NotAllowedError") return; // autoplay is off: the first frame still shows
    throw new SourceError(`${name} cannot be played by this browser.`);
  }
}

async function play(video, stream) {
  video.removeAttribute("src");
  video.srcObject = stream;
  await video.play();
}

export class Camera {
  #video;
  #stream = null;
  #url = null;
  #generation = 0;
  #fresh = false;
  onFrame = () => {}; // a new picture is there
  onEnded = () => {}; // the user stopped sharing, or the camera was unplugged

  constructor() {
    this.#video = this.#newVideo();
    this.kind = null;
  }

  #newVideo() {
    const video = document.createElement("video");
    video.muted = video.playsInline = true;
    video.setAttribute("aria-hidden", "true");
    return video;
  }

  // Opens another source beside the present one, which goes on until the new one plays.
  async open(kind, { url, file } = {}) {
    const generation = ++this.#generation;
    const video = this.#newVideo();
    let stream = null;
    let objectUrl = null;
    if (kind === "webcam") stream = await openWebcam(video);
    else if (kind === "screen") stream = await openScreen(video);
    else if (kind === "file") {
      objectUrl = URL.createObjectURL(file);
      await openUrl(video, objectUrl, `“${file.name}”`).catch((error) => {
        URL.revokeObjectURL(objectUrl);
        throw error;
      });
    } else await openUrl(video, url, "The sample clip");
    if (generation !== this.#generation) {
      stop(stream); // another choice was made meanwhile
      return false;
    }
    this.#release();
    this.#video = video;
    this.#stream = stream;
    this.#url = objectUrl;
    this.kind = kind;
    stream?.getVideoTracks()[0]?.addEventListener("ended", () => {
      if (this.#stream === stream) this.onEnded(kind);
    });
    this.#watch(video);
    return true;
  }

  pause() {
    this.#video.pause();
  }

  resume() {
    this.#video.play().catch(() => {});
  }

  #release() {
    stop(this.#stream);
    this.#video.pause();
    this.#video.srcObject = null;
    this.#video.removeAttribute("src");
    if (this.#url) URL.revokeObjectURL(this.#url);
  }

  #watch(video) {
    const arrived = () => {
      if (video !== this.#video) return;
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
    return this.#fresh && this.#video.videoWidth > 0;
  }

  // The present picture counts as new once more.
  again() {
    this.#fresh = true;
  }

  // Draws the newest picture, cropped around its centre, into `canvas`. The webcam is mirrored, as
  // people expect of a picture of themselves.
  take(canvas) {
    const video = this.#video;
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

function stop(stream) {
  stream?.getTracks().forEach((track) => track.stop());
}
