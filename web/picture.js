// The picture of a pane: photo and heat on a canvas, the place of the heat in words, and a box that is drawn with the pointer.

import { latest, paint, percent } from "./dom.js";
import { Replaced, Stopped } from "./engine.js";

/** A click stands for a box of this share of the picture. */
const CLICK = 0.04;
/** What is nearer to an edge than this share of the picture is called by it. */
const NEAR = 0.42;

export class Picture {
  #engine;
  #canvas;
  #box;
  #photo;
  #from;
  /** Draws `{photo, explanation, heatmap, style}`; without an explanation, the photo alone. */
  draw = latest((asked) => this.#draw(asked));

  /**
   * @param {HTMLElement} pane
   * @param {(area: number[]) => void} onArea gets the box, in pixels of the photo, that was drawn or clicked
   */
  constructor(pane, engine, onArea) {
    this.#engine = engine;
    this.#canvas = pane.querySelector("canvas");
    this.#box = pane.querySelector(".box");
    this.#canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    this.#canvas.addEventListener("pointermove", (event) => this.#from && this.#stretch(event));
    this.#canvas.addEventListener("pointercancel", () => this.#end());
    this.#canvas.addEventListener("pointerup", (event) => {
      const area = this.#from && this.#area(event);
      this.#end();
      if (area) onArea(area);
    });
  }

  async #draw({ photo, explanation, heatmap, style }) {
    this.#photo = photo;
    try {
      const picture = explanation
        ? await this.#engine.draw(explanation.id, heatmap, style)
        : await this.#engine.show(photo.id);
      await paint(this.#canvas, picture);
      this.#canvas.parentElement.style.setProperty("--ratio", picture.width / picture.height);
    } catch (error) {
      // What was lost with a worker is made and drawn again.
      if (!(error instanceof Replaced || error instanceof Stopped)) throw error;
    }
  }

  /** Where the heat of an explanation is, in words. */
  async where(explanation, heatmap, style) {
    try {
      return whereIsHeat(await this.#engine.draw(explanation.id, heatmap, { ...style, kind: "transparent" }));
    } catch {
      return "the heat cannot be shown on a picture";
    }
  }

  set description(text) {
    this.#canvas.ariaLabel = text;
  }

  /** Whether boxes can be drawn. */
  set takesBoxes(takes) {
    this.#canvas.classList.toggle("takes-boxes", takes);
  }

  get takesBoxes() {
    return this.#canvas.classList.contains("takes-boxes");
  }

  #at(event) {
    const frame = this.#canvas.getBoundingClientRect();
    const share = (at, from, size) => Math.min(1, Math.max(0, (at - from) / size));
    return [share(event.clientX, frame.left, frame.width), share(event.clientY, frame.top, frame.height)];
  }

  #begin(event) {
    if (!this.takesBoxes || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#from = this.#at(event);
  }

  /** Left, top, width and height, as shares of the picture. */
  #shares(event) {
    const to = this.#at(event);
    const [left, top] = to.map((at, axis) => Math.min(at, this.#from[axis]));
    const [width, height] = to.map((at, axis) => Math.abs(at - this.#from[axis]));
    return [left, top, width, height];
  }

  #stretch(event) {
    this.#box.hidden = false;
    const [left, top, width, height] = this.#shares(event).map((share) => `${share * 100}%`);
    Object.assign(this.#box.style, { left, top, width, height });
  }

  #end() {
    this.#from = undefined;
    this.#box.hidden = true;
  }

  #area(event) {
    let [left, top, width, height] = this.#shares(event);
    if (Math.max(width, height) < CLICK / 2) [left, top, width, height] = [left - CLICK / 2, top - CLICK / 2, CLICK, CLICK];
    const { width: wide, height: high } = this.#photo;
    return [left * wide, top * high, width * wide, height * high];
  }
}

/**
 * Where the heat is, in words.
 *
 * @param {ImageData} heat a picture of the heat alone, whose opacity is the heat
 */
function whereIsHeat({ width, height, data }) {
  let [count, x, y] = [0, 0, 0];
  for (let pixel = 0; pixel < width * height; pixel++) {
    if (data[4 * pixel + 3] < 128) continue;
    count++;
    x += pixel % width;
    y += Math.floor(pixel / width);
  }
  if (count === 0) return "there is no heat";
  const [right, down] = [x / count / width, y / count / height];
  const row = down < NEAR ? "top" : down > 1 - NEAR ? "bottom" : "middle";
  const column = right < NEAR ? "left" : right > 1 - NEAR ? "right" : "center";
  const place = row === "middle" && column === "center" ? "in the center" : `at the ${row} ${column}`;
  const at = `${percent(right)} from the left and ${percent(down)} from the top`;
  return `most heat is ${place}, around ${at}; ${percent(count / (width * height))} of the picture has more than half of the maximum`;
}
