// The overview: traffic, recent denials, health, and the limits that deny most.

function overviewView() {
  return h("div", { class: "view" }, h("h1", { class: "unseen", tabindex: "-1" }, "Overview"),
    trafficPanel(), h("div", { class: "halves" }, recentDenials(), healthPanel()),
    panel("Limits that deny most", link("#/limits", limitsLinkText()), limitsTable()));
}

const limitsLinkText = () => (state.limits ? `All ${plural(state.limits.total, "limit")}` : "All limits");

function trafficPanel() {
  const { overview, history } = state;
  if (!history) return panel("Traffic", null, empty("Loading …"));
  return trafficOf("traffic", "Hits a second", history, overview.rates, decisionsText(overview.decisions));
}

/** Figures and chart of a history, with a sentence of it. */
function trafficOf(id, label, hour, rates, more) {
  const history = recent(hour);
  return panel("Traffic", h("p", { class: "muted" }, momentText(id, history)),
    h("div", { class: "traffic" }, figures(id, history, rates), chart({ id, label: `${label}, ${spanText(history)}`, series: seriesOf(history), end: history.end, step: history.step })),
    h("p", { class: "foot" }, summary(history), more && " A request is a hit at each limit that it meets. ", more));
}

const decisionsText = (rates) => h("span", { class: "nowrap" }, `Requests now: ${rate(rates.ok)} OK, ${rate(rates.over_limit)} over limit, ${rate(rates.failed)} failed.`);

/** The moment that the figures are of: now, or where the cursor is. */
function momentText(id, history) {
  const at = state.cursors.get(id);
  return at === undefined ? "hits a second, now" : `hits a second, at ${clockText(history.end - (history.allowed.length - at) * history.step)}`;
}

/** Four numbers, which are the legend of the chart too. */
function figures(id, history, rates) {
  const at = state.cursors.get(id);
  return h("dl", { class: "figures" }, SERIES.map((name) => h("div", { class: name },
    h("dt", {}, swatch(name), LABELS[name]),
    h("dd", {}, h("strong", {}, amount(at === undefined ? rates[name] : history[name][at] / history.step)), h("small", {}, `${amount(sum(history[name]))} in the hour`)))));
}

function recentDenials() {
  const denials = state.denials;
  const side = !state.overview.authorized && h("p", { class: "muted" }, "Keys are hashed; ", tokenButton());
  if (!denials) return panel("Recent denials", null, empty("Loading …"));
  if (denials.length === 0) return panel("Recent denials", null, idle());
  return panel("Recent denials", side, denialTable(denials, ROWS.overview, "Recent denials, newest first"));
}

function idle() {
  const { totals, policy } = state.overview;
  if (policy.limits === 0) return empty(h("p", {}, "The policy has no limits yet. Add one to ", h("code", {}, policy.source || "the policy"), "; it takes effect without a restart."));
  if (sum(Object.values(totals)) === 0) return noTraffic("No traffic yet. Send a request, for example:");
  return empty(h("p", {}, "Nothing was denied lately."));
}

function healthPanel() {
  const { replica, store, policy, health, live: model } = state.overview;
  return panel("Health", null, h("div", { class: "cards" },
    card("Service", mark(health.healthy && health.ready ? "ok" : "bad", health.healthy && health.ready ? "ready" : "not ready"),
      [["Replica", `${replica.name} (${replica.id})`], ["Version", `${replica.software}, ${replica.build}`], ["Up", h("span", { title: clockText(replica.started) }, duration(Math.floor(now() - replica.started)))]]),
    card("Store", mark(store.state === "ok" ? "ok" : "bad", store.state === "ok" ? "OK" : store.state),
      [["Where", breakable(store.where)], ["Breaker", breakerMark(store.breaker)], store.keys !== null && ["Counters", amount(store.keys)], store.bytes !== null && ["Memory", store.max_bytes ? `${bytes(store.bytes)} of ${bytes(store.max_bytes)}` : bytes(store.bytes)]]),
    card("Policy", mark(policy.refused.length ? "bad" : "ok", policy.refused.length ? "newer one refused" : `generation ${policy.generation}`),
      [["Source", h("code", {}, breakable(policy.source))], ["Version", h("code", { title: policy.version }, policy.version.slice(0, 12))], ["Loaded", clock(policy.loaded)], ["Limits", `${amount(policy.limits)} in ${plural(policy.domains, "domain")}`], policy.warnings.length > 0 && ["Warnings", h("ul", {}, policy.warnings.map((text) => h("li", {}, text)))]]),
    card("This view", mark("ok", model.gap > 1 ? `sees 1 hit in ${amount(model.gap)}` : "sees every hit"),
      [["Memory", `${bytes(model.bytes)} of ${bytes(model.max_bytes)}`], ["Keeps", `${plural(model.limits, "limit")}, ${plural(model.keys, "key")}`]])));
}

const BREAKER = { closed: ["ok", "closed"], open: ["bad", "open: the store is not asked"], half_open: ["bad", "half open: one call tries"] };
const breakerMark = (breaker) => (BREAKER[breaker] ? mark(...BREAKER[breaker]) : "–");

function card(title, status, facts) {
  return h("div", { class: "card" }, h("h3", {}, title, " ", status), h("dl", { class: "facts" }, facts.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}
