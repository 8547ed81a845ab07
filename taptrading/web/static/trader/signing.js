// Texts of the contract and who signs them. A secret never leaves this browser.

import { keccak256, publicKey, randomSecret, sign } from "./vendor.js";

const encoder = new TextEncoder();

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

const bytesOf = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** Of a secret of 32 bytes: lower case. */
export const addressOf = (secret) => `0x${hex(keccak256(publicKey(secret).slice(1)).slice(-20))}`;

export const newSecret = () => randomSecret();

/** EIP-55. */
export function checksummed(address) {
  const digits = address.toLowerCase().slice(2);
  const digest = hex(keccak256(encoder.encode(digits)));
  return `0x${Array.from(digits, (digit, at) =>
    parseInt(digest[at], 16) >= 8 ? digit.toUpperCase() : digit,
  ).join("")}`;
}

/** EIP-191: "0x", r, s (low) and v, 27 or 28. */
export function signText(text, secret) {
  const message = encoder.encode(text);
  const prefix = encoder.encode(`\x19Ethereum Signed Message:\n${message.length}`);
  const whole = new Uint8Array(prefix.length + message.length);
  whole.set(prefix);
  whole.set(message, prefix.length);
  const signature = sign(keccak256(whole), secret); // the recovery bit stands first
  return `0x${hex(signature.slice(1))}${(27 + signature[0]).toString(16)}`;
}

const lines = (title, fields) =>
  [`Tap Trading ${title}`, ...fields.map(([name, value]) => `${name}: ${value}`)].join("\n");

export const betText = (config, bet) =>
  lines("Bet", [
    ["Action", "place_bet"],
    ["Domain", config.domain],
    ["Wallet", bet.wallet],
    ["Cell", bet.cell_id],
    ["Stake", bet.stake_micros],
    ["MinRate", bet.min_rate_bps],
    ["Nonce", bet.nonce],
    ["Timestamp", bet.timestamp],
    ["Chain", config.chain_id],
    ["Version", 1],
  ]);

export const withdrawalText = (config, wallet, request) =>
  lines("Withdrawal", [
    ["Action", "withdraw"],
    ["Domain", config.domain],
    ["Wallet", wallet],
    ["Amount", request.amount_micros],
    ["To", request.to_address],
    ["Nonce", request.nonce],
    ["Timestamp", request.timestamp],
    ["Chain", config.chain_id],
    ["Version", 1],
  ]);

export const sessionKeyText = (config, request) =>
  lines("Session Key", [
    ["Action", "authorize_key"],
    ["Domain", config.domain],
    ["Wallet", request.wallet],
    ["Key", request.key],
    ["Label", request.label],
    ["MaxStake", request.max_stake_micros],
    ["MaxTotal", request.max_total_micros],
    ["Expires", request.expires_at],
    ["Nonce", request.nonce],
    ["Timestamp", request.timestamp],
    ["Chain", config.chain_id],
    ["Version", 1],
  ]);

/** EIP-4361. */
export const signInText = (config, { address, nonce, uri, issuedAt }) =>
  `${config.domain} wants you to sign in with your Ethereum account:\n` +
  `${checksummed(address)}\n\nSign in to TapTrading.\n\n` +
  `URI: ${uri}\nVersion: 1\nChain ID: ${config.chain_id}\nNonce: ${nonce}\nIssued At: ${issuedAt}`;

/** A wallet made in this browser: for play money. */
export class LocalWallet {
  constructor(secret) {
    this.secret = secret;
    this.address = addressOf(secret);
    this.name = "Play wallet";
  }

  async sign(text) {
    return signText(text, this.secret);
  }
}

/** A wallet of the trader's own, by EIP-1193. It asks its owner before it signs. */
export class BrowserWallet {
  static async connect(provider, name = "Wallet") {
    const accounts = await provider.request({ method: "eth_requestAccounts" });
    const address = Array.isArray(accounts) ? String(accounts[0]).toLowerCase() : "";
    if (!/^0x[0-9a-f]{40}$/.test(address)) throw new Error("The wallet named no account.");
    return new BrowserWallet(provider, address, name);
  }

  /** The wallet that shows this page the account already, without asking anybody; or null. */
  static async already(provider, name, address) {
    const accounts = await provider.request({ method: "eth_accounts" }).catch(() => []);
    const shown = Array.isArray(accounts) && accounts.some((one) => String(one).toLowerCase() === address);
    return shown ? new BrowserWallet(provider, address, name) : null;
  }

  constructor(provider, address, name) {
    this.provider = provider;
    this.address = address;
    this.name = name;
  }

  async sign(text) {
    const asHex = `0x${hex(encoder.encode(text))}`;
    const found = await this.provider.request({
      method: "personal_sign",
      params: [asHex, this.address],
    });
    if (!/^0x[0-9a-f]{130}$/i.test(String(found))) throw new Error("The wallet gave no signature.");
    // Some wallets write v as 0 or 1.
    const bytes = bytesOf(String(found).slice(2));
    if (bytes[64] < 27) bytes[64] += 27;
    return `0x${hex(bytes)}`;
  }
}
