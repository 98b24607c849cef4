// @ts-check
/**
 * The WebSocket: made again by itself, after pauses that grow to 2 s. It counts as lost when
 * nothing has arrived for a while by the browser's own counter, whatever the network says.
 */

const PAUSES_MS = [100, 300, 700, 1500, 2000];
const SILENT_MS = 1800; // the server sends a tick each second
const GIVE_UP_MS = 3000; // a connection without a message for so long is replaced

/** @typedef {(message: any) => void} Receive */

export class Connection {
  /**
   * @param {Receive} receive
   * @param {(reason: "session" | "lost") => void} ended
   */
  constructor(receive, ended) {
    this.receive = receive;
    this.ended = ended;
    this.lastAt = -Infinity;
    this.openedAt = 0;
    this.attempt = 0;
    this.wanted = false;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {number} */
    this.timer = 0;
  }

  /** Whether what the page shows is of now. */
  get live() {
    return this.socket?.readyState === WebSocket.OPEN && performance.now() - this.lastAt < SILENT_MS;
  }

  /** Seconds since the last message. */
  get silentS() {
    return (performance.now() - this.lastAt) / 1000;
  }

  start() {
    this.wanted = true;
    this.lastAt = performance.now();
    this.#open();
  }

  stop() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.#drop();
  }

  /** Replace a connection that says nothing; called often. */
  check() {
    const since = Math.max(this.lastAt, this.openedAt);
    if (this.wanted && this.socket && performance.now() - since > GIVE_UP_MS) {
      this.#drop();
      this.#again();
    }
  }

  /** Begin anew at once, such as for another language. */
  renew() {
    if (this.wanted) this.#open();
  }

  /** @param {object} message */
  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #open() {
    clearTimeout(this.timer);
    this.#drop();
    this.openedAt = performance.now();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws?language=${document.documentElement.lang}`);
    this.socket = socket;
    socket.onmessage = (event) => {
      if (socket !== this.socket) return;
      this.lastAt = performance.now();
      this.attempt = 0;
      this.receive(JSON.parse(event.data));
    };
    socket.onclose = (event) => {
      if (socket !== this.socket) return;
      this.socket = null;
      if (event.code === 4401) this.ended("session");
      else {
        this.ended("lost");
        this.#again();
      }
    };
  }

  #drop() {
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #again() {
    if (!this.wanted) return;
    const pause = PAUSES_MS[Math.min(this.attempt, PAUSES_MS.length - 1)];
    this.attempt += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#open(), pause * (0.75 + Math.random() / 4));
  }
}
