// The frame of all views: top bar, problems, and what stands in place of a view.

const VIEWS = { overview: ["#/", "Overview"], limits: ["#/limits", "Limits"], key: ["#/key", "Look up a key"], replicas: ["#/replicas", "Replicas"] };
const THEMES = { auto: "System", light: "Light", dark: "Dark" };

function drawTop() {
  const replica = state.overview?.replica;
  show("top",
    h("div", { class: "brand" }, link("#/", "ratelimitd"), replica && h("span", { class: "muted", title: `replica ${replica.id}` }, state.all ? "all replicas" : replica.name)),
    h("nav", { "aria-label": "Views" }, Object.entries(VIEWS).map(([view, [href, text]]) =>
      link(href, text, { "aria-current": (state.route.view === view || (view === "limits" && state.route.view === "limit")) && "page" }))),
    h("div", { class: "tools" }, streamMark(),
      button("All replicas", () => setAll(!state.all), { "aria-pressed": String(state.all), title: "Add up the numbers of all replicas" }),
      state.token === null
        ? button("Enter token", () => askToken(), { title: "With the admin token keys are shown as they are, and can be looked up and reset" })
        : button("Forget token", () => forgetToken(""), { title: "Keys are shown as they are. The token is kept in this tab's memory only" }),
      h("select", { "aria-label": "Theme", onchange: (event) => setTheme(event.target.value) },
        Object.entries(THEMES).map(([value, text]) => h("option", { value }, text)))));
}

const STREAM_TEXT = { live: "Live", connecting: "Connecting", paused: "Paused", lost: "Connection lost" };

function streamMark() {
  if (state.off) return mark("none", "Off");
  const { state: name } = state.stream;
  return mark({ live: "ok", lost: "bad" }[name] ?? "none", name === "live" && state.all ? `Every ${POLL} s` : STREAM_TEXT[name]);
}

/** Change between this replica and all of them, which needs the token unless all hash keys alike. */
async function setAll(all) {
  state.all = all;
  const refused = all && (await live("overview").catch((error) => error)) instanceof Refused;
  if (refused && !(await askToken())) state.all = false;
  restart();
}

function setTheme(theme) {
  state.theme = theme;
  document.documentElement.dataset.theme = theme;
}

/** What is wrong now, each with what to do. */
function problems() {
  const { overview, stream } = state;
  return [
    stream.state === "lost" && [`Connection lost: ${stream.reason}. The numbers are of ${clockText(overview?.time ?? Date.now() / 1000)}. Trying again in ${duration(Math.max(0, (stream.until - Date.now()) / 1000))}.`, button("Try now", restart)],
    state.error && [state.error],
    ...(overview ? ofService(overview) : []),
  ].filter(Boolean);
}

function ofService({ health, store, policy }) {
  const others = ({ component }) => store.state !== "failing" || component !== store.kind; // the store's own line says it
  return [
    ...health.failing.filter(others).map(({ component, reason }) => [`${component}: ${reason || "not ready"}`]),
    !health.ready && health.failing.length === 0 && ["The service is draining: it is shutting down and takes no new requests. Its replacement has its own page."],
    ...health.notes.filter(others).map(({ component, reason }) => [`${component}: ${reason}`]),
    store.state === "failing" && [`The store fails: ${store.text || store.where}. Limits are decided by their on_store_failure.`],
    policy.refused.length > 0 && [`The newer policy is refused; generation ${policy.generation} stays in force. Correct:`, h("ul", {}, policy.refused.map((text) => h("li", {}, h("code", {}, text))))],
  ];
}

function drawProblems() {
  show("problems", problems().map((parts) => h("div", { class: "problem" }, h("span", { class: "mark bad", "aria-hidden": "true" }, "▲ "), h("div", {}, parts))));
}

function viewOff() {
  return h("div", { class: "view" }, h("h1", {}, "The live view is off"), empty(h("p", {}, state.off),
    h("p", {}, "LIVE_MAX_BYTES is the memory of the live view. Leave it out for the default of 8 MiB, or set another amount, and start the service again:"),
    h("pre", {}, h("code", {}, "LIVE_MAX_BYTES=8388608 ratelimitd serve …"))));
}
