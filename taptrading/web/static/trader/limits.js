// A trader's own limits on stake and loss, a break, and self-exclusion: a part of the settings.
//
// The server keeps them and refuses bets by them; this file only asks for them and says what holds.

import { byId, el } from "./dom.js";
import { dayAndTime, micros, usdc } from "./format.js";
import { announce, toast } from "./notices.js";
import { attempt } from "./panels.js";
import { isInt, isText } from "./shape.js";

const DAY_MS = 86_400_000;
const AMOUNTS = [
  { name: "stake_max_micros", id: "limit-stake", label: "Most a bet, USDC" },
  { name: "loss_day_max_micros", id: "limit-day", label: "Most lost a day, USDC", lost: "loss_day_micros", span: "today" },
  { name: "loss_week_max_micros", id: "limit-week", label: "Most lost a week, USDC", lost: "loss_week_micros", span: "this week" },
];
const BREAKS = [[1, "24 hours"], [3, "3 days"], [7, "7 days"], [30, "30 days"]];
// A little longer than they say, so that a clock that is slow here does not ask for too little.
const EXCLUSIONS = [[184, "6 months"], [366, "1 year"], [5 * 366, "5 years"]];
const ENDS = { cool_off_until: "You are taking a break until", excluded_until: "You have excluded yourself until" };

const isTime = (value) => isText(value, 40) && !Number.isNaN(Date.parse(value));
const isAmount = (value) => value === null || isInt(value);
const isLoss = (value) => value === null || Number.isSafeInteger(value);

export const isLimits = (data) =>
  typeof data === "object" &&
  data !== null &&
  AMOUNTS.every(({ name, lost }) => isAmount(data[name]) && (!lost || isLoss(data[lost]))) &&
  Object.keys(ENDS).every((name) => data[name] === null || isTime(data[name])) &&
  Array.isArray(data.pending) &&
  data.pending.length <= AMOUNTS.length &&
  data.pending.every((raise) => isText(raise?.limit, 40) && isAmount(raise.micros) && isTime(raise.effective_at));

/** Why a limit of one's own refused a bet. */
export function ownLimit(detail) {
  const { limit, until, limit_micros: most, room_micros: room } = detail ?? {};
  if (Object.hasOwn(ENDS, limit) && isTime(until)) return `${ENDS[limit]} ${dayAndTime(until)}. Nothing was staked.`;
  if (limit === "stake_max_micros" && isInt(most)) return `You allow yourself $${usdc(most)} a bet. Nothing was staked.`;
  const span = AMOUNTS.find(({ name, lost }) => lost && name === limit)?.span;
  if (span && isInt(room)) return `Your own loss limit leaves $${usdc(room)} ${span}; open bets count as lost. Nothing was staked.`;
  return "You have reached a limit that you set yourself.";
}

export class Limits {
  constructor({ account, api, market, panels }) {
    Object.assign(this, { account, api, market, panels });
    this.held = null; // as GET player-limits says it
    this.box = el("section", { id: "limits", ariaLabel: "Your own limits" });
    byId("panel-settings").append(this.box);
    byId("tab-settings").addEventListener("click", () => this.#fetch());
    account.addEventListener("change", () => this.#accountChanged());
    this.#accountChanged();
  }

  /** What to say over the chart to somebody who stays away, or "". */
  get away() {
    for (const [name, words] of Object.entries(ENDS).reverse()) {
      const until = this.held?.[name];
      if (until && Date.parse(until) > this.market.now()) return `${words} ${dayAndTime(until)}. Your money stays yours: withdraw it at any time.`;
    }
    return "";
  }

  #accountChanged() {
    if (this.address === this.account.address) return;
    this.address = this.account.address;
    this.held = null;
    this.#draw();
    this.#fetch();
  }

  /** Quietly: whoever does not look at them need not hear that they could not be read. */
  async #fetch() {
    if (!this.account.signedIn) return;
    const { address } = this;
    try {
      const found = await this.api.get("player-limits");
      if (address === this.address) this.#take(found);
    } catch {
      if (!this.held) this.box.replaceChildren(el("p.dim", {}, "Your limits cannot be read right now; they hold all the same."));
    }
  }

