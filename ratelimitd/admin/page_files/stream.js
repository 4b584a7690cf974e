// Server-sent events, read by fetch() so that the token travels in a header. A hidden page reads nothing.

const FIRST_WAIT = 1; // seconds; doubled after each failure
const LONGEST_WAIT = 30;
const SILENCE = 40; // seconds without a byte: the service sends a heartbeat every 15 s
const POLL = 5; // seconds between documents of all replicas, which have no stream

let reading = null; // the AbortController of the stream in progress
let timer = 0;
let failures = 0;
let ending = false; // the service said that it shuts down

/** Begin again: for another view, token or scope, or after a pause. */
function restart() {
  stop();
  if (document.hidden) return setStream("paused");
  failures = 0;
  connect();
}

function stop() {
  clearTimeout(timer);
  reading?.abort();
  reading = null;
}

function setStream(name, reason = "", until = 0) {
  const was = state.stream.state;
  state.stream = { state: name, reason, until };
  if (was !== name && name === "lost") announce("The connection to the service is lost.");
  if (was === "lost" && name === "live") announce("The connection to the service is back.");
  changed();
}

async function connect() {
  const controller = new AbortController();
  reading = controller;
  if (failures === 0) setStream("connecting");
  try {
    await loadView(controller.signal);
    if (state.all) return await poll(controller);
    await readEvents(controller);
    retry(controller, ending ? "the service is shutting down; its replacement may be at another address" : "the service closed the stream");
  } catch (error) {
    if (!controller.signal.aborted) retry(controller, reasonOf(error));
  }
}

const reasonOf = (error) => (error instanceof Refused ? error.message : "the service does not answer; it may be restarting");

function retry(controller, reason) {
  if (controller.signal.aborted || state.off) return;
  controller.abort();
  const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures) * (0.75 + Math.random() / 2);
  failures += 1;
  setStream("lost", reason, Date.now() + wait * 1000);
  timer = setTimeout(connect, wait * 1000);
}

async function poll(controller) {
  setStream("live");
  failures = 0;
  timer = setTimeout(async () => {
    try {
      await loadView(controller.signal);
      await poll(controller);
    } catch (error) {
      if (!controller.signal.aborted) retry(controller, reasonOf(error));
    }
  }, POLL * 1000);
}

async function readEvents(controller) {
  const parameters = state.route.view === "limit" ? { id: state.route.id } : {};
  const response = await fetch(livePath("events", parameters), {
    headers: { Accept: "text/event-stream", ...authorization() }, signal: controller.signal, cache: "no-store",
  });
  if (!response.ok) throw refusedBy(response, await response.text());
  setStream("live");
  failures = 0;
  ending = false;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const split = events();
  for (;;) {
    const { value, done } = await within(reader.read(), SILENCE);
    if (done) return;
    for (const [name, data] of split(value)) onEvent(name, data);
  }
}

function within(promise, seconds) {
  let late;
  const limit = new Promise((_, reject) => (late = setTimeout(() => reject(new Error("silence")), seconds * 1000)));
  return Promise.race([promise, limit]).finally(() => clearTimeout(late));
}

/** Return a function that takes text and yields [event, document] for each complete event (WHATWG HTML, 9.2). */
function events() {
  let rest = "";
  return function* split(text) {
    rest += text.replaceAll("\r", "");
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const lines = rest.slice(0, end).split("\n");
      rest = rest.slice(end + 2);
      const field = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, ""));
      const document = parsed(field("data").join("\n"));
      if (document !== null) yield [field("event")[0] ?? "message", document];
    }
  };
}

const ON_EVENT = {
  overview: (document) => takeOverview(document),
  limits: (document) => takeRates(document.limits),
  denials: (document) => takeDenials(document.denials),
  limit: (document) => (state.limit = document),
  shutdown: () => (ending = true),
};

function onEvent(name, document) {
  dated(document);
  ON_EVENT[name]?.(document);
  changed();
}
