// The page: takes pictures from a source, streams them, and draws each output beside its input.

import { canH264 } from "./codecs.js";
import { setUpControls } from "./controls.js";
import { Gauge, Graph } from "./gauge.js";
import { setUpKeys } from "./keys.js";
import { Session } from "./lsd.js";
import { Pipeline } from "./pipeline.js";
import { Playlist } from "./playlist.js";
import { Recorder } from "./recorder.js";
import { Camera, SourceError } from "./sources.js";
import { Stage, VIEWS } from "./stage.js";

const $ = (id) => document.getElementById(id);
const options = new URLSearchParams(location.search);
const secrets = new URLSearchParams(location.hash.slice(1)); // what follows # is not sent to a server
const RAW_PIXELS = 256 * 256;
const UNKNOWN_SIZE = { width: 128, height: 128 };

const session = new Session("/ws", { token: secrets.get("token") });
const camera = new Camera();
const stage = new Stage($("stage"));
const gauge = new Gauge(new Graph($("graph"), $("legend")));
const pipeline = new Pipeline(session, camera, stage);
const recorder = new Recorder();
const playlist = new Playlist((text) => applyPrompt(text));
const controls = setUpControls({ session, changeCodec });
let info = { presets: [], sample: null };
let paused = false;
let prompt = null;

// -- the connection

const STATUS = {
  idle: "Starting",
  connecting: "Connecting",
  warming: "Warming up",
  queued: "Waiting",
  live: "Live",
  full: "Server full",
  lost: "Connection lost",
  unreachable: "Server unreachable",
  refused: "Refused",
  taken: "Taken over",
  ending: "Server stopping",
};

session.addEventListener("state", ({ detail }) => {
  showStatus();
  const asksToken = ["no_token", "bad_token", "token_expired", "token_in_use"].includes(detail.code);
  const veil = {
    warming: () => ({ title: "Warming up the model", readiness: detail.readiness, spin: true }),
    queued: () => ({ title: `Number ${detail.position} in the queue`, text: queueWords(detail), spin: true }),
    ending: () => ({ title: "The server is stopping", text: "Waiting for it to come back.", spin: true }),
    full: () => ({ title: "The server is full", ...detail }),
    lost: () => ({ title: "Connection lost", ...detail }),
    unreachable: () => ({ title: "No server", ...detail }),
    refused: () => ({ title: asksToken ? "A token is needed" : "Not accepted", asksToken, ...detail }),
    taken: () => ({ title: "Streaming elsewhere", text: "This session goes on in another window." }),
  }[detail.state];
  stage.veil(veil ? veil() : null);
  if (detail.state === "live") {
    gauge.restart();
    if (pipeline.halted) session.command("pause");
    pipeline.restart();
  }
});

function queueWords({ size, etaS }) {
  const wait = etaS === null ? "" : ` It may take about ${etaS < 90 ? `${Math.ceil(etaS)} s` : `${Math.ceil(etaS / 60)} min`}.`;
  return `${size === 1 ? "You are the only one who waits." : `${size} are waiting.`}${wait}`;
}

session.addEventListener("welcome", ({ detail }) => {
  pipeline.setSize(detail.model);
  controls.offer(detail);
  prompt ??= detail.params.prompt;
  if (!detail.resumed) session.setParams({ prompt, strength: $("strength").value / 100 });
  if (!$("prompt").value) $("prompt").value = prompt;
  showPreset();
});

session.addEventListener("params", ({ detail }) => {
  const rejected = detail.status === "rejected";
  $("prompt-error").textContent = rejected ? sentence(detail.message) : "";
  $("prompt").setAttribute("aria-invalid", String(rejected));
  document.documentElement.dataset.revision = String(detail.rev);
  prompt = detail.effective.prompt ?? prompt;
  controls.show(detail.effective);
  showPreset();
});

session.addEventListener("stats", ({ detail }) => gauge.server(detail));
session.addEventListener("notice", ({ detail }) => {
  const passing = detail.reason.startsWith("repair:") || !detail.degraded;
  notice(sentence(detail.message), passing ? 5000 : 0);
});

pipeline.onDrawn = (ageMs) => {
  gauge.drawn(ageMs);
  document.documentElement.dataset.frames = String(gauge.total);
};

// Nothing is sent while the user has paused, or does not look.
function haltOrGoOn() {
  pipeline.halted = paused || (document.hidden && !recorder.isRunning && !stage.clean);
  session.command(pipeline.halted ? "pause" : "resume");
  gauge.restart();
}

