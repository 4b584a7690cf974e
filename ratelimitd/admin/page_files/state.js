// What the page knows. The token is here and nowhere else: it ends with the tab.

const state = {
  token: null,
  all: false,
  theme: "auto",
  skew: 0, // the service's clock less the browser's, seconds
  stream: { state: "connecting", until: 0, reason: "" },
  off: null, // the service's words while LIVE_MAX_BYTES=0
  overview: null,
  history: null,
  denials: null,
  limits: null, // the page of the table that is shown
  query: { search: "", sort: "denied", order: "desc", offset: 0 },
  limit: null,
  ranking: { span: "minute", by: "hits" },
  whatIf: { algorithm: null, result: null, error: "", busy: false },
  key: { form: 0, domain: "", descriptor: "", result: null, explained: null, error: "", done: "" },
  replicas: null,
  route: { view: "overview", id: "" },
  cursors: new Map(), // where the reader is in a chart, by the chart's name
  error: "",
};

const now = () => Date.now() / 1000 + state.skew;

let drawing = false;

/** Draw once in the next frame, however many things changed. */
function changed() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}
