// The drawer: bets, money, keys, settings.

import { expiryMs, isLive, USUAL_CAPS } from "./account.js";
import { byId, el, say } from "./dom.js";
import { evidence } from "./evidence.js";
import { clockTime, dayAndTime, dollars, gain, micros, price, rate, shortAddress, usdc } from "./format.js";
import { toast } from "./notices.js";
import { isBet, isInt, isText, parseCell } from "./shape.js";

const SHOWN_BETS = 60;
const MARKS = { pending: "…", unknown: "?", confirmed: "●", won: "✓", lost: "✕", void: "↺", rejected: "↩", refused: "–" };
const KINDS = ["", "DEPOSIT", "STAKE", "PAYOUT", "REFUND", "HOLD", "RELEASE", "WITHDRAWAL", "ADJUSTMENT"];
const SINCE_H = { "any time": 0, "last hour": 1, "last day": 24, "last week": 168 };
const STATUSES = ["", "accepted", "confirmed", "won", "lost", "void", "rejected"];

/** Run what a button asks for; say what went wrong, and never twice at once. */
export async function attempt(button, deed) {
  if (button) button.disabled = true;
  try {
    await deed();
  } catch (error) {
    toast(error?.message ? String(error.message).slice(0, 200) : "That did not work.", "bad");
  } finally {
    if (button) button.disabled = false;
  }
}

export class Panels {
  constructor({ config, account, bets, choices, api, market }) {
    Object.assign(this, { config, account, bets, choices, api, market });
    this.dialog = byId("dialog");
    byId("dialog-close").addEventListener("click", () => this.dialog.close());
    this.#tabs();
    this.#settings();
    this.shown = new Map();
    this.stale = true;
    this.list = { path: null, rows: [] };
    bets.addEventListener("change", () => (this.stale = true));
    account.addEventListener("change", () => this.#accountChanged());
    this.#accountChanged();
  }

  // Tabs.

  #tabs() {
    this.tabs = [...document.querySelectorAll("[role=tab]")];
    for (const tab of this.tabs) {
      tab.addEventListener("click", () => this.open(tab.dataset.tab, true));
      tab.addEventListener("keydown", (event) => this.#tabKey(event));
    }
    this.open("bets");
  }

  #tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = this.tabs.indexOf(event.currentTarget);
    const next = this.tabs[(at + step + this.tabs.length) % this.tabs.length];
    next.focus();
    this.open(next.dataset.tab);
  }

  open(name, byHand = false) {
    const drawer = byId("drawer");
    const folded = byHand && this.current === name && !drawer.classList.contains("folded");
    // On a phone the drawer lies over the chart: the same tab again puts it away.
    drawer.classList.toggle("folded", folded);
    if (byHand && !folded) drawer.classList.add("lifted");
    else drawer.classList.remove("lifted");
    this.current = name;
    for (const tab of this.tabs) {
      const chosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      byId(`panel-${tab.dataset.tab}`).hidden = !chosen;
    }
    if (name === "money") this.#money();
    if (name === "keys") this.#keys();
  }

