/** The page: its controls, and the picture that they ask for. */

import { Generator } from "./generator.js";
import { InputError } from "./labels.js";
import { WORDS } from "./words.js";

const STEPS = 24; // images from one seed to the next
const ACROSS = 8; // images of a single class in a row
const $ = (id) => document.getElementById(id);
const state = { labels: "", seed: "0", variations: 1, truncation: 1, language: "en" };
let generator, wanted = false, busy = false, playing = false, part = 0;

/** Read the state from the address: #labels=20231223&seed=5. */
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of ["labels", "seed", "language"]) if (given.has(name)) state[name] = given.get(name);
  for (const name of ["variations", "truncation"]) if (given.has(name)) state[name] = Number(given.get(name));
  if (!/^\d{1,20}$/.test(state.seed) || BigInt(state.seed) >= 1n << 64n) state.seed = "0";
  if (!(state.variations >= 1 && state.variations <= 32)) state.variations = 1;
  state.variations = Math.round(state.variations);
  if (!(state.truncation >= 0 && state.truncation <= 2)) state.truncation = 1;
  if (!(state.language in WORDS)) state.language = "en";
}

/** Write the state to the address, so that a link reopens what is seen. */
function writeAddress() {
  const address = new URLSearchParams();
  if (generator.classes.length) address.set("labels", state.labels);
  address.set("seed", state.seed);
  if (state.variations !== 1) address.set("variations", state.variations);
  if (state.truncation !== 1) address.set("truncation", state.truncation);
  if (state.language !== "en") address.set("language", state.language);
  history.replaceState(null, "", `#${address}`);
}

/** Show the state in the controls. */
function showControls() {
  for (const name of ["labels", "seed", "variations", "truncation"]) $(name).value = state[name];
  const words = WORDS[state.language];
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  document.title = words.title;
  for (const each of document.querySelectorAll("[data-word]")) each.textContent = words[each.dataset.word];
  $("language").setAttribute("aria-label", words.language);
  $("picture").setAttribute("aria-label", words.picture);
  $("play").textContent = playing ? words.pause : words.play;
  $("truncation-value").textContent = state.truncation.toFixed(2);
  if (generator) $("about").textContent = words.about(generator.card);
}

/** Draw images into the canvas, a row for each variation; those of a single class side by side. */
function draw({ width, height, channels, images }, columns) {
  const canvas = $("picture");
  const rows = Math.ceil(images.length / columns);
  canvas.width = columns * width;
  canvas.height = rows * height;
  canvas.style.setProperty("--columns", columns);
  const context = canvas.getContext("2d");
  images.forEach((pixels, k) => {
    const cell = context.createImageData(width, height);
    for (let p = 0; p < width * height; p++) {
      const from = p * channels;
      const grey = channels < 3;
      for (let c = 0; c < 3; c++) cell.data[4 * p + c] = pixels[grey ? from : from + c];
      cell.data[4 * p + 3] = channels === 4 ? pixels[from + 3] : 255;
    }
    context.putImageData(cell, (k % columns) * width, Math.floor(k / columns) * height);
  });
}

/** Make the picture of the state. One is made at a time; of those asked for meanwhile, the last. */
async function refresh() {
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    const words = WORDS[state.language];
    try {
      const columns = generator.chosen(state.labels).length;
      const seed = BigInt(state.seed);
      const way = part ? { to: (seed + 1n) % (1n << 64n), part } : undefined;
      const n = columns * state.variations;
      const made = await generator.sample({ ...state, seed, n, way });
      draw(made, columns > 1 ? columns : Math.min(n, ACROSS));
      $("problem").textContent = "";
      writeAddress();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      $("problem").textContent = error.message === "empty" ? words.empty : words.unknown(error.message);
      playing = false;
      showControls();
    }
    $("picture").dataset.drawn = Number($("picture").dataset.drawn ?? 0) + 1;
    if (playing) advance();
  }
  busy = false;
}

/** Go a step further on the way to the next seed. */
function advance() {
  part += 1 / STEPS;
  if (part >= 1 - 1e-9) {
    part = 0;
    state.seed = String((BigInt(state.seed) + 1n) % (1n << 64n));
    showControls();
  }
  setTimeout(refresh, 1000 / 30);
}

function changed(name, value) {
  part = 0;
  state[name] = value;
  showControls();
  refresh();
}

function listen() {
  $("labels").addEventListener("input", (event) => changed("labels", event.target.value));
  $("seed").addEventListener("input", (event) => {
    const text = event.target.value;
    if (/^\d{1,20}$/.test(text) && BigInt(text) < 1n << 64n) changed("seed", text);
  });
  $("variations").addEventListener("input", (event) => {
    const value = Math.round(event.target.valueAsNumber);
    if (value >= 1 && value <= 32) changed("variations", value);
  });
  $("truncation").addEventListener("input", (event) => changed("truncation", event.target.valueAsNumber));
  $("another").addEventListener("click", () => changed("seed", String(Math.floor(Math.random() * 1e6))));
  $("language").addEventListener("click", () => changed("language", state.language === "en" ? "zh" : "en"));
  $("play").addEventListener("click", () => {
    playing = !playing;
    showControls();
    refresh();
  });
  $("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = $("picture").toDataURL("image/png");
    link.download = `${state.labels || "images"}-${state.seed}.png`.replace(/[^\w.-]+/g, "_");
    link.click();
  });
  window.addEventListener("hashchange", () => {
    readAddress();
    showControls();
    refresh();
  });
}

/** Offer a button for each class whose name is more than a character. */
function offerClasses() {
  const { classes } = generator;
  $("labels-row").hidden = !classes.length;
  if (!classes.some((name) => [...name].length > 1)) return;
  $("labels-word").dataset.word = "names";
  for (const name of classes.slice(0, 60)) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = name;
    chip.addEventListener("click", () => changed("labels", state.labels ? `${state.labels},${name}` : name));
    $("classes").append(chip);
  }
}

async function start() {
  if (navigator.language.startsWith("zh")) state.language = "zh";
  readAddress();
  showControls();
  generator = await Generator.open();
  if (!state.labels && generator.classes.length) {
    const short = generator.classes.every((name) => [...name].length === 1);
    state.labels = short ? generator.classes.slice(0, 10).join("") : generator.classes[0];
  }
  window.ganvas = { card: generator.card, sample: (request) => generator.sample(request) };
  offerClasses();
  listen();
  showControls();
  document.body.classList.add("ready");
  await refresh();
}

start();
