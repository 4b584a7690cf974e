// Look up a key, and reset it. Both need the token; keys and token travel in bodies and headers, never in a URL.

function keyView() {
  const { key } = state;
  return h("div", { class: "view narrow" }, h("h1", { tabindex: "-1" }, "Look up a key"),
    h("section", { class: "panel", "aria-label": "Key" },
      h("form", { class: "form", "data-key": `key ${key.form}`, onsubmit: askKey },
        field("Domain", h("input", { name: "domain", required: true, value: key.domain, autocomplete: "off", spellcheck: "false", placeholder: "shop" })),
        field("Descriptor", h("input", { name: "descriptor", required: true, value: key.descriptor, autocomplete: "off", spellcheck: "false", placeholder: "user=alice,path=/cart" }), "key=value, with commas between; a comma in a value is \\,"),
        h("button", { type: "submit", class: "primary" }, "Look up")),
      state.token === null && h("p", { class: "foot" }, "This needs the admin token (ADMIN_TOKEN); you are asked for it. A look-up counts nothing."),
      key.error && h("p", { class: "wrong", role: "alert" }, key.error),
      key.done && h("p", { class: "right" }, mark("ok", key.done))),
    key.result && keyResult(key.result));
}

/** Open the view with a key; it stays out of the URL. */
function lookUp(domain, descriptor) {
  state.key = { form: state.key.form + 1, domain, descriptor, result: null, explained: null, error: "", done: "" };
  location.hash = "#/key";
  changed();
  readKey();
}

async function askKey(event) {
  event.preventDefault();
  const { domain, descriptor } = Object.fromEntries(new FormData(event.target));
  state.key = { ...state.key, domain: domain.trim(), descriptor: descriptor.trim(), done: "" };
  await readKey();
}

async function readKey() {
  await withKey(async (body) => {
    const [result, explained] = await Promise.all([ask("/admin/key", { method: "POST", body }), ask("/admin/explain", { method: "POST", body }).catch(() => null)]);
    Object.assign(state.key, { result, explained });
    announce("The key's counters are shown.");
  });
}

/** Run an admin request for the key of the form, with the token, and show what is wrong with it. */
async function withKey(run) {
  Object.assign(state.key, { error: "" });
  if (state.token === null && !(await askToken())) return;
  try {
    await run({ domain: state.key.domain, descriptors: [{ entries: entriesOf(state.key.descriptor) }] });
  } catch (error) {
    Object.assign(state.key, { result: error.document?.descriptors ? error.document : null, error: keyError(error) });
  }
  changed();
}

function keyError(error) {
  if (error instanceof Refused && error.document === null && error.status === 404) return "This service has no admin API: set ADMIN_TOKEN or ADMIN_TOKEN_FILE and start it again.";
  if (error instanceof TypeError) return "The service does not answer.";
  const tried = error.document?.tried;
  return tried ? `${error.message}: ${tried.domain} ${tried.descriptors.join(" ")}` : error.message;
}

/** Read "key=value,key=value" as `ratelimitd check` does: a backslash before a comma or a backslash takes it as it is. */
function entriesOf(text) {
  const pieces = [""];
  for (const [part] of text.matchAll(/\\.|[^\\]/gs)) {
    if (part === ",") pieces.push("");
    else pieces[pieces.length - 1] += part.length === 2 ? part[1] : part;
  }
  return pieces.map(entryOf);
}

function entryOf(piece) {
  const at = piece.indexOf("=");
  if (at < 1) throw new Error(`“${piece}” is not an entry: write key=value, or key= for an empty value`);
  return { key: piece.slice(0, at), value: piece.slice(at + 1) };
}

function keyResult(result) {
  return result.descriptors.map(({ descriptor, unlimited, limits }, i) => panel(descriptor, button("Reset this key …", confirmReset, { class: "danger" }),
    unlimited && empty("A limit of this key says unlimited: it always passes."),
    limits.map(counter),
    whyMatched(state.key.explained?.descriptors?.[i])));
}

function whyMatched(explained) {
  return explained && h("details", { open: true }, h("summary", {}, "Why these limits"), h("ol", { class: "why" }, explained.text.map((line) => h("li", {}, line))));
}

function counter(limit) {
  const whole = limit.used + limit.remaining;
  const status = limit.failure ? mark("bad", "the store did not answer") : limit.allowed ? mark("ok", "passes now") : mark("bad", `denied for ${duration(limit.reset_after_seconds)}`);
  return h("div", { class: "counter" }, h("h3", {}, limit.limit || "Limit", " ", status, limit.shadow_mode && [" ", tag("shadow")]),
    h("dl", { class: "facts" }, [
      limit.quota !== undefined && ["Allows", `${amount(limit.quota)} in ${duration(limit.window_seconds)}, ${limit.algorithm}${limit.burst && limit.burst !== limit.quota ? `, burst ${amount(limit.burst)}` : ""}`],
      limit.failure ? ["Failure", `${limit.failure.message}; decided by on_store_failure: ${limit.on_store_failure}`] : ["Used", gauge(whole ? limit.used / whole : 0)],
      !limit.failure && ["State", `${amount(limit.used)} used, ${amount(limit.remaining)} remaining`],
      !limit.failure && ["Reset", limit.reset_after_seconds > 0 ? [`in ${duration(limit.reset_after_seconds)}, at `, clock(now() + limit.reset_after_seconds)] : "nothing is counted"],
      limit.remembered_denial && ["Remembered", `this process denies it for ${duration(limit.remembered_denial.for_seconds)} from memory`],
      limit.local && ["In this process", `${amount(limit.local.used)} used, ${amount(limit.local.remaining)} remaining`],
      ["Counter", h("code", {}, limit.counter)],
    ].filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

async function confirmReset() {
  const { domain, descriptor } = state.key;
  const sure = await confirmed("Reset this key?", [h("p", {}, h("code", {}, descriptor), " in ", h("code", {}, domain)), h("p", {}, "Each of its limits starts anew, for every service that shares the store. The service logs the reset.")], "Reset");
  if (!sure) return;
  await withKey(async (body) => {
    const done = await ask("/admin/key", { method: "DELETE", body });
    const note = done.note ? ` Note: ${done.note}.` : "";
    await readKey();
    state.key.done = `Reset at ${clockText(now())}.${note}`;
    announce("The key is reset.");
  });
}