  #accountChanged() {
    if (this.address === this.account.address && this.key === this.account.key) return;
    this.address = this.account.address;
    this.key = this.account.key;
    this.stale = true;
    if (this.current === "money") this.#money();
    if (this.current === "keys") this.#keys();
  }

  // Bets.

  /** Called once a frame or less: draws only what changed. */
  refresh() {
    if (!this.stale || this.current !== "bets") return;
    this.stale = false;
    const box = byId("bets");
    const newest = [...this.bets.byNonce.values()].reverse().slice(0, SHOWN_BETS);
    byId("no-bets").hidden = newest.length > 0;
    const kept = new Map();
    for (const bet of newest) {
      const found = this.shown.get(bet.nonce);
      kept.set(bet.nonce, found?.bet === bet ? found : { bet, node: this.#betRow(bet) });
    }
    box.replaceChildren(...[...kept.values()].map(({ node }) => node));
    this.shown = kept;
  }

  #betRow(bet) {
    const band = `${dollars(bet.low)} – ${dollars(bet.high)}`;
    const result =
      bet.state === "won" ? gain((bet.payout ?? 0) - bet.stake)
      : bet.state === "lost" ? `−$${usdc(bet.stake)}`
      : bet.state === "void" || bet.state === "rejected" ? "stake back"
      : bet.state === "refused" ? "not taken"
      : bet.state;
    return el(
      "li",
      {},
      el(
        `button.bet.${bet.state}`,
        { type: "button", onclick: () => this.explain(bet) },
        el("span.mark", { ariaHidden: "true" }, MARKS[bet.state]),
        el("span.what", {}, el("b", {}, band), el("small", {}, `${clockTime(bet.column * 1_000)} · $${usdc(bet.stake)} at ${bet.rate ? rate(bet.rate) : bet.shownRate ? `≈ ${rate(bet.shownRate)}` : "–"}`)),
        el("span.result", {}, result, bet.state === "won" ? el("small", {}, `$${usdc(bet.payout ?? 0)} paid`) : null),
      ),
    );
  }

  explain(bet) {
    this.show(`Bet on ${price(bet.low)} – ${price(bet.high)}`, el("p.dim", {}, "Fetching the recorded prices …"));
    attempt(null, async () => this.dialog.querySelector(".body").replaceChildren(await evidence(this.api, this.config, bet)));
  }

  show(title, ...content) {
    say(byId("dialog-title"), title);
    this.dialog.querySelector(".body").replaceChildren(...content);
    if (!this.dialog.open) this.dialog.showModal();
  }

  // Money.

  #money() {
    const box = byId("panel-money");
    if (!this.account.signedIn) return box.replaceChildren(this.#signInHint());
    const amount = el("input", { id: "amount", inputMode: "decimal", value: "100", autocomplete: "off" });
    const to = el("input", { id: "to", value: this.account.address, autocomplete: "off", spellcheck: false, maxLength: 42 });
    const deposit = el("button", { type: "button", onclick: () => this.#deposit(deposit, amount) }, this.config.demo ? "Deposit play money" : "Announce a deposit");
    const withdraw = el("button.quiet", { type: "button", onclick: () => this.#withdraw(withdraw, amount, to) }, "Withdraw");
    const history = el("div", { id: "history" });
    const what = el("select", { id: "what", ariaLabel: "What to list", onchange: () => this.#history(history, what.value, filter, since) },
      el("option", { value: "ledger" }, "Every movement"), el("option", { value: "bets" }, "Bets"), el("option", { value: "withdrawals" }, "Withdrawals"), el("option", { value: "deposits" }, "Deposits"));
    const filter = el("select", { id: "filter", ariaLabel: "Only these", onchange: () => this.#history(history, what.value, filter, since) });
    const since = el("select", { id: "since", ariaLabel: "Since", onchange: () => this.#history(history, what.value, filter, since) },
      Object.keys(SINCE_H).map((name) => el("option", { value: name }, name)));
    box.replaceChildren(
      el("div.fields", {}, el("label", { htmlFor: "amount" }, "Amount, USDC"), amount, el("label", { htmlFor: "to" }, "To address"), to),
      el("div.row", {}, deposit, withdraw),
      el("h2", {}, "Where the money went"),
      el("div.row", {}, what, filter, since, el("button.quiet", { type: "button", ariaLabel: "Save the ledger as CSV", onclick: (event) => attempt(event.currentTarget, () => this.#saveCsv(filter.value)) }, "CSV")),
      history,
    );
    this.#history(history, "ledger", filter, since);
    return undefined;
  }

  #amount(input) {
    const found = micros(input.value);
    if (!found) throw new Error("An amount in USDC, please: 12.50, say.");
    return found;
  }

  #deposit(button, input) {
    attempt(button, async () => {
      const amount = this.#amount(input);
      await this.account.deposit(amount);
      toast(`Deposited $${usdc(amount)}.`, "good");
      this.#money();
    });
  }

  #withdraw(button, input, to) {
    attempt(button, async () => {
      const amount = this.#amount(input);
      if (!/^0x[0-9a-fA-F]{40}$/.test(to.value.trim())) throw new Error("The address has to be 0x and 40 hex digits.");
      const made = await this.account.withdraw(amount, to.value.trim());
      toast(`Withdrawal of $${usdc(amount)}: ${isText(made?.status, 20) ? made.status : "accepted"}.`, "good");
      this.#money();
    });
  }

  #history(box, what, filter, since) {
    const values = what === "ledger" ? KINDS : what === "bets" ? STATUSES : [""];
    if (filter.dataset.of !== what) {
      filter.dataset.of = what;
      filter.replaceChildren(...values.map((value) => el("option", { value }, value ? value.toLowerCase() : "all")));
    }
    filter.hidden = since.hidden = values.length < 2;
    const name = what === "bets" ? "status" : "kind";
    const hours = since.hidden ? 0 : SINCE_H[since.value];
    const from = hours ? `&from=${new Date(this.market.now() - hours * 3_600_000).toISOString()}` : "";
    const path = `${what}?limit=25${filter.value ? `&${name}=${filter.value}` : ""}${from}`;
    box.replaceChildren();
    attempt(null, () => this.#more(box, what, path));
  }

  async #more(box, what, path) {
    const { results, next } = await this.api.get(path);
    box.querySelector(".more")?.remove();
    if (!Array.isArray(results)) throw new Error("The list makes no sense.");
    const rows = results.map((row) => this.#historyRow(what, row)).filter(Boolean);
    if (!rows.length && !box.children.length) rows.push(el("p.dim", {}, "Nothing yet."));
    box.append(...rows);
    if (isText(next, 400) && next.startsWith("/api/v1/"))
      box.append(el("button.quiet.more", { type: "button", onclick: (event) => attempt(event.currentTarget, () => this.#more(box, what, next)) }, "Older"));
  }

  #historyRow(what, row) {
    if (typeof row !== "object" || row === null) return null;
    if (what === "bets") {
      const cell = parseCell(row.cell_id);
      if (!cell || !isBet(row)) return null;
      const state = row.status === "accepted" ? "pending" : row.status;
      return this.#betRow({
        ...cell, state, nonce: row.nonce, betId: row.bet_id, stake: row.stake_micros, rate: row.rate_bps,
        shownRate: null, payout: row.payout_micros, reason: row.reason,
      });
    }
    if (!isInt(row.amount_micros, -Number.MAX_SAFE_INTEGER)) return null;
    const name = what === "ledger" ? row.kind : row.status;
    const about = what === "ledger" ? row.reference : what === "withdrawals" ? `to ${shortAddress(String(row.to_address))}` : "";
    const after = isInt(row.balance_after_micros) ? `balance ${usdc(row.balance_after_micros, { exact: true })}` : "";
    return el("div.entry", {},
      el("span.what", {}, el("b", {}, String(name).toLowerCase()), el("small", {}, `${dayAndTime(row.created_at)} ${String(about).slice(0, 60)}`)),
      el("span.result", {}, el("b", {}, what === "ledger" ? gain(row.amount_micros, { exact: true }) : `$${usdc(row.amount_micros, { exact: true })}`), el("small", {}, after)));
  }

  async #saveCsv(kind) {
    const { file, whole } = await this.api.csv(`/api/v1/ledger?limit=200${kind && KINDS.includes(kind) ? `&kind=${kind}` : ""}`);
    if (!whole) toast("The file holds the newest entries; there are too many for one.", "warn");
    const link = el("a", { href: URL.createObjectURL(file), download: "taptrading-ledger.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1_000);
  }

  // Keys.

  #keys() {
    const box = byId("panel-keys");
    if (!this.account.signedIn) return box.replaceChildren(this.#signInHint());
    const stake = el("input", { id: "cap-stake", inputMode: "decimal", value: String(USUAL_CAPS.stake / 1e6) });
    const total = el("input", { id: "cap-total", inputMode: "decimal", value: String(USUAL_CAPS.total / 1e6) });
    const hours = el("input", { id: "cap-hours", inputMode: "numeric", value: String(USUAL_CAPS.hours) });
    const make = el("button", { type: "button", onclick: () => attempt(make, async () => {
      const found = Number(hours.value);
      if (!(found > 0 && found <= 720)) throw new Error("Between 1 and 720 hours, please.");
      await this.account.authorise({ stake: this.#amount(stake), total: this.#amount(total), hours: found });
      toast("This browser may now sign your taps.", "good");
      this.#keys();
    }) }, "Authorise this browser");
    const list = el("div");
    box.replaceChildren(
      el("p.dim", {}, "A session key signs your taps, so that your wallet need not ask each time. It can bet within these caps and do nothing else; it never leaves this browser."),
      el("div.fields", {}, el("label", { htmlFor: "cap-stake" }, "Most a tap, USDC"), stake, el("label", { htmlFor: "cap-total" }, "Most in all, USDC"), total, el("label", { htmlFor: "cap-hours" }, "Hours"), hours),
      el("div.row", {}, make), el("h2", {}, "Keys"), list);
    attempt(null, async () => list.replaceChildren(...(await this.account.keys()).map((key) => this.#keyRow(key)).filter(Boolean)));
    return undefined;
  }

  #keyRow(key) {
    if (!key || !isText(key.label, 64) || !isText(key.key, 42)) return null;
    const live = isLive(key, this.market.now());
    const mine = key.key_id === this.account.key?.key_id;
    const state = key.revoked_at ? "revoked" : live ? `until ${dayAndTime(new Date(expiryMs(key)).toISOString())}` : "expired";
    const revoke = el("button.quiet", { type: "button", ariaLabel: `Revoke ${key.label}`, onclick: () => attempt(revoke, async () => {
      await this.account.revoke(key);
      toast("Key revoked.", "good");
      this.#keys();
    }) }, "Revoke");
    return el("div.entry", {},
      el("span.what", {}, el("b", {}, key.label, mine ? " (in use)" : ""), el("small", {}, `${shortAddress(key.key)} · ${state}`), el("small", {}, `used $${usdc(key.used_micros)} of $${usdc(key.max_total_micros)}, $${usdc(key.max_stake_micros)} a tap`)),
      live ? revoke : null);
  }

  #signInHint() {
    return el("p.dim", {}, "Get play money or connect a wallet first.");
  }

  // Settings.

  #settings() {
    const slack = byId("slack");
    const show = () => say(byId("slack-shown"), `${slack.value} %`);
    slack.value = String(this.choices.get("slack"));
    slack.addEventListener("input", () => {
      this.choices.set("slack", Number(slack.value));
      show();
    });
    show();
    for (const name of ["sound", "haptics"]) {
      const box = byId(name);
      box.checked = this.choices.get(name);
      box.addEventListener("change", () => this.choices.set(name, box.checked));
    }
  }
}
