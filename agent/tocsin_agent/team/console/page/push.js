// @ts-check
/** Web push: lets the server call this browser while the page is closed. */

import { post } from "./api.js";
import { state } from "./state.js";

const WORKER = "/page/sw.js";

/** The page's policy takes the address of a script from here only, and this one only. */
const policy = /** @type {any} */ (window).trustedTypes?.createPolicy("tocsin", {
  createScriptURL: (/** @type {string} */ url) => {
    if (url !== WORKER) throw new TypeError(url);
    return url;
  },
});

/** @returns {boolean} whether server and browser can do it */
export const canPush = () => state.pushKey !== null && "serviceWorker" in navigator && "PushManager" in window;

/** Subscribe, or renew what the server knows: it forgets a browser whose page is never open. */
export async function subscribe() {
  const registration = await navigator.serviceWorker.register(policy ? policy.createScriptURL(WORKER) : WORKER);
  const worker = registration.installing ?? registration.waiting;
  if (!registration.active && worker) {
    await new Promise((resolve) => worker.addEventListener("statechange", () => worker.state === "activated" && resolve(null)));
  }
  const found = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: state.pushKey });
  const { endpoint, keys } = found.toJSON();
  await post("/api/push", { endpoint, p256dh: keys?.p256dh ?? "", auth: keys?.auth ?? "" });
}
