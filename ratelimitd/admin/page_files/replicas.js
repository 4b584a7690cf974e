// The replicas that PEERS names, and how each answered.

const REPLICA_TEXT = { ok: "answers", timeout: "no answer in time", refused: "refuses the connection", unauthorized: "has another token", failed: "failed" };
const REPLICA_COLUMNS = [{ title: "Replica", wide: true }, { title: "State" }, { title: "Address" }, { title: "Allowed", number: true }, { title: "Denied", number: true }, { title: "Failed", number: true }, { title: "Policy" }];

function replicasView() {
  return h("div", { class: "view" }, h("h1", { tabindex: "-1" }, "Replicas"), h("section", { class: "panel", "aria-label": "Replicas" }, replicasBody()));
}

function replicasBody() {
  const { replicas } = state;
  if (!replicas) return empty(state.error || "Loading …");
  if (!replicas.configured) {
    return empty(h("p", {}, "This service knows no other replicas. Set on each of them:"),
      h("dl", { class: "facts" }, [["PEERS", "the DNS name of a headless service that names all replicas"], ["PEER_ADDR", "where a replica answers the others; it needs ADMIN_TOKEN"]].map(([name, text]) => h("div", {}, h("dt", {}, h("code", {}, name)), h("dd", {}, text)))));
  }
  const differs = new Set(replicas.replicas.map((replica) => replica.policy_version).filter(Boolean)).size > 1;
  return [differs && h("p", { class: "wrong" }, "Replicas have different policies: they decide differently until all have loaded the same."),
    table("Replicas", REPLICA_COLUMNS, replicas.replicas.map(replicaRow))];
}

function replicaRow(replica) {
  const { rates } = replica;
  return { key: `${replica.address} ${replica.id}`, cells: [
    h("span", {}, replica.name || replica.id || "unknown", replica.self && [" ", tag("this one")]),
    h("span", {}, mark(replica.state === "ok" ? "ok" : "bad", REPLICA_TEXT[replica.state] ?? replica.state), replica.error && h("small", {}, ` ${replica.error}`)),
    h("code", {}, replica.address || "–"),
    ...["allowed", "denied", "failed"].map((name) => (rates ? rate(rates[name]) : "–")),
    h("code", { title: replica.policy_version }, (replica.policy_version ?? "").slice(0, 12) || "–"),
  ] };
}
