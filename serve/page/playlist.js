// A queue of prompts, each for its time: a small show that runs by itself.

const $ = (id) => document.getElementById(id);

export class Playlist {
  #items = []; // [{prompt, seconds}]
  #at = -1;
  #timer = null;
  #apply;

  // `apply` is called with each prompt when its time comes.
  constructor(apply) {
    this.#apply = apply;
    $("queue-play").addEventListener("click", () => (this.isPlaying ? this.stop() : this.play()));
    $("queue-clear").addEventListener("click", () => this.clear());
    $("queue-items").addEventListener("click", ({ target }) => {
      const { remove, go } = target.closest("button")?.dataset ?? {};
      if (remove !== undefined) this.#remove(Number(remove));
      else if (go !== undefined) this.#go(Number(go));
    });
  }

  get isPlaying() {
    return this.#timer !== null;
  }

  add(prompt) {
    const seconds = Math.min(3600, Math.max(1, Number($("queue-seconds").value) || 8));
    this.#items.push({ prompt, seconds });
    this.#show();
  }

  play() {
    if (this.#items.length) this.#go(0);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = -1;
    this.#show();
  }

  clear() {
    this.stop();
    this.#items = [];
    this.#show();
  }

  #go(index) {
    clearTimeout(this.#timer);
    this.#at = index;
    const { prompt, seconds } = this.#items[index];
    this.#apply(prompt);
    this.#timer = setTimeout(() => this.#next(), 1000 * seconds);
    this.#show();
  }

  #next() {
    const next = this.#at + 1;
    if (next < this.#items.length) this.#go(next);
    else if ($("queue-loop").checked && this.#items.length) this.#go(0);
    else this.stop();
  }

  #remove(index) {
    this.#items.splice(index, 1);
    if (!this.#items.length) this.stop();
    else if (index < this.#at) this.#at--;
    else if (index === this.#at && this.isPlaying) this.#go(Math.min(index, this.#items.length - 1));
    this.#show();
  }

  #show() {
    $("playlist").hidden = !this.#items.length;
    $("queue-play").textContent = this.isPlaying ? "Stop" : "Play";
    $("queue-play").setAttribute("aria-pressed", String(this.isPlaying));
    $("queue-items").replaceChildren(
      ...this.#items.map(({ prompt, seconds }, index) => {
        const item = document.createElement("li");
        item.classList.toggle("now", index === this.#at);
        if (index === this.#at) item.setAttribute("aria-current", "true");
        item.style.setProperty("--seconds", `${seconds}s`);
        const go = Object.assign(document.createElement("button"), { type: "button", textContent: prompt });
        go.dataset.go = index;
        go.title = "Go on from here";
        const time = Object.assign(document.createElement("time"), { textContent: `${seconds} s` });
        const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
        remove.dataset.remove = index;
        remove.setAttribute("aria-label", `Remove ${prompt}`);
        item.append(go, time, remove);
        return item;
      }),
    );
  }
}
