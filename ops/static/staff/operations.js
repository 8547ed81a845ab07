// The operations page, made anew every two seconds. What the server wrote is shown as it came.
"use strict";

const EVERY_MS = 2000;

async function refresh() {
  if (document.hidden) return;
  try {
    const reply = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
    if (!reply.ok || reply.redirected) throw new Error(String(reply.status));
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
    const now = fresh.getElementById("live");
    const shown = document.getElementById("live");
    if (!now) throw new Error("another page");
    if (!shown.contains(document.activeElement)) shown.replaceWith(now);
  } catch {
    document.getElementById("stale").hidden = false;
  }
}

setInterval(refresh, EVERY_MS);
