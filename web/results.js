// Explanations in words.

import { className, element, milliseconds, percent } from "./dom.js";

/** Class, method and layer of a summary, see `Summary` of `crates/gradcam/src/summary.rs`. */
export function titleOf(summary, methods) {
  const method = methods.find(({ id }) => id === summary.method)?.name ?? summary.method;
  const { class: explained, against, target } = summary;
  const sign = target.startsWith("neg:") ? "against " : "";
  const share = explained.probability === null ? "" : ` ${percent(explained.probability)}`;
  const other = against ? ` rather than ${className(against)}` : "";
  const layers = summary.layers.map(({ layer }) => layer).join(" + ");
  return `${sign}${className(explained)}${share}${other} · ${method} · ${layers}`;
}

/** `[value, text]` for each heatmap of each result; a value is their numbers. */
export function choicesOf(results) {
  return results.flatMap(({ summary, heatmaps }, result) =>
    Array.from({ length: heatmaps }, (_, heatmap) => {
      const layer = heatmaps > 1 ? ` · ${summary.layers[heatmap].layer}` : "";
      return [`${result} ${heatmap}`, className(summary.class) + layer];
    }),
  );
}

/** The warnings and notes of a summary, as list items. */
export function warningsOf(summary) {
  const items = (all, kind) => all.map(({ text }) => element("li", { className: kind, textContent: text }));
  return summary ? [...items(summary.warnings, "warning"), ...items(summary.notes, "note")] : [];
}

/** What a method costs in predictions. */
export function priceOf(cost) {
  if (cost < 1.2) return "a prediction";
  return `${cost < 20 ? cost.toFixed(1) : Math.round(cost)} predictions`;
}

/** How long an explanation took. */
export function timeOf({ milliseconds: time, summary }) {
  const { compile, differentiate } = summary.timings_ms;
  const once = compile + differentiate;
  const share = once > 1 ? `, of which ${milliseconds(once)} once for this model, layer and method` : "";
  return `Explained in ${milliseconds(time)}${share}.`;
}
