// Elements are made and compared here; text from the service becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "line", "rect", "text", "g", "title"]);
const HANDLERS = ["onclick", "oninput", "onchange", "onsubmit", "onkeydown", "onpointermove", "onpointerleave"];

/** Make an element: attributes (false and null are left out), handlers by on…, children (arrays are flattened). */
function h(tag, attributes, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (HANDLERS.includes(name)) node[name] = value;
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : name === "aria-label" ? printable(value) : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false).map((child) => child instanceof Node ? child : printable(child)));
  return node;
}

/** Escape what cannot be seen, as the terminal does: a key may have characters that reverse the text around them. */
function printable(text) {
  return String(text).replace(/[^\P{C}\n\t]|[\u2028\u2029]/gu, (each) => {
    const code = each.codePointAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
  });
}

/** Make a node like a fresh one and keep what is the same, so that focus, selection and scrolling stay. */
function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName || keyOf(old) !== keyOf(fresh)) {
    old.replaceWith(fresh);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    morphAttributes(old, fresh);
    morphChildren(old, [...fresh.childNodes]);
  }
}

function morphAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
}

function morphChildren(old, fresh) {
  const wanted = new Set(fresh.map(keyOf));
  for (const child of [...old.childNodes]) if (keyOf(child) && !wanted.has(keyOf(child))) child.remove();
  const keyed = new Map([...old.childNodes].filter(keyOf).map((child) => [keyOf(child), child]));
  let at = old.firstChild;
  for (const next of fresh) {
    const same = keyOf(next) ? keyed.get(keyOf(next)) : at && !keyOf(at) ? at : null;
    if (!same) {
      old.insertBefore(next, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    morph(same, next);
  }
  while (at) {
    const rest = at;
    at = at.nextSibling;
    rest.remove();
  }
}

function keyOf(node) {
  return node.dataset?.key ?? null;
}

/** Replace the children of a place in the page. */
function show(id, ...children) {
  const place = document.getElementById(id);
  morphChildren(place, [...h("div", {}, ...children).childNodes]);
}

/** Say something once to a screen reader; numbers that change are not said. */
function announce(text) {
  document.getElementById("announce").textContent = text;
}
