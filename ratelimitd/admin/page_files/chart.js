// Charts: stacked areas and lines over time, one step a column, in an SVG that stretches.

const HEIGHT = 100; // units of the viewBox; its width is the number of steps

/** Edges of a stepped line as path commands: level by level, equal neighbours merged. */
function stepped(levels, scale, from = 0) {
  let path = "";
  levels.forEach((level, i) => {
    if (i > 0 && level === levels[i - 1]) return;
    path += `${i === 0 ? `M${from}` : `H${from + i}V`}${i === 0 ? `,${y(level, scale)}` : y(level, scale)}`;
  });
  return `${path}H${from + levels.length}`;
}

const y = (level, scale) => Math.round((HEIGHT - (HEIGHT * level) / scale) * 100) / 100;

function band(lower, upper, scale) {
  let path = stepped(upper, scale);
  for (let i = lower.length - 1; i >= 0; i -= 1) path += `V${y(lower[i], scale)}H${i}`;
  return `${path}Z`;
}

/** The least of 1, 2, 2.5, 5 × 10ⁿ that is not below a number. */
function ceiling(number) {
  const power = 10 ** Math.floor(Math.log10(number || 1));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= number * 0.999);
}

/** Areas stacked in their order: [[lower, upper] of each]. */
function stacked(areas) {
  let lower = areas[0].values.map(() => 0);
  return areas.map(({ values }) => {
    const upper = values.map((value, i) => value + lower[i]);
    const pair = [lower, upper];
    lower = upper;
    return pair;
  });
}

/**
 * A chart with axes and a cursor, which the pointer and the arrow keys move.
 * series: [{name, label, values: a second, line?, over?: an area that is not stacked}], all of one length; end: of the last step, unix seconds.
 */
