// Documents of the service, taken into what the page knows.

const SERIES = ["allowed", "denied", "shadowed", "failed"];
const DENIALS = 200; // that are kept; those of one key are one row
const ROWS = { overview: 10, limits: 50 };

function takeOverview(document) {
  state.overview = document;
  state.off = null;
  if (state.history) advance(state.history, document.last);
}

/** Append the last complete step to a history; one that has a gap is fetched again. */
function advance(history, last) {
  const missed = Math.round((last.end - history.end) / history.step);
  if (missed === 1) {
    for (const name of SERIES) history[name] = [...history[name].slice(1), last[name]];
    history.end = last.end;
  } else if (missed > 1) {
    state.history = null;
    live("history").then((fresh) => {
      state.history = fresh;
      changed();
    }, () => undefined);
  }
}

/** New rates of the busiest limits, into the rows that are shown. */
function takeRates(rows) {
  const fresh = new Map(rows.map((row) => [row.id, row]));
  for (const row of state.limits?.limits ?? []) Object.assign(row, fresh.get(row.id));
}

const denialKey = (denial) => `${denial.id} ${denial.key} ${Math.floor(denial.time)} ${denial.reason}`;

/** New denials before the old ones; a later report of one replaces it. */
function takeDenials(fresh) {
  const known = new Map([...fresh, ...(state.denials ?? [])].reverse().map((denial) => [denialKey(denial), denial]));
  for (const denial of fresh) known.set(denialKey(denial), denial);
  state.denials = [...known.values()].sort((a, b) => b.time - a.time).slice(0, DENIALS);
}

async function loadLimits(signal) {
  const { search, sort, order, offset } = state.query;
  const most = ROWS[state.route.view];
  if (!most) return;
  const asked = state.route.view === "overview" ? { sort, order } : { search, sort, order, offset };
  state.limits = await live("limits", { ...asked, limit: most }, { signal });
  changed();
}

const LOAD = {
  async overview(signal) {
    const [history, denials] = await Promise.all([live("history", {}, { signal }), live("denials", { limit: DENIALS }, { signal }), loadLimits(signal)]);
    state.history = history;
    state.denials = denials.denials;
  },
  limits: loadLimits,
  async limit(signal) {
    state.limit = await live("limit", { id: state.route.id }, { signal });
  },
  async key() {},
  async replicas(signal) {
    state.replicas = await live("replicas", {}, { signal });
  },
};

/** Fetch what the view begins with; its stream goes on from there. */
async function loadView(signal) {
  takeOverview(await live("overview", {}, { signal }));
  state.error = "";
  try {
    await LOAD[state.route.view](signal);
  } catch (error) {
    if (!(error instanceof Refused) || error.status >= 500) throw error;
    state.error = error.message; // asking again would be answered alike; the rest of the page goes on
  }
  changed();
}
