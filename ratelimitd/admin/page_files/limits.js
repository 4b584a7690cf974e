// The table of limits: the service searches, sorts and cuts pages, so that 10,000 limits cost a page as much as ten.

const LIMIT_COLUMNS = [
  { title: "Limit", sort: "name", wide: true }, { title: "Allows" }, { title: "Last hour" }, { title: "Hits now", number: true, sort: "rate" },
  { title: "Denied now", number: true, sort: "denied" }, { title: "Denied in total", number: true }, { title: "Fullest key", sort: "use" }, { title: "Keys", number: true, sort: "keys" },
];

function limitsTable() {
  const { limits, query } = state;
  if (!limits) return empty("Loading …");
  if (limits.limits.length === 0) return empty(query.search && state.route.view === "limits" ? `No limit has “${query.search}” in its name or domain.` : "The policy has no limits.");
  return table("Limits", LIMIT_COLUMNS, limits.limits.map(limitRow), { ...query, by: sortBy });
}

function limitRow(row) {
  return { key: row.id, cells: [
    h("span", {}, link(`#/limit/${row.id}`, breakable(row.name)), modeTags(row)),
    h("span", {}, allows(row), h("small", { class: "muted" }, burstText(row))),
    sparkline(row.spark, row.name),
    rate(hitsOfRow(row)),
    h("span", { class: row.rates.denied > 0 ? "denied-text" : "muted" }, rate(row.rates.denied)),
    amount(row.totals.denied),
    gauge(row.use),
    amount(row.active_keys),
  ] };
}

/** Hits a second. A hit whose store failed is among those of what was decided instead, unless the answer was an error. */
const hitsOfRow = ({ rates, on_store_failure: policy }) => rates.allowed + rates.denied + rates.shadowed + (policy === "error" ? rates.failed : 0);
const allows = (row) => (row.unlimited ? "no limit" : grouped(row.summary));
const modeTags = (row) => [row.mode === "shadow" && [" ", tag("shadow")], row.mode === "quota" && [" ", tag("quota")]];

function sortBy(sort, order) {
  Object.assign(state.query, { sort, order, offset: 0 });
  reload();
}

/** Ask for the page of the table again; an answer that a later question overtook is dropped. */
let asking = null;
async function reload() {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    await loadLimits(signal);
    state.error = "";
  } catch (error) {
    if (!signal.aborted) state.error = reasonOf(error);
  }
  changed();
}

let typing = 0;
function search(text) {
  Object.assign(state.query, { search: text, offset: 0 });
  clearTimeout(typing);
  typing = setTimeout(async () => {
    await reload();
    if (state.limits) announce(plural(state.limits.total, "limit"));
  }, 200);
}

function limitsView() {
  return h("div", { class: "view" }, h("h1", { tabindex: "-1" }, "Limits"),
    h("div", { class: "bar" }, h("input", { type: "search", placeholder: "Search name or domain", "aria-label": "Search limits by name or domain", autocomplete: "off", spellcheck: "false", oninput: (event) => search(event.target.value) }), pager()),
    h("section", { class: "panel", "aria-label": "Limits" }, limitsTable()));
}

const ALL_ROWS = 200; // rows of all replicas that the service adds up

function pager() {
  const { limits, query } = state;
  if (!limits) return null;
  const last = Math.min(limits.total, query.offset + ROWS.limits);
  const go = (offset) => () => {
    state.query.offset = offset;
    reload();
  };
  return h("div", { class: "pager" },
    h("span", { class: "muted" }, limits.total ? `${query.offset + 1}–${last} of ${grouped(limits.total)}` : "none"),
    button("Previous", go(Math.max(0, query.offset - ROWS.limits)), { disabled: query.offset === 0 }),
    button("Next", go(query.offset + ROWS.limits), { disabled: last >= limits.total || (state.all && last >= ALL_ROWS) }));
}