function showStatus() {
  $("status").dataset.state = paused && session.state === "live" ? "paused" : session.state;
  $("status-text").textContent = paused && session.state === "live" ? "Paused" : STATUS[session.state];
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  session.token = $("token").value.trim();
  session.open();
});

// -- prompts

$("prompt-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = typedPrompt();
  if (text) applyPrompt(text);
});

$("queue-add").addEventListener("click", () => {
  const text = typedPrompt();
  if (text) playlist.add(text);
});

function typedPrompt() {
  const text = $("prompt").value.trim();
  $("prompt").setAttribute("aria-invalid", String(!text));
  $("prompt-error").textContent = text ? "" : "Say what the picture should become.";
  return text;
}

function applyPrompt(text) {
  $("prompt").value = prompt = text;
  $("prompt-error").textContent = "";
  session.setParams({ prompt: text });
  showPreset();
}

function showPreset() {
  for (const chip of $("presets").children) {
    chip.setAttribute("aria-pressed", String(chip.dataset.prompt === prompt));
  }
  $("output-caption").textContent = prompt ?? "Output";
}

function stepPreset(by) {
  const prompts = info.presets.map((preset) => preset.prompt);
  if (!prompts.length) return;
  const from = prompts.indexOf(prompt);
  applyPrompt(prompts[from < 0 ? 0 : (from + by + prompts.length) % prompts.length]);
}

// -- view, pause, recording

function setView(view) {
  stage.view = view;
  for (const button of $("views").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === stage.view));
  }
}

function setClean(clean) {
  stage.clean = clean;
  haltOrGoOn();
}

$("views").addEventListener("click", ({ target }) => target.dataset.view && setView(target.dataset.view));
$("clean").addEventListener("click", () => setClean(!stage.clean));

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").setAttribute("aria-label", paused ? "Resume" : "Pause");
  if (paused) camera.pause();
  else camera.resume();
  haltOrGoOn();
  showStatus();
});

$("record").addEventListener("click", () => {
  try {
    if (recorder.isRunning) recorder.stop();
    else recorder.start($("output"));
  } catch (error) {
    notice(error.message);
  }
  showRecording();
});

recorder.onStopped = (name, bytes) => {
  document.documentElement.dataset.recorded = String(bytes);
  notice(`Saved as ${name}.`, 6000);
};

function showRecording() {
  $("record").setAttribute("aria-pressed", String(recorder.isRunning));
  $("record").setAttribute("aria-label", recorder.isRunning ? "Stop recording" : "Record");
  $("recording").hidden = !recorder.isRunning;
  const { seconds } = recorder;
  $("recording").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
setInterval(() => recorder.isRunning && showRecording(), 500);

document.addEventListener("visibilitychange", haltOrGoOn);

// A page that is left frees its place at once, and takes one again if it is come back to.
addEventListener("pagehide", () => session.close());
addEventListener("pageshow", ({ persisted }) => persisted && session.open());

setUpKeys({
  p: () => $("pause").click(),
  r: () => $("record").click(),
  f: () => setClean(!stage.clean),
  v: () => setView(VIEWS[(VIEWS.indexOf(stage.view) + 1) % VIEWS.length]),
  "/": () => $("prompt").select(),
  "[": () => stepPreset(-1),
  "]": () => stepPreset(1),
  Escape: () => setClean(false),
});

// -- sources

$("sources").addEventListener("click", ({ target }) => {
  if (target.dataset.source === "file") $("file").click();
  else if (target.dataset.source) useSource(target.dataset.source);
});
$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) useSource("file", target.files[0]);
  target.value = "";
});

async function useSource(kind, file) {
  notice("");
  markSource(kind, true);
  try {
    if (!(await camera.open(kind, { url: info.sample?.url, file }))) return;
    session.command("reset");
    if (paused) $("pause").click();
  } catch (error) {
    notice(error instanceof SourceError ? error.message : `This source cannot be used: ${error.message}`);
  }
  showSource(camera.kind);
}

function showSource(kind) {
  markSource(kind, false);
  document.documentElement.dataset.source = kind ?? "none";
  const caption = kind === "sample" && info.sample ? [info.sample.caption, info.sample.attribution] : [];
  $("credit").textContent = caption.length ? `Sample: ${caption.filter(Boolean).join(" · ")}` : "";
  $("credit").hidden = !$("credit").textContent;
}