function chart({ id, label, series, end, step }) {
  const count = series[0].values.length;
  const areas = series.filter((each) => !each.line && !each.over);
  const overlays = series.filter((each) => each.over);
  const lines = series.filter((each) => each.line);
  const pairs = areas.length ? stacked(areas) : [];
  const peak = Math.max(...(pairs.at(-1)?.[1] ?? [0]), ...[...lines, ...overlays].flatMap((each) => each.values));
  const scale = ceiling(peak) || 1;
  const at = state.cursors.get(id) ?? null;
  const start = end - count * step;
  return h("div", { class: "chart" },
    h("div", { class: "axis-y", "aria-hidden": "true" }, [scale, scale / 2, 0].map((level) => h("span", {}, amount(level)))),
    h("div", {
      class: "plot", tabindex: "0", role: "slider", "aria-label": `${label}; arrow keys move through the time`,
      "aria-valuemin": "0", "aria-valuemax": String(count - 1), "aria-valuenow": String(at ?? count - 1),
      "aria-valuetext": readout(series, at ?? count - 1, start, step),
      onkeydown: (event) => moveCursor(event, id, count),
      onpointermove: (event) => pointAt(event, id, count),
      onpointerleave: () => leaveChart(id),
    }, h("svg", { viewBox: `0 0 ${count} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      [0, 0.5, 1].map((part) => h("line", { class: "grid", x1: 0, x2: count, y1: part * HEIGHT, y2: part * HEIGHT })),
      areas.map(({ name }, i) => h("path", { class: `area ${name}`, d: band(...pairs[i], scale) })),
      overlays.map(({ name, values }) => h("path", { class: `area over ${name}`, d: band(values.map(() => 0), values, scale) })),
      lines.map(({ name, values }) => h("path", { class: `stroke ${name}`, d: stepped(values, scale) })),
      at !== null && h("line", { class: "cursor", x1: at + 0.5, x2: at + 0.5, y1: 0, y2: HEIGHT }))),
    h("svg", { class: "axis-x", "aria-hidden": "true" },
      wholeMinutes(start, end).map((time) => h("text", { x: `${(100 * (time - start)) / (end - start)}%`, y: "1rem", class: end - time < (end - start) / 25 && "last" }, minuteText(time))), h("text", { class: "zone", x: "-1.9rem", y: "1rem" }, zone(end))));
}

/** Whole minutes of a chart's time, at most seven of them. */
function wholeMinutes(start, end) {
  const apart = 60 * [1, 2, 5, 10, 15].find((minutes) => (end - start) / 60 / minutes <= 6);
  const first = Math.ceil(start / apart) * apart;
  return Array.from({ length: Math.floor((end - first) / apart) + 1 }, (_, i) => first + i * apart);
}

/** The values of one step as text. */
function readout(series, at, start, step) {
  return `${clockText(start + at * step)}: ${series.map(({ label, values }) => `${label} ${rate(values[at])}`).join(", ")}`;
}

const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -30, PageUp: 30 };

function moveCursor(event, id, count) {
  const at = state.cursors.get(id) ?? count - 1;
  if (event.key === "Escape") leaveChart(id);
  else if (event.key === "Home") setCursor(id, 0);
  else if (event.key === "End") setCursor(id, count - 1);
  else if (event.key in MOVES) setCursor(id, Math.min(count - 1, Math.max(0, at + MOVES[event.key])));
  else return;
  event.preventDefault();
}

function pointAt(event, id, count) {
  const { left, width } = event.currentTarget.getBoundingClientRect();
  setCursor(id, Math.min(count - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * count))));
}

function setCursor(id, at) {
  state.cursors.set(id, at);
  changed();
}

function leaveChart(id) {
  state.cursors.delete(id);
  changed();
}

const SPAN_STEPS = [30, 60, 120, 180, 360];

/** The end of a history that has its traffic: a service that has just begun shows minutes rather than an empty hour. */
function recent(history) {
  const first = history.allowed.findIndex((_, i) => SERIES.some((name) => history[name][i] > 0));
  const length = history.allowed.length;
  const kept = SPAN_STEPS.find((steps) => first >= length - steps) ?? (first < 0 ? SPAN_STEPS[0] : length);
  return { ...history, ...Object.fromEntries(SERIES.map((name) => [name, history[name].slice(-kept)])) };
}

const spanText = (history) => `last ${history.allowed.length === 360 ? "hour" : duration(history.allowed.length * history.step)}`;

/** A history's counts as hits a second, in the order in which they are stacked; those that failed may be among the others. */
function seriesOf(history) {
  return SERIES.map((name) => ({ name, label: LABELS[name], values: history[name].map((count) => count / history.step), over: name === "failed" }));
}

/** Hits of counts or rates: those whose store failed are among the others too, where on_store_failure decided them. */
const hitsOf = ({ allowed, denied, shadowed, failed }) => Math.max(allowed + denied + shadowed, failed);

const LABELS = { allowed: "Allowed", denied: "Denied", shadowed: "Shadow denied", failed: "Store failed" };

/** The hour in a sentence, for all readers. */
function summary(history) {
  const totals = Object.fromEntries(SERIES.map((name) => [name, sum(history[name])]));
  const all = sum(history.allowed.map((_, i) => hitsOf(Object.fromEntries(SERIES.map((name) => [name, history[name][i]])))));
  const failed = totals.failed === 0 ? "" : ` The store failed for ${plural(totals.failed, "hit")}.`;
  if (all === 0) return "No hits in the last hour.";
  const worst = history.denied.indexOf(Math.max(...history.denied));
  const most = totals.denied === 0 ? "" : `, most at ${minuteText(history.end - (history.denied.length - worst) * history.step)} ${zone(history.end)}`;
  return `In the last hour ${plural(all, "hit")}; ${amount(totals.denied)} denied (${percent(totals.denied / all)})${most}.${failed}`;
}

/** A row's last hour, small: denied on allowed. */
function sparkline(spark, name) {
  if (!spark) return h("span", { class: "muted" }, "–");
  const pairs = stacked([{ values: spark.allowed }, { values: spark.denied }]);
  const scale = Math.max(...pairs[1][1], 1);
  const text = `${name}, last hour: ${amount(sum(spark.allowed))} allowed, ${amount(sum(spark.denied))} denied`;
  return h("svg", { class: "spark", role: "img", "aria-label": text, viewBox: `0 0 ${spark.allowed.length} ${HEIGHT}`, preserveAspectRatio: "none" },
    h("path", { class: "area allowed", d: band(...pairs[0], scale) }), h("path", { class: "area denied", d: band(...pairs[1], scale) }));
}

/** A share as a bar and as text. */
function gauge(share) {
  if (share === null || share === undefined) return h("span", { class: "muted" }, "–");
  const level = share >= 1 ? "full" : share >= 0.8 ? "near" : "low";
  return h("span", { class: "gauge" }, h("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    h("rect", { class: "rail", width: 100, height: 10 }), h("rect", { class: level, width: Math.min(100, share * 100), height: 10 })), percent(share));
}
