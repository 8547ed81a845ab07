// What the page needs of Ethereum: keccak-256, and recoverable secp256k1 signatures with a low s.
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import * as secp from "@noble/secp256k1";

secp.hashes.sha256 = sha256;
secp.hashes.hmacSha256 = (key, message) => hmac(sha256, key, message);

export const keccak256 = keccak_256;
export const randomSecret = () => secp.utils.randomSecretKey();
export const publicKey = (secret) => secp.getPublicKey(secret, false);
// 65 bytes: r, s, recovery bit.
export const sign = (hash, secret) => {
  const found = secp.sign(hash, secret, { prehash: false, format: "recovered", lowS: true });
  return found;
};