function markSource(kind, busy) {
  for (const button of $("sources").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.source === kind));
    button.toggleAttribute("aria-busy", busy && button.dataset.source === kind);
  }
}

const ENDED = {
  webcam: "The camera is gone.",
  screen: "Screen sharing has ended.",
  file: "The rest of this file cannot be played: it is damaged, or was changed meanwhile.",
};

camera.onEnded = async (kind) => {
  camera.close();
  showSource(null);
  if (info.sample) await useSource("sample");
  notice(ENDED[kind]);
};

let noticeTimer = null;

function notice(text, forMs = 0) {
  clearTimeout(noticeTimer);
  $("notice-text").textContent = text;
  $("notice").hidden = !text;
  if (forMs) noticeTimer = setTimeout(() => notice(""), forMs);
}
$("notice-close").addEventListener("click", () => notice(""));
$("veil-button").addEventListener("click", () => session.retryNow());

const stageElement = $("stage");
stageElement.addEventListener("dragover", (event) => {
  event.preventDefault();
  stageElement.classList.add("dropping");
});
stageElement.addEventListener("dragleave", () => stageElement.classList.remove("dropping"));
stageElement.addEventListener("drop", (event) => {
  event.preventDefault();
  stageElement.classList.remove("dropping");
  const file = [...event.dataTransfer.files].find(({ type }) => type.startsWith("video/"));
  if (file) useSource("file", file);
  else notice("Only video files can be streamed.");
});

// -- start

function showPresets() {
  $("presets").replaceChildren(
    ...info.presets.map(({ label, prompt: text }) => {
      const chip = Object.assign(document.createElement("button"), { type: "button", textContent: label });
      chip.dataset.prompt = text;
      chip.title = text;
      chip.addEventListener("click", () => applyPrompt(text));
      return chip;
    }),
  );
  showPreset();
}

// On this machine itself, small frames cost less to copy than to encode and decode.
function preferredCodecs({ width = 128, height = 128 }, wanted = options.get("codec")) {
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const best = wanted ?? (local && width * height <= RAW_PIXELS ? "rgb24" : "jpeg");
  const known = ["jpeg", "rgb24", ...(canH264() ? ["h264"] : [])];
  return known.includes(best) ? [best, ...known.filter((codec) => codec !== best)] : known;
}

function changeCodec(codec) {
  options.set("codec", codec);
  session.codecs = preferredCodecs(info.model);
  session.reconnect();
}

async function loadInfo() {
  try {
    info = await (await fetch("/api/info", { cache: "no-store" })).json();
  } catch {
    return; // the session says what is wrong
  }
  showPresets();
  session.codecs = preferredCodecs(info.model);
  controls.showCodec(session.codecs[0]);
  pipeline.setSize(info.model.width ? info.model : UNKNOWN_SIZE); // the source shows while the model loads
  const { width, height, steps } = info.model;
  const parts = [`lsdjax ${info.version}`];
  if (info.card?.name) parts.push(info.card.name);
  if (width) parts.push(`${width}×${height}, ${steps} step${steps === 1 ? "" : "s"}`);
  if (info.card?.device) parts.push(info.card.device);
  $("foot").textContent = parts.join(" · ");
}

gauge.onChange = ({ fps, latencyMs, latencyP95Ms, stepMs, dropped, reasons }) => {
  $("fps").textContent = fps === null ? "–" : fps.toFixed(0);
  $("latency").textContent = latencyMs === null ? "–" : latencyMs.toFixed(0);
  $("latency").title = latencyP95Ms === null ? "" : `95 % of the frames within ${latencyP95Ms.toFixed(0)} ms`;
  $("step").textContent = stepMs === null ? "–" : stepMs.toFixed(0);
  $("dropped").textContent = String(dropped);
  $("reasons").textContent = reasons;
};

session.addEventListener("welcome", loadInfo); // the model's card is complete once it is loaded
setView(options.get("view") ?? (matchMedia("(max-width: 40rem)").matches ? "wipe" : "side"));
if (options.has("clean")) {
  setView(options.get("view") ?? "output");
  stage.clean = true;
}
if (options.has("prompt")) $("prompt").value = prompt = options.get("prompt");
$("obs").textContent = `${location.origin}/?clean&source=webcam`;
await loadInfo();
session.open();
const first = options.get("source") ?? (info.sample ? "sample" : null);
if (first) await useSource(first);
else notice("There is no sample clip here: choose a source below.");
