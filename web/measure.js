// What an explanation costs beside a plain prediction.

import { median, milliseconds } from "./dom.js";

const RUNS = 5;

/** The times of an explanation and of a prediction, in words; `request` is that of `Engine.explain`. */
export async function measured(engine, request) {
  const plain = await engine.plain(request.model, request.photo, RUNS);
  const times = [];
  for (let run = 0; run < RUNS; run++) {
    const all = await engine.explain(request);
    times.push(all[0].milliseconds);
    for (const { id } of all) await engine.dropExplanation(id);
  }
  const alone = milliseconds(median(plain.milliseconds));
  return `${milliseconds(median(times))}; a prediction alone ${alone} (medians of ${RUNS}).`;
}
