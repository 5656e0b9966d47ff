// What is on show: the two pictures, the divider between them, and the veil that says why there is
// no picture.

const $ = (id) => document.getElementById(id);
const HINT_MS = 3000;
const SHOWN_PIXELS = 512; // pictures are enlarged smoothly to about this width, CSS does the rest

export const VIEWS = ["side", "wipe", "output"];

export class Stage {
  #element;
  #contexts;
  #wipe = 50;
  #hinting = null;

  constructor(element) {
    this.#element = element;
    this.#contexts = ["input", "output"].map((id) => $(id).getContext("2d"));
    this.#makeDivider();
  }

  get view() {
    return this.#element.dataset.view;
  }

  set view(view) {
    const known = VIEWS.includes(view) ? view : "side";
    this.#element.dataset.view = known;
    $("divider").hidden = known !== "wipe";
  }

  // Only the picture, over the whole window: for OBS, and for a second screen.
  set clean(clean) {
    document.documentElement.classList.toggle("clean", clean);
    clearTimeout(this.#hinting);
    $("hint").hidden = !clean;
    if (clean) this.#hinting = setTimeout(() => ($("hint").hidden = true), HINT_MS);
  }

  get clean() {
    return document.documentElement.classList.contains("clean");
  }

  resize({ width, height }) {
    const scale = Math.max(1, Math.round(SHOWN_PIXELS / width));
    for (const { canvas } of this.#contexts) {
      canvas.width = scale * width;
      canvas.height = scale * height;
    }
    this.#element.style.setProperty("--aspect", String(width / height));
  }

  drawInput(picture) {
    this.#draw(0, picture);
  }

  drawOutput(picture) {
    this.#draw(1, picture);
    this.#element.classList.add("drawn");
  }

  #draw(index, picture) {
    const context = this.#contexts[index];
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, context.canvas.width, context.canvas.height);
  }

  // -- the divider

  #makeDivider() {
    const divider = $("divider");
    const moveTo = (percent) => {
      this.#wipe = Math.min(100, Math.max(0, percent));
      this.#element.style.setProperty("--wipe", `${this.#wipe}%`);
      divider.setAttribute("aria-valuenow", String(Math.round(this.#wipe)));
      divider.setAttribute("aria-valuetext", `${Math.round(this.#wipe)} % input`);
    };
    const follow = ({ clientX }) => {
      const { left, width } = $("output-pane").getBoundingClientRect();
      moveTo((100 * (clientX - left)) / width);
    };
    this.#element.addEventListener("pointerdown", (event) => {
      if (this.view !== "wipe" || event.target.closest(".veil, button")) return;
      this.#element.setPointerCapture(event.pointerId);
      this.#element.addEventListener("pointermove", follow);
      follow(event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.#element.addEventListener(end, () => this.#element.removeEventListener("pointermove", follow));
    }
    divider.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 10 : 2;
      const target = {
        ArrowLeft: this.#wipe - step,
        ArrowDown: this.#wipe - step,
        ArrowRight: this.#wipe + step,
        ArrowUp: this.#wipe + step,
        PageDown: this.#wipe - 10,
        PageUp: this.#wipe + 10,
        Home: 0,
        End: 100,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      moveTo(target);
    });
    moveTo(50);
  }

  // -- the veil

  #ticker = null;

  // null lifts it; otherwise {title, message?, text?, retryAt?, readiness?, spin?, asksToken?}.
  veil(what) {
    clearInterval(this.#ticker);
    $("veil").hidden = what === null;
    if (what === null) return;
    const { title, message, text, retryAt, readiness, spin, asksToken } = what;
    $("token-form").hidden = !asksToken;
    $("veil-title").textContent = title;
    $("spinner").hidden = !spin;
    $("veil-button").hidden = retryAt === undefined;
    const say = () => {
      const seconds = retryAt === undefined ? 0 : Math.ceil((retryAt - performance.now()) / 1000);
      const again = seconds > 0 ? ` Trying again in ${seconds} s.` : "";
      $("veil-text").textContent = `${message ?? text ?? ""}${again}`;
    };
    say();
    if (retryAt !== undefined) this.#ticker = setInterval(say, 250);
    this.#progress(readiness);
  }

  #progress(readiness) {
    const list = $("veil-progress");
    list.hidden = !readiness;
    if (!readiness) return;
    $("veil-text").textContent = `This happens once after a start: ${readiness.elapsed_s.toFixed(0)} s so far.`;
    const lines = readiness.progress.slice(-4);
    list.replaceChildren(
      ...lines.map(({ at_s, message }, index) => {
        const item = document.createElement("li");
        item.className = index === lines.length - 1 ? "now" : "done";
        const time = Object.assign(document.createElement("time"), { textContent: `${at_s.toFixed(1)} s` });
        item.append(message, time);
        return item;
      }),
    );
  }
}
