/**
 * Latents: the numbers that image k of seed s is made from, the same as in Python
 * (ganvas/sampling/latents.py, and docs/export.md): Philox4x64-10 and the transform of Box and
 * Muller.
 */

const WORD = (1n << 64n) - 1n;
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const KEY_STEPS = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const ROUNDS = 10;

/** Return the four words of counter (block, 0, 0, 0) under the key (seed, index), all BigInt. */
export function philox(block, seed, index) {
  let [a, b, c, d] = [block, 0n, 0n, 0n];
  let [first, second] = [seed, index];
  for (let round = 0; round < ROUNDS; round++) {
    const left = MULTIPLIERS[0] * a;
    const right = MULTIPLIERS[1] * c;
    [a, b, c, d] = [(right >> 64n) ^ b ^ first, right & WORD, (left >> 64n) ^ d ^ second, left & WORD];
    first = (first + KEY_STEPS[0]) & WORD;
    second = (second + KEY_STEPS[1]) & WORD;
  }
  return [a, b, c, d];
}

/** Return two independent standard normal numbers, made from two words. */
function normals(word, other) {
  const u = (Number(word >> 11n) + 0.5) * 2 ** -53;
  const v = (Number(other >> 11n) + 0.5) * 2 ** -53;
  const radius = Math.sqrt(-2 * Math.log(u));
  return [radius * Math.cos(2 * Math.PI * v), radius * Math.sin(2 * Math.PI * v)];
}

/**
 * Return latents for image indices, one after the other: Float32Array of indices.length * size.
 *
 * indices: whole numbers from 0. seed: from 0 to 2^64 - 1, a number or a BigInt.
 * size: values of one latent.
 */
export function latents(indices, seed, size) {
  const values = new Float32Array(indices.length * size);
  indices.forEach((index, row) => {
    for (let block = 0; block * 4 < size; block++) {
      const [w0, w1, w2, w3] = philox(BigInt(block), BigInt(seed), BigInt(index));
      const four = [...normals(w0, w1), ...normals(w2, w3)].slice(0, size - 4 * block);
      values.set(four, row * size + 4 * block);
    }
  });
  return values;
}

/** Interpolate latents of `size` values along the sphere: 0 gives `start`, 1 gives `end`. */
export function slerp(start, end, part, size) {
  const mixed = new Float32Array(start.length);
  for (let row = 0; row < start.length; row += size) {
    let [dot, a, b] = [0, 0, 0];
    for (let k = row; k < row + size; k++) {
      dot += start[k] * end[k];
      a += start[k] ** 2;
      b += end[k] ** 2;
    }
    const angle = Math.acos(Math.min(1, Math.max(-1, dot / Math.max(Math.sqrt(a * b), 1e-12))));
    // Latents that point the same way, or the opposite one, have no angle to divide by.
    const flat = Math.sin(angle) < 1e-6;
    const weight = (share) => (flat ? share : Math.sin(share * angle) / Math.sin(angle));
    const [here, there] = [weight(1 - part), weight(part)];
    for (let k = row; k < row + size; k++) mixed[k] = here * start[k] + there * end[k];
  }
  return mixed;
}
