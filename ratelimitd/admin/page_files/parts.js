// Parts that several views have.

/** A section with a heading; side is what stands beside it. */
function panel(title, side, ...children) {
  return h("section", { class: "panel", "aria-label": title }, h("div", { class: "head" }, h("h2", {}, title), side), ...children);
}

const empty = (...children) => h("div", { class: "empty" }, ...children);
const tag = (text, kind = "") => h("span", { class: `tag ${kind}` }, text);
const swatch = (name) => h("span", { class: `swatch ${name}`, "aria-hidden": "true" });
const link = (href, text, attributes = {}) => h("a", { href, ...attributes }, text);
const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);

/** A state by shape, color and word: ● fine, ▲ a problem, ○ neither. */
function mark(kind, text) {
  return h("span", { class: `mark ${kind}` }, h("span", { "aria-hidden": "true" }, { ok: "●", bad: "▲", none: "○" }[kind]), ` ${text}`);
}

/**
 * A table with a caption for screen readers. columns: [{title, number?, wide?, sort?}], rows: [{key, cells}].
 * The titles are repeated at the cells, for a narrow page.
 */
function table(caption, columns, rows, sorted = null) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column) => heading(column, sorted)))),
    h("tbody", {}, rows.map(({ key, cells }) => h("tr", { "data-key": key },
      cells.map((cell, i) => h(i === 0 ? "th" : "td", { class: kindOf(columns[i]), scope: i === 0 && "row", "data-title": columns[i].title }, cell)))))));
}

const kindOf = ({ number, wide, faint }) => [number && "number", wide && "wide", faint && "faint"].filter(Boolean).join(" ") || null;

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
  over_limit: "over the limit",
  new_keys: "too many new keys in this limit",
  override: "over the limit that the request carries",
  quota: "over quota; the caller decides",
};

const DENIAL_COLUMNS = [{ title: "Key", wide: true }, { title: "Limit", wide: true }, { title: "Why", wide: true }, { title: "Denied", number: true }, { title: "At" }, { title: "Passes again" }];

/** Recent denials: the key, the limit that denied it, and when it passes again. */
function denialTable(denials, caption) {
  return table(caption, DENIAL_COLUMNS, denials.map((denial) => ({ key: denialKey(denial), cells: [
    h("code", {}, denial.key),
    link(`#/limit/${denial.id}`, denial.limit),
    h("span", {}, denial.shadow && [tag("shadow"), " "], whyDenied(denial)),
    `${amount(denial.count)}×`,
    clock(denial.time),
    passesAgain(denial),
  ] })));
}

function whyDenied(denial) {
  const cost = denial.cost > 1 ? `, cost ${amount(denial.cost)}` : "";
  return `${WHY[denial.reason] ?? denial.reason}${denial.used === null || denial.used === undefined ? "" : `: ${amount(denial.used)} used`}${cost}`;
}

function passesAgain(denial) {
  if (denial.shadow) return h("span", { class: "muted" }, "passed");
  const left = denial.time + denial.reset_after - now();
  if (left <= 0) return mark("ok", "now");
  return h("span", { title: clockText(denial.time + denial.reset_after) }, `in ${duration(left)}`);
}

/** How to make traffic: the first thing that a newcomer needs. */
function noTraffic(what) {
  const example = state.overview?.example ?? 'ratelimitd check -d DOMAIN KEY=VALUE';
  return empty(h("p", {}, what), h("pre", { tabindex: "0", role: "region", "aria-label": "A command to try" }, h("code", {}, example)));
}
