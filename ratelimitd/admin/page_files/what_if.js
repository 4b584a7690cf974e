// What-if: the hour of a limit, replayed with other numbers.

const UNITS = ["second", "minute", "hour", "day", "week", "month", "year"];
const ALGORITHMS = ["fixed_window", "sliding_window", "sliding_window_counter", "token_bucket", "leaky_bucket", "gcra"];
const METERS = new Set(["token_bucket", "leaky_bucket", "gcra"]);

function whatIfPanel(limit) {
  const { result, error, busy } = state.whatIf;
  const algorithm = state.whatIf.algorithm ?? limit.algorithm;
  const number = (name, value, more) => h("input", { name, type: "number", min: "0", max: "4294967295", value: String(value ?? ""), inputmode: "numeric", ...more });
  const select = (name, options, current, onchange) => h("select", { name, onchange }, options.map((option) => h("option", { value: option, selected: option === current }, option)));
  return panel("What if", h("p", { class: "muted" }, `replays the last hour of this limit${state.all ? " on this replica alone" : ""} with other numbers; nothing changes in the service`),
    h("form", { class: "form", "data-key": `what-if ${limit.id}`, onsubmit: (event) => askWhatIf(event, limit) },
      field("Requests", number("requests_per_unit", limit.requests_per_unit)), field("in", number("unit_multiplier", limit.unit_multiplier)), field("Unit", select("unit", UNITS, limit.unit)),
      field("Algorithm", select("algorithm", ALGORITHMS, limit.algorithm, takeAlgorithm)), field("Burst", number("burst", METERS.has(limit.algorithm) ? limit.burst : "", { disabled: !METERS.has(algorithm) })),
      h("button", { type: "submit", class: "primary", disabled: busy }, busy ? "Replaying …" : "Replay the hour")),
    error && h("p", { class: "wrong", role: "alert" }, error), result && whatIfResult(result));
}

/** Only some algorithms have a burst. */
function takeAlgorithm(event) {
  state.whatIf.algorithm = event.target.value;
  changed();
}

async function askWhatIf(event, limit) {
  event.preventDefault();
  const asked = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
  const replay = { ...state.whatIf, busy: true, error: "" }; // of this limit, also if another one is shown meanwhile
  state.whatIf = replay;
  changed();
  try {
    replay.result = await live("what-if", { id: limit.id, ...asked });
    announce(changeText(replay.result));
  } catch (error) {
    replay.error = error.status === 503 ? `${error.message}. Try again in ${error.retryAfter ?? "a few"} s.` : reasonOf(error);
  }
  replay.busy = false;
  changed();
}

/** The two outcomes in one sentence. */
function changeText({ configured, changed: other }) {
  const said = (run) => {
    const denied = sum(run.denied);
    return `${amount(denied)} denied (${percent(denied / (denied + sum(run.allowed)) || 0)})`;
  };
  return `${configured.summary}: ${said(configured)}. ${other.summary}, ${other.algorithm}: ${said(other)}.`;
}

function whatIfResult(result) {
  const a_second = (run) => run.denied.map((count) => count / result.step);
  const series = [
    { name: "denied", label: `As configured: ${result.configured.summary}`, values: a_second(result.configured) },
    { name: "changed", label: `Changed: ${result.changed.summary}`, values: a_second(result.changed), line: true },
  ];
  const at = state.cursors.get("what-if");
  const start = result.end - series[0].values.length * result.step;
  return h("div", { class: "what-if" }, h("p", { class: "said" }, changeText(result)),
    h("p", { class: "legend" }, series.map(({ name, label }) => h("span", {}, swatch(name), label)), h("span", { class: "muted" }, at === undefined ? "denied hits a second" : readout(series, at, start, result.step))),
    chart({ id: "what-if", label: "Denied hits a second, as configured and changed", series, end: result.end, step: result.step }),
    h("p", { class: "foot" }, `${capital(result.note)}${result.note.endsWith(".") ? "" : "."} ${plural(result.keys, "key")}${result.exact ? "" : ", estimated"}.`));
}
