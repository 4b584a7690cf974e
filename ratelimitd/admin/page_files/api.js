// Requests to the service that served this page.

class Refused extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const authorization = () => (state.token === null ? {} : { Authorization: `Bearer ${state.token}` });

const MERGED = new Set(["overview", "history", "limits", "limit", "denials"]); // what the service adds up over replicas

/** The address of a page below /live/, with the parameters that have a value. */
function livePath(name, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null));
  if (state.all && MERGED.has(name)) query.set("all", "1");
  const text = query.toString();
  return `/live/${name}${text ? `?${text}` : ""}`;
}

/** Ask for a JSON document; throws Refused, or TypeError where the service does not answer. */
async function ask(path, { method = "GET", body = null, signal = null } = {}) {
  const headers = { Accept: "application/json", ...authorization(), ...(body && { "Content-Type": "application/json" }) };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  const text = await response.text();
  const document = parsed(text);
  if (response.ok) return document;
  const refused = refusedBy(response, text);
  checkRefusal(refused);
  throw refused;
}

function refusedBy(response, text) {
  const document = parsed(text);
  const refused = new Refused(response.status, document?.error ?? (text.trim() || `status ${response.status}`), response.headers.get("Retry-After"));
  refused.document = document;
  return refused;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A token that is no longer valid is forgotten; a live view that is off is remembered. */
function checkRefusal(refused) {
  if (refused.status === 401 && state.token !== null) forgetToken("The service does not accept the token any more. Enter it again.");
  if (refused.status === 404 && refused.message.includes("LIVE_MAX_BYTES")) {
    state.off = refused.message;
    changed();
  }
}

/** Take a document's time as the service's clock. */
function dated(document) {
  if (document?.time) state.skew = document.time - Date.now() / 1000;
  return document;
}

const live = async (name, parameters, options) => dated(await ask(livePath(name, parameters), options));
