// The dialogs: the token, and the confirmation of a reset.

/** Show a dialog; resolves with the button's value, "" if it was dismissed. */
function dialog(id, ...children) {
  const element = document.getElementById(id);
  element.replaceChildren(...children.flat());
  element.returnValue = "";
  element.showModal();
  return new Promise((resolve) => element.addEventListener("close", () => resolve(element.returnValue), { once: true }));
}

const closeWith = (id, value) => document.getElementById(id).close(value);

async function confirmed(title, text, action) {
  const id = "confirm-dialog";
  return (await dialog(id, h("h2", { id: "confirm-title" }, title), text,
    h("div", { class: "bar" }, button("Cancel", () => closeWith(id, ""), { autofocus: true }), button(action, () => closeWith(id, "yes"), { class: "danger" })))) === "yes";
}

/** Ask for the token until the service accepts one; returns whether there is one. */
async function askToken(wrong = "") {
  const id = "token-dialog";
  if (state.overview?.token === false) return noToken(id);
  const input = h("input", { type: "password", name: "token", required: true, autocomplete: "off", spellcheck: "false", autofocus: true, "aria-describedby": "token-hint" });
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    closeWith(id, "enter");
  } }, h("h2", { id: "token-title" }, "Admin token"), field("Token (ADMIN_TOKEN)", input),
  h("p", { id: "token-hint", class: "muted" }, "It stays in the memory of this tab: never in a URL, in storage or in a cookie. It is gone when the tab is closed or loaded again."),
  wrong && h("p", { class: "wrong", role: "alert" }, wrong),
  h("div", { class: "bar" }, button("Cancel", () => closeWith(id, "")), h("button", { type: "submit", class: "primary" }, "Use token")));
  const entered = await dialog(id, form);
  const token = input.value.trim();
  document.getElementById(id).replaceChildren();
  if (entered !== "enter" || !token) return false;
  const problem = await tried(token);
  return problem ? askToken(problem) : true;
}

/** How a service gets a token, where it has none that could be entered. */
async function noToken(id) {
  await dialog(id, h("h2", { id: "token-title" }, "This service has no admin token"),
    h("p", {}, "Keys are hashed, since anyone who reaches this port may read the page. With a token they are shown as they are, and can be looked up and reset. Stop the service and start it with one:"),
    h("pre", { tabindex: "0" }, h("code", {}, "openssl rand -hex 32 > admin-token\nexport ADMIN_TOKEN_FILE=admin-token")),
    h("p", {}, "then the command as before; ", h("code", {}, "cat admin-token"), " prints what to enter here."),
    h("div", { class: "bar" }, button("Close", () => closeWith(id, ""), { class: "primary", autofocus: true })));
  return false;
}

/** Use a token if the service accepts it; returns what is wrong with it. */
async function tried(token) {
  if (!/^[\x21-\x7e]+$/.test(token)) return "A token has only visible ASCII characters.";
  state.token = null;
  const response = await fetch("/live/overview", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" }).catch(() => null);
  if (response === null) return "The service does not answer. Try again.";
  const document = parsed(await response.text());
  if (response.status === 401) return document?.error?.includes("ADMIN_TOKEN") ? capital(`${document.error}.`) : "The service does not accept this token.";
  if (!response.ok && response.status !== 404) return document?.error ?? `The service answered ${response.status}.`;
  if (response.ok && !document?.authorized) return "The service has no admin token: set ADMIN_TOKEN or ADMIN_TOKEN_FILE and start it again.";
  state.token = token;
  announce("The token is accepted.");
  restart();
  return "";
}

function forgetToken(error) {
  state.token = null;
  state.all = false;
  Object.assign(state.key, { result: null, explained: null, done: "" });
  state.denials = state.limit = null; // they have keys as they are
  if (error) state.key.error = error;
  announce(error || "The token is forgotten.");
  restart();
}
