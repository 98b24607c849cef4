// @ts-check
/** Requests to the server. What it refuses is an `ApiError` with its own sentence. */

/** @typedef {import("./protocol.js").Session} Session */

let csrf = "";

export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} text */
  constructor(status, code, text) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<any>} */
async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { Accept: "application/json", ...options.headers }, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(10000) });
  } catch {
    throw new ApiError(0, "unreachable", "");
  }
  // A proxy sends somebody who is not logged in to its own page.
  if (response.type === "opaqueredirect") throw new ApiError(401, "proxy_login", "");
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ApiError(response.status, String(body.error ?? ""), String(body.text ?? response.status));
  }
  return body;
}

/** @param {string} path @returns {Promise<any>} */
export const get = (path) => request(path);

/** @param {string} path @param {object} body @returns {Promise<any>} */
export const post = (path, body) =>
  request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(body),
  });

/**
 * Return a function that runs `load`, one at a time: what asks meanwhile is answered by one more
 * run, so that the last to be shown is never older than the last question.
 *
 * @param {() => Promise<void>} load
 * @returns {() => Promise<void>}
 */
export function oneAtATime(load) {
  /** @type {Promise<void> | null} */
  let running = null;
  let again = false;
  return () => {
    again = running !== null;
    running ??= (async () => {
      do {
        again = false;
        await load();
      } while (again);
    })().finally(() => (running = null));
    return running;
  };
}

/** @param {Session} session */
export function useSession(session) {
  csrf = session.csrf;
}
