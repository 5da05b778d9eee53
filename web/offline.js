// Keeps the page for use without a network.

import { say } from "./dom.js";

/** Starts the service worker, and says when all of the page is kept. */
export async function keepOffline() {
  if (!navigator.serviceWorker) return;
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data.updated) say("A newer version of this page is here; it runs after a reload.");
  });
  try {
    await navigator.serviceWorker.register(new URL("service-worker.js", import.meta.url));
    const registration = await navigator.serviceWorker.ready;
    document.getElementById("offline").hidden = false;
    registration.active.postMessage("update");
  } catch {
    // A browser that keeps nothing, as some do in private windows, still runs the page.
  }
}
