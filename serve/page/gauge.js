// What is measured: frames drawn and their ages, the server's counters, and the graph of a minute.

const RECENT_MS = 2000;
const SLOT_MS = 500;
const SLOTS = 120;
const COLOURS = {
  superseded: "--soft",
  deadline: "--bad",
  decode: "--rose",
  egress: "--warn",
  rate: "--teal",
};

export class Gauge {
  #drawn = []; // [{at, latencyMs}]
  #stepMs = null;
  #dropped = {};
  #before = {};
  #graph;
  total = 0;
  onChange = () => {};

  constructor(graph) {
    this.#graph = graph;
    setInterval(() => this.#show(), SLOT_MS);
  }

  restart() {
    this.#drawn = [];
    this.#before = {};
    this.#dropped = {};
    this.#show();
  }

  drawn(latencyMs) {
    this.total++;
    this.#drawn.push({ at: performance.now(), latencyMs });
  }

  server({ step_ms, dropped }) {
    this.#stepMs = step_ms;
    this.#dropped = dropped;
  }

  #show() {
    const now = performance.now();
    this.#drawn = this.#drawn.filter(({ at }) => now - at < RECENT_MS);
    const count = this.#drawn.length;
    const latencies = this.#drawn.map(({ latencyMs }) => latencyMs).sort((a, b) => a - b);
    const reasons = Object.entries(this.#dropped).filter(([, n]) => n > 0);
    const fps = count < 2 ? null : (1000 * (count - 1)) / (this.#drawn.at(-1).at - this.#drawn[0].at);
    const latencyMs = count ? latencies[count >> 1] : null;
    const newly = Object.fromEntries(
      Object.entries(this.#dropped).map(([reason, n]) => [reason, Math.max(0, n - (this.#before[reason] ?? 0))]),
    );
    this.#before = this.#dropped;
    this.#graph.add({ fps, latencyMs, dropped: newly });
    this.onChange({
      fps,
      latencyMs,
      latencyP95Ms: count ? latencies[Math.floor(0.95 * (count - 1))] : null,
      stepMs: this.#stepMs,
      dropped: reasons.reduce((sum, [, n]) => sum + n, 0),
      reasons: reasons.length ? `(${reasons.map(([reason, n]) => `${n} ${reason}`).join(", ")})` : "",
    });
  }
}

// The last minute: latency as a filled line, frame rate as a thin one, drops as bars by reason.
export class Graph {
  #canvas;
  #legend;
  #slots = [];

  constructor(canvas, legend) {
    this.#canvas = canvas;
    this.#legend = legend;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(canvas);
  }

  add(slot) {
    this.#slots.push(slot);
    if (this.#slots.length > SLOTS) this.#slots.shift();
    this.#draw();
  }

  #draw() {
    const canvas = this.#canvas;
    const { clientWidth, clientHeight } = canvas;
    if (!clientWidth) return;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [clientWidth * ratio, clientHeight * ratio];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    context.clearRect(0, 0, width, height);
    const topMs = niceTop(Math.max(20, ...this.#slots.map(({ latencyMs }) => latencyMs ?? 0)));
    const topFps = niceTop(Math.max(30, ...this.#slots.map(({ fps }) => fps ?? 0)));
    const x = (index) => width * (1 - (this.#slots.length - 1 - index) / (SLOTS - 1));
    context.strokeStyle = colour("--line");
    context.lineWidth = ratio;
    for (const share of [0.5, 1]) {
      const y = height - share * (height - ratio);
      line(context, [[0, y], [width, y]]);
    }
    this.#bars(context, x, width / SLOTS, height, colour);
    const latency = this.#points(x, height, (slot) => slot.latencyMs, topMs);
    for (const run of latency) {
      context.fillStyle = `color-mix(in srgb, ${colour("--accent")} 18%, transparent)`;
      context.beginPath();
      context.moveTo(run[0][0], height);
      for (const point of run) context.lineTo(...point);
      context.lineTo(run.at(-1)[0], height);
      context.fill();
      context.strokeStyle = colour("--accent");
      context.lineWidth = 1.8 * ratio;
      line(context, run);
    }
    context.strokeStyle = colour("--good");
    context.lineWidth = 1.2 * ratio;
    for (const run of this.#points(x, height, (slot) => slot.fps, topFps)) line(context, run);
    this.#say(topMs, topFps);
  }

  #points(x, height, value, top) {
    const runs = [[]];
    this.#slots.forEach((slot, index) => {
      const y = value(slot);
      if (y === null) runs.push([]);
      else runs.at(-1).push([x(index), height * (1 - Math.min(1, y / top) * 0.96)]);
    });
    return runs.filter((run) => run.length);
  }

  #bars(context, x, width, height, colour) {
    this.#slots.forEach(({ dropped }, index) => {
      let base = height;
      for (const [reason, count] of Object.entries(dropped)) {
        if (!count) continue;
        const tall = Math.min(base, (height * Math.min(count, 15)) / 15);
        context.fillStyle = colour(COLOURS[reason] ?? "--soft");
        context.fillRect(x(index) - width, base - tall, Math.max(1, width * 0.8), tall);
        base -= tall;
      }
    });
  }

  #say(topMs, topFps) {
    const seen = new Set(
      this.#slots.flatMap(({ dropped }) => Object.keys(dropped).filter((reason) => dropped[reason])),
    );
    const items = [
      ["latency", "--accent", `latency, 0–${topMs} ms`],
      ["fps", "--good", `fps, 0–${topFps}`],
      ...[...seen].map((reason) => [reason, COLOURS[reason] ?? "--soft", reason]),
    ];
    const shown = items.map(([key]) => key).join() + topMs + topFps;
    if (this.#legend.dataset.shown === shown) return;
    this.#legend.dataset.shown = shown;
    this.#legend.replaceChildren(
      ...items.map(([, name, text]) => {
        const item = document.createElement("span");
        const key = document.createElement("i");
        key.style.background = `var(${name})`;
        item.append(key, text);
        return item;
      }),
    );
  }
}

function line(context, points) {
  context.beginPath();
  points.forEach((point, index) => (index ? context.lineTo(...point) : context.moveTo(...point)));
  context.stroke();
}

function niceTop(value) {
  const steps = [20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000];
  return steps.find((step) => step >= value) ?? 10_000;
}
