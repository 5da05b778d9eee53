// Takes a photo with the camera.

import { element, warn } from "./dom.js";

const dialog = document.getElementById("camera");
const video = dialog.querySelector("video");

/** Shows the camera; `taken` gets the photo as `{path, blob}`. */
export function setUpCamera(taken) {
  let count = 0;
  document.getElementById("open-camera").addEventListener("click", open);
  dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });
  dialog.querySelector(".take").addEventListener("click", () => {
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    if (!canvas.width) return;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => taken({ path: `camera-${++count}.png`, blob }), "image/png");
    dialog.close();
  });
}

async function open() {
  if (!navigator.mediaDevices) return warn("The camera needs a secure page: https, or an address of this device.");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const why = error.name === "NotAllowedError" ? "the browser was not allowed to use it" : error.message;
    return warn(`No camera: ${why}. Photos can be dropped or opened as files.`);
  }
  dialog.showModal();
  await video.play();
}
