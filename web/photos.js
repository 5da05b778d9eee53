// The photos, and the strip that shows them with their heat.

import { element, paint, say, warn } from "./dom.js";
import { Replaced } from "./engine.js";

/** The photos that are held at once: each stays decoded in the memory of the engine. */
const MOST = 24;
const THUMBNAIL = 160;

/** `select` is sent when another photo is to be explained. */
export class Photos extends EventTarget {
  #engine;
  #list = document.getElementById("photos");
  /** Each `{id, name, width, height, item, canvas, caption}`. */
  #all = [];
  /** The one that is explained. */
  current;

  constructor(engine) {
    super();
    this.#engine = engine;
  }

  get all() {
    return this.#all;
  }

  /** Adds pictures, and shows the first of them. */
  async add(files) {
    const failed = [];
    const added = [];
    for (const file of files) {
      if (this.#all.length >= MOST) {
        failed.push(`${file.path}: the page holds ${MOST} photos at once; remove some`);
        break;
      }
      try {
        added.push(await this.#addOne(file));
      } catch (error) {
        if (!(error instanceof Replaced)) failed.push(`${file.path}: ${error.message}`);
      }
    }
    if (failed.length) warn(...failed);
    if (added.length) this.select(added[0]);
  }

  async #addOne({ path, blob }) {
    say(`Reading ${path}…`);
    const opened = await this.#engine.addPhoto(blob).catch(async (error) => {
      // Browsers know formats that the library does not.
      const known = await decoded(blob).catch(() => undefined);
      if (!known || error instanceof Replaced) throw error;
      return this.#engine.addPhoto(known);
    });
    const photo = { ...opened, name: path };
    this.#show(photo);
    this.#all.push(photo);
    await paint(photo.canvas, await this.#engine.show(photo.id), THUMBNAIL);
    document.getElementById("explain-all").hidden = this.#all.length < 2;
    return photo;
  }

  #show(photo) {
    photo.canvas = element("canvas", { width: 1, height: 1, ariaHidden: "true" });
    photo.caption = element("span", { className: "caption", textContent: photo.name });
    photo.button = element("button", { type: "button", className: "thumbnail", title: photo.name, ariaPressed: "false" });
    photo.button.append(photo.canvas, photo.caption);
    photo.button.addEventListener("click", () => this.select(photo));
    const remove = element("button", { type: "button", className: "remove", ariaLabel: `Remove ${photo.name}` }, "×");
    remove.addEventListener("click", () => this.#remove(photo));
    photo.item = element("li", {}, photo.button, remove);
    this.#list.append(photo.item);
  }

  select(photo) {
    this.current = photo;
    for (const one of this.#all) one.button.ariaPressed = String(one === photo);
    this.dispatchEvent(new Event("select"));
  }

  async #remove(photo) {
    if (this.#all.length === 1) return warn("The last photo stays; add another one first.");
    const at = this.#all.indexOf(photo);
    this.#all.splice(at, 1);
    photo.item.remove();
    const next = this.#all[Math.min(at, this.#all.length - 1)];
    next.button.focus();
    if (this.current === photo) this.select(next);
    document.getElementById("explain-all").hidden = this.#all.length < 2;
    await this.#engine.dropPhoto(photo.id);
  }

  /** Shows a picture with heat and the class that it explains in the strip. */
  async label(photo, picture, text) {
    photo.caption.textContent = text;
    photo.button.ariaLabel = `${photo.name}: ${text}`;
    await paint(photo.canvas, picture, THUMBNAIL);
  }
}

/** A picture as the browser reads it, as PNG. */
async function decoded(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = element("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
