// @ts-check
/** The part of the page that runs while the page is closed: shows a call by web push, opens its alert. */

const self_ = /** @type {any} */ (globalThis);
const MARKS = { high: "!!!", medium: "!!", low: "!" };

self_.addEventListener("push", (/** @type {any} */ event) => {
  event.waitUntil(show(event.data));
});

/** @param {any} data */
async function show(data) {
  let call;
  try {
    call = data.json();
  } catch {
    call = {}; // a call that cannot be read is a call
  }
  const rate = typeof call.rate_bpm === "number" ? ` ${Math.round(call.rate_bpm)}/min` : "";
  const mark = MARKS[/** @type {keyof typeof MARKS} */ (call.priority)] ?? "";
  await self_.registration.showNotification(`${mark} ${call.place ?? "tocsin"}: ${call.condition ?? ""}${rate}`, {
    tag: call.alert_id ?? "tocsin",
    renotify: true,
    requireInteraction: call.priority === "high",
    data: call.alert_id ? `/#/alert/${[call.site, call.device, call.alert_id].map(encodeURIComponent).join("/")}` : "/",
  });
}

self_.addEventListener("notificationclick", (/** @type {any} */ event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data));
});

/** @param {string} path */
async function open(path) {
  const pages = await self_.clients.matchAll({ type: "window", includeUncontrolled: true });
  for (const page of pages) {
    try {
      await page.focus();
      await page.navigate(path);
      return;
    } catch { /* a page that this worker does not control cannot be led */ }
  }
  await self_.clients.openWindow(path);
}
