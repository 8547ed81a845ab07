// What stays in this browser: keys in IndexedDB, choices in localStorage. Nothing of it is sent.

const NAME = "taptrading";
const SECRETS = "secrets";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(SECRETS);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function withSecrets(mode, use) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(SECRETS, mode);
      const request = use(transaction.objectStore(SECRETS));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

export const readSecret = (name) => withSecrets("readonly", (store) => store.get(name));
export const keepSecret = (name, value) => withSecrets("readwrite", (store) => store.put(value, name));
export const forgetSecret = (name) => withSecrets("readwrite", (store) => store.delete(name));

const DEFAULTS = { stake: 5_000_000, slack: 25, sound: false, haptics: true, zoom: 0 };

/** Choices that outlive a visit; what cannot be stored is chosen for this visit alone. */
export class Choices extends EventTarget {
  constructor() {
    super();
    this.values = { ...DEFAULTS };
    try {
      const found = JSON.parse(localStorage.getItem(NAME) ?? "{}");
      for (const [name, usual] of Object.entries(DEFAULTS))
        if (typeof found[name] === typeof usual) this.values[name] = found[name];
    } catch {
      // A storage that is full of something else, or switched off.
    }
  }

  get(name) {
    return this.values[name];
  }

  set(name, value) {
    this.values[name] = value;
    try {
      localStorage.setItem(NAME, JSON.stringify(this.values));
    } catch {
      // For this visit alone, then.
    }
    this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }
}
