// Routes, drawing, and the events of the page.

const DRAW = { overview: overviewView, limits: limitsView, limit: limitView, key: keyView, replicas: replicasView };

function draw() {
  drawTop();
  drawProblems();
  show("main", view());
}

function view() {
  if (state.off) return viewOff();
  if (!state.overview) return empty(state.stream.state === "lost" ? "The service does not answer." : "Loading …");
  const drawn = DRAW[state.route.view]();
  drawn.dataset.key = `${state.route.view} ${state.route.id}`;
  return drawn;
}

function routeOf(hash) {
  const [, view, id = ""] = hash.split("/");
  if (view === "limit" && /^[0-9a-f]{1,32}$/.test(id)) return { view, id };
  return { view: view in VIEWS ? view : "overview", id: "" };
}

/** Go to the view that the address names; a reader who came by keyboard goes on at its heading. */
function follow() {
  state.route = routeOf(location.hash);
  state.error = "";
  state.cursors.clear();
  state.whatIf = { algorithm: null, result: null, error: "", busy: false };
  state.limit = state.limits = null;
  state.query = { search: "", sort: "denied", order: "desc", offset: 0 };
  document.title = state.route.view === "overview" ? "ratelimitd" : `${VIEWS[state.route.view]?.[1] ?? "Limit"} · ratelimitd`;
  draw();
  (document.querySelector("main h1") ?? document.getElementById("main")).focus();
  restart();
}

const TICK = 1000; // ms: countdowns
const TABLE = 10; // ticks between two pages of the table, whose order changes, and between two looks at replicas
let ticks = 0;

function tick() {
  if (document.hidden) return;
  ticks += 1;
  if (ticks % TABLE === 0 && state.stream.state === "live" && !state.all) refresh();
  changed();
}

/** Ask again for what no event brings. */
function refresh() {
  if (ROWS[state.route.view]) reload();
  else if (state.route.view === "replicas") LOAD.replicas(null).then(changed, () => undefined);
}

addEventListener("hashchange", follow);
document.addEventListener("visibilitychange", restart);
setInterval(tick, TICK);
follow();
