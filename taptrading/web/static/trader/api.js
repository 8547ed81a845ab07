// The REST API as the page uses it: JSON in and out, by the session cookie.

const TIMEOUT_MS = 10_000;

/** A refusal of the contract, or `offline` when nobody answered. */
export class ApiError extends Error {
  constructor(code, message, detail = {}, status = 0) {
    super(message);
    this.code = code;
    this.detail = detail;
    this.status = status;
  }
}

const csrfToken = () => /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? "";

export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const reply = await answered(method, path, headers, body);
  if (reply.status === 204) return null;
  let data = null;
  try {
    data = await reply.json();
  } catch {
    throw new ApiError("unreadable", "The server's answer makes no sense.", {}, reply.status);
  }
  if (!reply.ok) throw refusal(data, reply.status);
  return data;
}

async function answered(method, path, headers, body) {
  try {
    return await fetch(path.startsWith("/") ? path : `/api/v1/${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new ApiError("offline", "The server cannot be reached.");
  }
}

function refusal(data, status) {
  const code = typeof data?.error === "string" ? data.error : "unreadable";
  const message = typeof data?.message === "string" ? data.message.slice(0, 300) : "Refused.";
  return new ApiError(code, message, data?.detail ?? {}, status);
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);
export const remove = (path) => call("DELETE", path);

const PAGES_MAX = 500;

/** All pages of a list as one CSV file; `whole` is false where there were too many of them. */
export async function csv(path) {
  const parts = [];
  for (let next = path; next; ) {
    if (parts.length === PAGES_MAX) return { file: fileOf(parts), whole: false };
    const reply = await answered("GET", next, { Accept: "text/csv" });
    if (!reply.ok) throw new ApiError("unreadable", "The list could not be fetched.", {}, reply.status);
    const text = await reply.text();
    // Each page begins with the names of the columns: once is enough.
    parts.push(parts.length ? text.slice(text.indexOf("\n") + 1) : text);
    next = /<(\/api\/v1\/[^>]+)>;\s*rel="next"/.exec(reply.headers.get("Link") ?? "")?.[1];
  }
  return { file: fileOf(parts), whole: true };
}

const fileOf = (parts) => new Blob(parts, { type: "text/csv" });
