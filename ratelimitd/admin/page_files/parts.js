// Parts that several views have.

/** A section with a heading; side is what stands beside it. */
function panel(title, side, ...children) {
  return h("section", { class: "panel", "aria-label": title }, h("div", { class: "head" }, h("h2", {}, title), side), ...children);
}

const empty = (...children) => h("div", { class: "empty" }, ...children);
const tag = (text, kind = "") => h("span", { class: `tag ${kind}` }, text);
/** A name that may be broken after its separators, rather than in a word. */
const breakable = (name) => name.split(/(?<=[./,_])/).flatMap((part) => [part, h("wbr")]);
const swatch = (name) => h("span", { class: `swatch ${name}`, "aria-hidden": "true" });
const link = (href, text, attributes = {}) => h("a", { href, ...attributes }, text);
const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);

/** The way to see keys as they are, in a sentence. */
function tokenButton() {
  if (state.overview.token === false) return button("how to see them", () => askToken(), { class: "inline" });
  return h("span", {}, button("enter the token", () => askToken(), { class: "inline" }), " to see them");
}

/** A state by shape, color and word: ● fine, ▲ a problem, ○ neither. */
function mark(kind, text) {
  return h("span", { class: `mark ${kind}` }, h("span", { "aria-hidden": "true" }, { ok: "●", bad: "▲", none: "○" }[kind]), ` ${text}`);
}

/**
 * A table with a caption for screen readers. columns: [{title, number?, wide?, bare?, sort?}], rows: [{key, cells}].
 * The titles are repeated at the cells, for a narrow page.
 */
function table(caption, columns, rows, sorted = null) {
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, h("table", {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column) => heading(column, sorted)))),
    h("tbody", {}, rows.map(({ key, cells }) => h("tr", { "data-key": key },
      cells.map((cell, i) => h(i === 0 ? "th" : "td", { class: kindOf(columns[i]), scope: i === 0 && "row", "data-title": columns[i].title }, cell)))))));
}

const kindOf = ({ number, wide, bare }) => [number && "number", wide && "wide", bare && "bare"].filter(Boolean).join(" ") || null;

function heading(column, sorted) {
  const attributes = { scope: "col", class: kindOf(column) };
  if (!column.sort || !sorted) return h("th", attributes, column.title);
  const current = sorted.sort === column.sort;
  const order = current && sorted.order === "desc" ? "asc" : current ? "desc" : column.sort === "name" ? "asc" : "desc";
  const arrow = current ? (sorted.order === "desc" ? "↓" : "↑") : "";
  return h("th", { ...attributes, "aria-sort": current ? { desc: "descending", asc: "ascending" }[sorted.order] : null },
    button([column.title, h("span", { class: "arrow", "aria-hidden": "true" }, arrow)], () => sorted.by(column.sort, order), { class: "sort" }));
}

/** One of several choices, as a group of buttons. */
function choice(label, options, current, choose) {
  return h("div", { class: "choice", role: "group", "aria-label": label },
    Object.entries(options).map(([value, text]) => button(text, () => choose(value), { "aria-pressed": String(value === current) })));
}

const field = (label, control, hint) => h("label", { class: "field" }, h("span", {}, label), control, hint && h("small", {}, hint));

const WHY = {
  over_limit: "over the limit", // or over what the limit allows, where the service says that
  new_keys: "too many new keys in this limit",
  override: "over the limit that the request carries",
  quota: "over quota; the caller decides",
  store_failure: "the store failed",
};

const DENIAL_COLUMNS = [{ title: "Key", wide: true }, { title: "Limit", wide: true }, { title: "Why", wide: true }, { title: "Denied", number: true }, { title: "Passes again" }];

/** Recent denials: the key, the limit that denied it, and when it passes again. One row a key and limit, so that a flood of one hides no other. */
function denialTable(denials, most, caption, limitShown = true) {
  const shown = (list) => (limitShown ? list : list.filter((_, i) => i !== 1));
  const columns = [...DENIAL_COLUMNS, { title: `Last, ${zone()}` }];
  return table(caption, shown(columns), ofKeys(denials).slice(0, most).map((denial) => ({ key: `${denial.id} ${denial.key} ${denial.reason}`, cells: shown([
    h("code", {}, breakable(denial.key)),
    link(`#/limit/${denial.id}`, breakable(denial.limit)),
    h("span", {}, denial.shadow && [tag("shadow"), " "], whyDenied(denial)),
    `${amount(denial.count)}×`,
    passesAgain(denial),
    clock(denial.time, timeText),
  ]) })));
}

/** The burst of a limit, where it is another number than its requests. */
const burstText = ({ burst, requests_per_unit: requests }) => (burst && burst !== requests ? `, burst ${amount(burst)}` : "");

/** The last denial of each key, limit and reason, with the sum of their counts; newest first. */
function ofKeys(denials) {
  const last = new Map();
  for (const denial of denials) {
    const key = `${denial.id} ${denial.key} ${denial.reason}`;
    const seen = last.get(key);
    last.set(key, seen ? { ...seen, count: seen.count + denial.count } : denial);
  }
  return [...last.values()];
}

function whyDenied({ reason, summary: allowed, used, cost, burst }) {
  const why = reason === "over_limit" && allowed ? `over ${grouped(allowed)}${burst ? `, burst ${amount(burst)}` : ""}` : (WHY[reason] ?? reason);
  return [why, used > 0 && reason !== "store_failure" && `: ${amount(used)} used`, cost > 1 && `, cost ${amount(cost)}`];
}

function passesAgain(denial) {
  if (denial.shadow) return h("span", { class: "muted" }, "passed");
  if (denial.reset_after === null) return mark("bad", "never: cost too high");
  const left = denial.time + denial.reset_after - now();
  if (left <= 0) return mark("ok", "now");
  return h("span", { title: clockText(denial.time + denial.reset_after) }, `in ${duration(left)}`);
}

/** How to make traffic: the first thing that a newcomer needs. */
function noTraffic(what) {
  const example = state.overview?.example || "ratelimitd check -d DOMAIN KEY=VALUE";
  return empty(h("p", {}, what), h("pre", { tabindex: "0", role: "region", "aria-label": "A command to try" }, h("code", {}, example)));
}
