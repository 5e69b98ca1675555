/** The generator in this page, run by onnxruntime's WebAssembly. */

import { InputError, MAX_IMAGES, parseLabels } from "./labels.js";
import { latents, slerp } from "./latents.js";

const BATCH = 64; // images at once

/** Return the bytes of a gzipped element of the page, in base64. */
async function unpacked(id) {
  const element = document.getElementById(id);
  const packed = Uint8Array.from(atob(element.textContent.trim()), (each) => each.charCodeAt(0));
  element.remove(); // megabytes of text
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export class Generator {
  /** Open the generator of the page. */
  static async open() {
    const { env, InferenceSession, Tensor } = globalThis.ort;
    const card = JSON.parse(document.getElementById("card").textContent);
    const [runtime, graph] = await Promise.all([unpacked("runtime"), unpacked("graph")]);
    env.wasm.numThreads = 1; // more need headers that a file has not
    env.wasm.wasmBinary = runtime;
    env.logLevel = "error";
    return new Generator(card, await InferenceSession.create(graph), Tensor);
  }

  constructor(card, session, Tensor) {
    Object.assign(this, { card, session, Tensor, waiting: Promise.resolve() });
    this.classes = card.conditional ? card.image.classes : [];
  }

  /**
   * Return images of a seed, those of `ganvas sample --labels LABELS --seed SEED --n N`.
   *
   * labels: a text, as for --labels; of a generator without classes, none.
   * n: number of images; labels are repeated. Default: one for each label, or 8.
   * truncation: factor of the latents.
   * way: {to, part}, to go a part of the way to another seed.
   * Resolves to {width, height, channels, images: Uint8Array[], labels: number[]}.
   */
  async sample({ labels, seed = 0, n, truncation = 1, way } = {}) {
    const chosen = this.chosen(labels, n);
    const { height, width, channels } = this.card.image;
    const images = [];
    for (let start = 0; start < chosen.length; start += BATCH) {
      const part = chosen.slice(start, start + BATCH);
      const indices = part.map((_, k) => start + k);
      let z = latents(indices, seed, this.card.z_dim);
      if (way) z = slerp(z, latents(indices, way.to, this.card.z_dim), way.part, this.card.z_dim);
      if (truncation !== 1) z = z.map((value) => value * Math.fround(truncation));
      const pixels = await this.run(z, part);
      const size = height * width * channels;
      part.forEach((_, k) => images.push(pixels.slice(k * size, (k + 1) * size)));
    }
    return { width, height, channels, images, labels: chosen };
  }

  /** Return the class of each image; a list of nulls without classes. */
  chosen(labels, n) {
    if (n !== undefined && !(Number.isInteger(n) && n >= 1 && n <= MAX_IMAGES)) throw new InputError(String(n));
    if (!this.classes.length) {
      if (labels) throw new InputError(labels);
      return new Array(n ?? 8).fill(null);
    }
    const once = labels ? parseLabels(String(labels), this.classes) : this.classes.map((_, k) => k);
    const count = n ?? once.length;
    if (labels && count % once.length) throw new InputError(String(n));
    return Array.from({ length: count }, (_, k) => once[k % once.length]);
  }

  /** Run the graph on one batch. Batches wait for each other: a session runs one at a time. */
  run(z, labels) {
    const feeds = { latent: new this.Tensor("float32", z, [labels.length, this.card.z_dim]) };
    if (this.classes.length) {
      const numbers = BigInt64Array.from(labels, (label) => BigInt(label));
      feeds.label = new this.Tensor("int64", numbers, [labels.length]);
    }
    const done = this.waiting.then(() => this.session.run(feeds));
    this.waiting = done.catch(() => {});
    return done.then(({ images }) => images.data);
  }
}
