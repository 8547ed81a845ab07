// Toasts, the banner, and what a screen reader is told.

import { byId, el, say } from "./dom.js";

const TOASTS_MAX = 3;
const TOAST_MS = 5_000;

export function toast(text, kind = "info") {
  const box = byId("toasts");
  for (const old of box.children) if (old.textContent === text) old.remove();
  const made = el(`p.toast.${kind}`, {}, text);
  box.append(made);
  while (box.children.length > TOASTS_MAX) box.firstChild.remove();
  setTimeout(() => made.remove(), TOAST_MS);
}

/** One line over the chart; "" takes it away. */
export function banner(text, kind = "warn") {
  const node = byId("banner");
  node.hidden = text === "";
  node.className = `banner ${kind}`;
  say(node, text);
}

export const announce = (text) => say(byId("spoken"), text);
