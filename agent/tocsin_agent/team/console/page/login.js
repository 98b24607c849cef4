// @ts-check
/** The login: nothing of a patient is loaded before it. */

import { ApiError, post } from "./api.js";
import { el, setText } from "./dom.js";
import { language, t } from "./words.js";

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
