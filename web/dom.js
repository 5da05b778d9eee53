// Small things that every part of the page needs: elements, messages, words for numbers.

/** An element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Fills a select with options, `[value, text]` each, and keeps its value where that is still there. */
export function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === before)) select.value = before;
}

/** Says in a few words what was done, without interrupting a screen reader. */
export function say(text) {
  document.getElementById("status").textContent = text;
}

/** Shows messages of what failed, until they are closed or something else is begun. */
export function warn(...messages) {
  const close = element("button", { type: "button", className: "close", textContent: "Close" });
  const texts = messages.map((text) => element("p", { textContent: text }));
  const alert = document.getElementById("alert");
  close.addEventListener("click", clearWarning);
  alert.replaceChildren(...texts, close);
  alert.scrollIntoView({ block: "nearest" });
}

export function clearWarning() {
  document.getElementById("alert").replaceChildren();
}

/** Saves a blob as a file. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Draws an ImageData onto a canvas, at most `side` pixels a side. */
export async function paint(canvas, picture, side = Infinity) {
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((size) => Math.max(1, Math.round(size * scale)));
  const bitmap = await createImageBitmap(picture, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

/**
 * A function that runs one call of `work` at a time. What is asked for meanwhile is done once afterwards, with the latest
 * arguments.
 */
export function latest(work) {
  let running;
  let next;
  const run = async (args) => {
    await work(...args);
    while (next) {
      args = next;
      next = undefined;
      await work(...args);
    }
  };
  return (...args) => {
    if (running) {
      next = args;
      return running;
    }
    running = run(args).finally(() => {
      running = undefined;
    });
    return running;
  };
}

export const bytes = (count) =>
  count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;

export const milliseconds = (time) => (time < 9.5 ? `${time.toFixed(1)} ms` : `${Math.round(time)} ms`);

export const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

export const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** A class in words. */
export const className = (one) => one.label ?? `class ${one.index}`;

/** The name of a file without its folders and its ending. */
export const stem = (path) => path.split("/").at(-1).replace(/\.[^.]+$/, "");
