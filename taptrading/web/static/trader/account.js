// Who the trader is: sign-in, the session key that signs taps, and money in and out.
//
// Event "change" whenever something of it has changed.

import { isInt, isSnapshot, isWallet } from "./shape.js";
import { addressOf, BrowserWallet, LocalWallet, newSecret, sessionKeyText, signInText, withdrawalText } from "./signing.js";
import { forgetSecret, keepSecret, readSecret } from "./store.js";

const PLAY_MICROS = 1_000_000_000;
const PLAY_LEAST_MICROS = 100_000_000;
const KEY_HOURS = 24;
export const USUAL_CAPS = { stake: 100_000_000, total: 10_000_000_000, hours: KEY_HOURS };

const PLAY_WALLET = "play wallet";
const keyName = (address) => `session key of ${address}`;

export class Account extends EventTarget {
  constructor(config, market, api) {
    super();
    this.config = config;
    this.market = market;
    this.api = api;
    this.offered = []; // wallets of the browser, {name, provider}
    this.allOffered = null; // a promise: they have had the time to tell of themselves
    this.#forget();
  }

  #forget() {
    this.address = "";
    this.wallet = null; // as GET wallet says it
    this.signer = null; // the session key's secret
    this.key = null; // the session key as the server lists it
    this.owner = null; // who signs what the session key may not: a LocalWallet or BrowserWallet
    this.cursor = undefined;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  get signedIn() {
    return this.address !== "";
  }

  /** Go on with the session of an earlier visit, if there is one. */
  async restore() {
    let wallet;
    try {
      wallet = await this.api.get("wallet");
    } catch (error) {
      if (error.code !== "unauthenticated") throw error;
      return false;
    }
    await this.#entered(wallet);
    return true;
  }

  /** Demo: a wallet made in this browser, and play money for it. */
  async play() {
    const secret = (await readSecret(PLAY_WALLET)) ?? newSecret();
    await keepSecret(PLAY_WALLET, secret);
    await this.signIn(new LocalWallet(secret));
    if (!this.signer) await this.authorise(USUAL_CAPS);
    if (this.wallet.balance_micros < PLAY_LEAST_MICROS) await this.deposit(PLAY_MICROS);
  }

  async connect(provider, name) {
    await this.signIn(await BrowserWallet.connect(provider, name));
  }

  async signIn(owner) {
    const { nonce } = await this.api.post("auth/nonce");
    const issuedAt = new Date(this.market.now()).toISOString();
    const text = signInText(this.config, { address: owner.address, nonce, uri: location.origin, issuedAt });
    await this.api.post("auth/login", { message: text, signature: await owner.sign(text) });
    await this.#entered(await this.api.get("wallet"));
    this.owner = owner;
    this.#changed();
  }

  async #entered(wallet) {
    if (!isWallet(wallet)) throw new Error("The server's word on the wallet makes no sense.");
    this.address = wallet.address.toLowerCase();
    this.wallet = wallet;
    const play = await readSecret(PLAY_WALLET);
    if (play && addressOf(play) === this.address) this.owner = new LocalWallet(play);
    await this.#findKey();
    this.#changed();
  }

  /** The key that this browser holds, if the server still takes it. */
  async #findKey() {
    const secret = await readSecret(keyName(this.address));
    this.signer = this.key = null;
    if (!secret) return;
    const address = addressOf(secret);
    const { results } = await this.api.get("session-keys?limit=200");
    this.key = results.find((key) => key.key === address && isLive(key, this.market.now())) ?? null;
    this.signer = this.key ? secret : null;
  }

  /** Let a fresh key sign bets for the wallet, within caps; its owner signs this once. */
  async authorise({ stake, total, hours }) {
    const owner = await this.#ownerNow();
    const secret = newSecret();
    const now = Math.floor(this.market.now() / 1_000);
    const request = {
      wallet: this.address,
      key: addressOf(secret),
      label: `This browser, ${new Date(now * 1_000).toISOString().slice(0, 16)}Z`,
      expires_at: now + Math.round(hours * 3_600),
      max_stake_micros: stake,
      max_total_micros: total,
      nonce: crypto.randomUUID(),
      timestamp: now,
      chain_id: this.config.chain_id,
    };
    request.signature = await owner.sign(sessionKeyText(this.config, request));
    this.key = await this.api.post("session-keys", request);
    await keepSecret(keyName(this.address), secret);
    this.signer = secret;
    this.#changed();
  }

  /** Who signs for this wallet. After a reload, whichever wallet still shows us its account. */
  async #ownerNow() {
    if (!this.owner) await this.allOffered;
    for (const { name, provider } of this.owner ? [] : this.offered)
      this.owner ??= await BrowserWallet.already(provider, name, this.address);
    if (!this.owner) throw new Error("Your wallet has to sign this. Sign out and connect it again.");
    return this.owner;
  }

  async keys() {
    return (await this.api.get("session-keys?limit=200")).results;
  }

  async revoke(key) {
    await this.api.remove(`session-keys/${encodeURIComponent(key.key_id)}`);
    if (this.key?.key_id === key.key_id) {
      await forgetSecret(keyName(this.address));
      this.signer = this.key = null;
    }
    this.#changed();
  }

  async deposit(micros) {
    await this.api.post("deposits", { amount_micros: micros });
    this.wallet = await this.api.get("wallet");
    this.#changed();
  }

  async withdraw(micros, to) {
    const request = {
      amount_micros: micros,
      to_address: to.toLowerCase(),
      nonce: crypto.randomUUID(),
      timestamp: Math.floor(this.market.now() / 1_000),
      chain_id: this.config.chain_id,
    };
    request.signature = await (await this.#ownerNow()).sign(withdrawalText(this.config, this.address, request));
    const made = await this.api.post("withdrawals", request);
    this.wallet = await this.api.get("wallet");
    this.#changed();
    return made;
  }

  async signOut() {
    await this.api.post("auth/logout");
    this.#forget();
    this.#changed();
  }

  /** What frames say of the wallet. */
  take({ type, data }) {
    if (type === "wallet.balance" && isWallet(data)) this.wallet = { ...this.wallet, ...data };
    else if (type === "snapshot" && isSnapshot(data)) this.#balance(data);
    else if (type.startsWith("bet.") && Number.isSafeInteger(data?.cursor)) this.#balance(data);
    else return;
    this.#changed();
  }

  #balance({ balance_micros: balance, cursor }) {
    if (!this.wallet || (this.cursor !== undefined && cursor < this.cursor)) return;
    this.cursor = cursor;
    if (isInt(balance)) this.wallet = { ...this.wallet, balance_micros: balance };
  }
}

export const isLive = (key, nowMs) => !key.revoked_at && expiryMs(key) > nowMs;

/** `expires_at` goes in as seconds and comes out as a time. */
export const expiryMs = (key) =>
  typeof key.expires_at === "number" ? key.expires_at * 1_000 : Date.parse(key.expires_at);

/** Wallets that the browser offers (EIP-6963), and the old way of one. Calls back for each; the
 *  promise is kept when they have had their time. */
export function findWallets(found) {
  addEventListener("eip6963:announceProvider", (event) => {
    const { info, provider } = event.detail ?? {};
    if (typeof info?.name === "string" && typeof provider?.request === "function")
      found({ name: info.name.slice(0, 40), provider });
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
  return new Promise((over) => {
    setTimeout(() => {
      if (typeof globalThis.ethereum?.request === "function")
        found({ name: "Browser wallet", provider: globalThis.ethereum });
      over();
    }, 300);
  });
}
