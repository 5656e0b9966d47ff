// The settings of a stream: how strong, how many steps, which seed, what is done to a picture after.

const $ = (id) => document.getElementById(id);
const SLIDERS = ["strength", "sharpen", "stabilise"]; // in percent
const SWITCHES = ["skip-still", "motion-noise"];
const LARGEST_SEED = 2 ** 31 - 1;

// Returns {offer, show, showCodec}: what a server's welcome offers, what holds, which codec is used.
export function setUpControls({ session, changeCodec }) {
  for (const name of SLIDERS) {
    $(name).addEventListener("input", ({ target }) => {
      $(`${name}-value`).textContent = `${target.value} %`;
      session.setParams({ [name]: target.value / 100 });
    });
  }
  for (const name of SWITCHES) {
    $(name).addEventListener("change", ({ target }) => session.setParams({ [name.replace("-", "_")]: target.checked }));
  }

  const setSeed = (seed) => {
    $("seed").value = String(seed);
    session.setParams({ seed });
  };
  $("seed").addEventListener("change", ({ target }) => {
    const seed = Math.round(Number(target.value) || 0);
    setSeed(Math.min(LARGEST_SEED, Math.max(0, seed)));
  });
  $("reseed").addEventListener("click", () => setSeed(Math.floor(Math.random() * 10_000)));

  $("steps").addEventListener("click", ({ target }) => {
    if (target.dataset.steps) session.setParams({ steps: Number(target.dataset.steps) });
  });
  $("codecs").addEventListener("click", ({ target }) => {
    if (!target.dataset.codec || target.getAttribute("aria-pressed") === "true") return;
    press("codecs", "codec", target.dataset.codec);
    changeCodec(target.dataset.codec);
  });

  function press(id, field, value) {
    for (const button of $(id).querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset[field] === String(value)));
    }
  }

  return {
    offer({ model, params }) {
      const buttons = model.variants.map((steps) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: steps });
        button.dataset.steps = steps;
        return button;
      });
      $("steps").replaceChildren($("steps").querySelector("legend"), ...buttons);
      $("steps").hidden = buttons.length < 2; // nothing to choose
      press("steps", "steps", params.steps);
    },
    show(effective) {
      press("steps", "steps", effective.steps);
      if (document.activeElement !== $("seed")) $("seed").value = String(effective.seed);
    },
    showCodec(codec) {
      press("codecs", "codec", codec);
    },
  };
}
