/** Labels: a text to class indices, as `ganvas sample --labels` reads it. */

export const MAX_IMAGES = 1000; // that a page makes at once

/** An error that the person at the page can mend. */
export class InputError extends Error {}

/**
 * Return the class indices that a text asks for.
 *
 * A class is given by its name or index; 3x50 is 50 times class 3. Text equal to a class's name is
 * that class; text with commas is a list; other text is one class per character if all classes have
 * a name or index of one character, and otherwise one class. Throws InputError for others.
 */
export function parseLabels(text, classes) {
  const index = new Map();
  classes.forEach((_, k) => index.set(String(k), k));
  classes.forEach((name, k) => index.set(name, k));
  if (!text) throw new InputError("empty");
  const counted = /^(.+?) *x *(\d{1,9})$/s;
  const characters = [...text];
  const isWord = !text.includes(",") && Math.max(...classes.map((name) => [...name].length)) > 1;
  let parts = [text];
  const isCount = counted.test(text) && !characters.every((each) => index.has(each));
  const whole = classes.includes(text) || (isWord && classes.length > 10);
  if (text.includes(",")) parts = text.split(",").map((part) => part.trim());
  else if (!whole && !isCount) parts = characters;
  const labels = [];
  for (const part of parts) {
    const match = index.has(part) ? null : part.match(counted);
    const [name, times] = match ? [match[1], Number(match[2])] : [part, 1];
    if (!index.has(name)) throw new InputError(isWord && !match ? text : name);
    if (times < 1 || labels.length + times > MAX_IMAGES) throw new InputError(part);
    for (let k = 0; k < times; k++) labels.push(index.get(name));
  }
  return labels;
}
