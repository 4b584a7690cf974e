// One limit: what it is, the hour, its top keys, its denials, and what another number would do.

const SPANS = { minute: "1 min", ten_minutes: "10 min", hour: "1 h" };
const RANKS = { hits: "by hits", denied: "by denied" };

function limitView() {
  const document = state.limit;
  if (state.error && !document) return h("div", { class: "view" }, h("h1", { tabindex: "-1" }, "Limit"), empty(h("p", {}, state.error), h("p", {}, link("#/limits", "All limits"))));
  if (document?.limit?.id !== state.route.id) return h("div", { class: "view" }, h("h1", { tabindex: "-1" }, "Limit"), empty("Loading …"));
  const { limit, history } = document;
  return h("div", { class: "view" },
    h("p", { class: "crumbs" }, link("#/limits", "Limits"), " / ", limit.domain),
    h("h1", { tabindex: "-1" }, limit.name, modeTags(limit)), h("p", { class: "lead" }, allows(limit), burstText(limit)),
    limitTraffic(limit, history), h("div", { class: "halves" }, topKeys(document), placePanel(limit)),
    panel("Recent denials", null, document.denials.length ? denialTable(document.denials, 20, `Recent denials of ${limit.name}, newest first`, false) : empty("This limit denied nothing lately.")),
    ALGORITHMS.includes(limit.algorithm) && whatIfPanel(limit));
}

function limitTraffic(limit, history) {
  if (!history) return panel("Traffic", null, empty("No traffic in the last hour, or more limits have traffic than LIVE_MAX_BYTES has room for."));
  return trafficOf("limit", `Hits a second of ${limit.name}`, history, limit.rates, null);
}

function topKeys(document) {
  const { span, by } = state.ranking;
  const choose = (name) => (value) => {
    state.ranking[name] = value;
    changed();
  };
  const keys = [...document.keys].filter((key) => key[span][by] > 0).sort((a, b) => b[span][by] - a[span][by]);
  const side = h("div", { class: "bar" }, choice("Time", SPANS, span, choose("span")), choice("Order", RANKS, by, choose("by")));
  if (keys.length === 0) return panel("Top keys", side, empty(by === "denied" ? "No key was denied in this time." : "No key in this time."));
  const columns = [{ title: "Key", wide: true }, { title: "Hits", number: true }, { title: "Denied", number: true }, { title: "Used" }, { title: "Remaining", number: true }, { title: "Resets in", number: true }, ...(state.overview?.authorized ? [{ title: "Look up", bare: true }] : [])];
  return panel("Top keys", side, table(`Top keys of ${document.limit.name}`, columns, keys.map((key) => keyRow(key, span, document.limit))),
    h("p", { class: "foot" }, `${capital(document.keys_error.text)}.`, state.overview?.authorized ? "" : [" Keys are hashed; ", tokenButton(), "."]));
}

function keyRow(key, span, limit) {
  const whole = key.used === null || key.remaining === null ? null : key.used + key.remaining;
  const begun = key.reset_after === 0; // what was counted has expired since the key was seen
  return { key: key.key, cells: [
    h("code", {}, breakable(key.key)),
    h("span", { title: key.error > 0 ? `up to ${amount(key.error)} more before it was listed` : null }, amount(key[span].hits)),
    h("span", { class: key[span].denied > 0 ? "denied-text" : "muted" }, amount(key[span].denied)),
    gauge(whole ? (begun ? 0 : key.used / whole) : null), amount(begun ? whole : key.remaining), begun ? "–" : duration(key.reset_after),
    ...(state.overview?.authorized ? [key.descriptor && button("Look up", () => lookUp(limit.domain, key.descriptor), { "aria-label": `Look up ${key.key}` })] : []),
  ] };
}

/** Where the limit stands in the policy, as the path of descriptors to it. */
function placePanel(limit) {
  const steps = [limit.domain, ...limit.path];
  const { where } = limit;
  return panel("Place in the policy", null,
    h("ol", { class: "path" }, steps.map((step, i) => h("li", { class: `depth-${Math.min(i, 6)}` }, h("code", {}, step), i === steps.length - 1 && h("strong", {}, ` ${allows(limit)}`)))),
    h("dl", { class: "facts" }, [
      ["Written in", where ? h("code", {}, where.file ? `${where.file}${where.line ? `:${where.line}` : ""}` : where.resource) : "–"],
      limit.limit !== "" && ["Item", limit.limit],
      ["Algorithm", limit.algorithm ?? "–"], ["Mode", MODES[limit.mode] ?? limit.mode],
      ["If the store fails", limit.on_store_failure], ["Active keys", limit.active_keys === null ? "–" : `about ${amount(limit.active_keys)}`], ["Fullest key", gauge(limit.use)],
    ].filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

const MODES = { enforced: "enforced", shadow: "shadow: counted, never denied", quota: "quota: the caller is told, and decides" };
