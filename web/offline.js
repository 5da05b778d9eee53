// Keeps the page for use without a network.

const find = (id) => document.getElementById(id);

/** Starts the service worker, and says when all of the page is kept. */
export async function keepOffline() {
  if (!navigator.serviceWorker) return;
  find("reload").addEventListener("click", () => location.reload());
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data.updated) find("newer").hidden = false;
  });
  try {
    await navigator.serviceWorker.register(new URL("service-worker.js", import.meta.url));
    const registration = await navigator.serviceWorker.ready;
    find("offline").hidden = false;
    registration.active.postMessage("update");
  } catch {
    // A browser that keeps nothing, as some do in private windows, still runs the page.
  }
}
