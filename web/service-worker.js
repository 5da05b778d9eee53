// Keeps the files of the page, so that it works without a network and is the same one from start to end.
//
// files.json, which `cargo xtask web` writes, has the version of the page and the names of its files. A version is a cache, in
// which files.json comes last: a cache without it is not complete.

const PREFIX = `gradcam ${registration.scope} `;
const LIST = "files.json";
const url = (file) => new URL(file, registration.scope).href;

/** The names of the complete caches, the oldest first. */
async function complete() {
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX));
  const isComplete = await Promise.all(names.map(async (name) => (await caches.open(name)).match(url(LIST))));
  return names.filter((_, at) => isComplete[at]);
}

/** Keeps the files of the newest version; whether that was not kept before. */
async function keep() {
  const list = await fetch(url(LIST), { cache: "no-store" });
  if (!list.ok) throw new Error(`${LIST}: ${list.status}`);
  const { version, files } = await list.clone().json();
  const name = PREFIX + version;
  if ((await complete()).includes(name)) return false;
  await caches.delete(name);
  const cache = await caches.open(name);
  const wanted = files.filter((file) => file !== LIST);
  await cache.addAll(wanted.map((file) => new Request(url(file), { cache: "reload" })));
  await cache.put(url(LIST), list);
  return true;
}

/** Forgets all versions but the newest. */
async function forget() {
  const all = await complete();
  await Promise.all(all.slice(0, -1).map((name) => caches.delete(name)));
}

async function answer(request) {
  // A page that is loaded anew gets the newest version, and from then on all of its files from there.
  if (request.mode === "navigate") await forget();
  const [name] = await complete();
  const file = request.url.endsWith("/") ? url("index.html") : request.url;
  const kept = name && (await (await caches.open(name)).match(file, { ignoreSearch: true }));
  return kept ?? fetch(request);
}

addEventListener("install", (event) => event.waitUntil(keep().then(() => skipWaiting())));

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(registration.scope)) event.respondWith(answer(request));
});

addEventListener("message", (event) => {
  if (event.data !== "update") return;
  const update = keep().then((isNew) => isNew && event.source.postMessage({ updated: true }));
  // Without a network the version that is kept stays.
  event.waitUntil(update.catch(() => {}));
});
