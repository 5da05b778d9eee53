// Starts the page: by its modules, or by one script with everything in it where the page was opened as a file.

const script = document.createElement("script");
if (location.protocol === "file:") script.src = "local.js";
else Object.assign(script, { type: "module", src: "app.js" });
script.addEventListener("error", () => {
  document.getElementById("starting").textContent = `${script.src} is missing; the page is made by "cargo xtask web".`;
});
document.head.append(script);
