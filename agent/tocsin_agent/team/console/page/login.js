// @ts-check
/** The login: nothing of a patient is loaded before it. */

import { ApiError, get, post } from "./api.js";
import { el, setText } from "./dom.js";
import { language, t } from "./words.js";

const ASK_MS = 2000;

/** Where a proxy logs people in: a way to its page, and back by itself when it has done so. */
export class ProxyLoginPage {
  /**
   * @param {(session: import("./protocol.js").Session) => void} done
   * @param {string} reason
   */
  constructor(done, reason) {
    this.root = el(
      "main", { class: "page", id: "main", tabindex: "-1" },
      el("div", { class: "login" },
        el("h1", { text: "tocsin" }), el("p", { text: t("login_text") }), el("p", { class: "problem", role: "alert", text: reason }),
        el("button", { class: "primary", onclick: () => location.reload() }, t("login"))),
    );
    const ask = async () => {
      if (!this.root.isConnected) return;
      try {
        done(await get("/api/session"));
      } catch {
        setTimeout(ask, ASK_MS);
      }
    };
    setTimeout(ask, ASK_MS);
  }
}

export class LoginPage {
  /**
   * @param {(session: import("./protocol.js").Session) => void} done
   * @param {string} reason why the person sees this page again; empty at first
   */
  constructor(done, reason) {
    const user = el("input", { id: "user", name: "user", autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false" });
    const password = el("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true });
    const problem = el("p", { class: "problem", role: "alert", text: reason });
    const submit = el("button", { class: "primary", type: "submit" }, t("login"));
    const form = el(
      "form", { class: "login" },
      el("h1", { text: "tocsin" }), el("p", { text: t("login_text") }), problem,
      el("label", { for: "user", text: t("user") }), user,
      el("label", { for: "password", text: t("password") }), password, submit,
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      try {
        done(await post("/api/login", { user: user.value, password: password.value, language: language() }));
      } catch (error) {
        setText(problem, error instanceof ApiError && error.status === 0 ? t("server_away") : error instanceof ApiError && error.status === 429 ? t("too_often") : t("login_refused"));
        password.value = "";
        password.focus();
      } finally {
        submit.disabled = false;
      }
    });
    this.root = el("main", { class: "page", id: "main", tabindex: "-1" }, form);
    requestAnimationFrame(() => user.focus());
  }
}
