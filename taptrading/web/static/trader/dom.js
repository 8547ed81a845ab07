// Elements from data. Text is always text: nothing here ever parses markup.

/** `el("button.big", {onclick}, "Go")`; children are nodes or texts, null is left out. */
export function el(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) made.append(child);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Set a text only where it differs: the page is asked to lay out nothing for nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