  #take(found) {
    if (!isLimits(found)) throw new Error("The server's word on your limits makes no sense.");
    this.held = found;
    this.#draw();
  }

  async #put(wanted) {
    this.#take(await this.api.call("PUT", "player-limits", wanted));
  }

  #draw() {
    if (!this.held) return this.box.replaceChildren();
    const inputs = AMOUNTS.map((amount) => this.#field(amount));
    const save = el("button", { type: "button", onclick: () => attempt(save, () => this.#save(inputs.map(({ input }) => input))) }, "Save limits");
    this.box.replaceChildren(
      el("h2", {}, "Your own limits"),
      el("p.dim", {}, "A lower limit holds at once. A higher one, or none, holds after 24 hours: time to think again. Empty is no limit."),
      el("div.fields", {}, inputs.flatMap(({ nodes }) => nodes)),
      el("div.row", {}, save),
      ...this.#away("cool_off_until", "Take a break", BREAKS, "No bets for a while. A break cannot be ended early.", "Start the break"),
      ...this.#away("excluded_until", "Exclude yourself", EXCLUSIONS, "For when playing is no longer a game. Nobody can end it early: not you, and not our staff.", "Exclude myself"),
      el("p.dim", {}, "Whatever you choose here, you can always sign in and withdraw your money."),
    );
    return undefined;
  }

  #field({ name, id, label, lost, span }) {
    const most = this.held[name];
    const input = el("input", { id, inputMode: "decimal", autocomplete: "off", value: most === null ? "" : String(most / 1e6), placeholder: "no limit", oninput: () => (input.dataset.touched = "yes"), "aria-describedby": `${id}-note` });
    const raise = this.held.pending.find(({ limit }) => limit === name);
    const notes = [
      lost && this.held[lost] !== null ? `${this.held[lost] < 0 ? "Won" : "Lost"} ${span}: $${usdc(this.held[lost])}.` : "",
      raise ? `${raise.micros === null ? "Lifted" : `$${usdc(raise.micros)}`} from ${dayAndTime(raise.effective_at)} on.` : "",
    ];
    return { input, nodes: [el("label", { htmlFor: id }, label), input, el("small", { id: `${id}-note` }, notes.filter(Boolean).join(" "))] };
  }

  async #save(inputs) {
    const wanted = {};
    AMOUNTS.forEach(({ name, label }, at) => {
      const text = inputs[at].value.trim();
      const found = text === "" ? null : micros(text);
      if (found === null && text !== "") throw new Error(`${label}: an amount, please, or nothing for no limit.`);
      const raise = this.held.pending.some(({ limit }) => limit === name);
      // To type what holds already calls a raise off.
      if (found !== this.held[name] || (raise && inputs[at].dataset.touched)) wanted[name] = found;
    });
    if (!Object.keys(wanted).length) throw new Error("Nothing has changed.");
    await this.#put(wanted);
    const waits = this.held.pending.some(({ limit }) => Object.hasOwn(wanted, limit));
    this.#said(waits ? "Saved. What is higher holds after 24 hours." : "Saved. Your limits hold from now on.");
  }

  #said(text) {
    toast(text, "good");
    announce(text);
  }

  /** A span of time to stay away for, with a question before it begins. */
  #away(name, title, spans, about, deed) {
    const id = name.replaceAll("_", "-");
    const until = this.held[name];
    const choice = el("select", { id, ariaLabel: `${title}: for how long` }, spans.map(([days, words]) => el("option", { value: String(days) }, words)));
    const ask = el("button.quiet", { type: "button", id: `${id}-ask`, onclick: () => this.#confirm(name, title, Number(choice.value), choice.selectedOptions[0].textContent, deed) }, `${title} …`);
    return [
      el("h2", {}, title),
      el("p.dim", {}, about),
      until ? el("p", { id: `${id}-holds` }, el("strong", {}, `${ENDS[name]} ${dayAndTime(until)}.`), " You can only make it longer.") : null,
      el("div.row", {}, choice, ask),
    ].filter(Boolean);
  }

  #confirm(name, title, days, words, deed) {
    const until = new Date(this.market.now() + days * DAY_MS);
    const sure = el("input", { type: "checkbox", id: "sure", onchange: () => (go.disabled = !sure.checked) });
    const go = el("button", { type: "button", id: "away-go", disabled: true, onclick: () => attempt(go, async () => {
      await this.#put({ [name]: until.toISOString() });
      this.panels.dialog.close();
      this.#said(`${ENDS[name]} ${dayAndTime(this.held[name])}.`);
    }) }, deed);
    const back = el("button.quiet", { type: "button", onclick: () => this.panels.dialog.close() }, "Not now");
    this.panels.show(
      `${title} for ${words}`,
      el("p", {}, `No bet of yours will be taken until ${dayAndTime(until.toISOString())}, by this browser or any key. Bets that are open now are still decided and paid.`),
      el("p", {}, "You can sign in and withdraw all that time."),
      el("div.fields", {}, el("label", {}, sure, " I understand that this cannot be undone before then.")),
      el("div.row", {}, go, back),
    );
    sure.focus();
  }
}
