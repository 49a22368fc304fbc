(() => {
"use strict";
const live = () => document.getElementById("live");
const mark = (there) => live().classList.toggle("lost", !there);
let busy = false, again = false;
async function renew() {
if (busy) { again = true; return; }
busy = true;
try {
const answer = await fetch("/", { cache: "no-store" });
if (!answer.ok) throw new Error(answer.status);
const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
const open = new Set([...document.querySelectorAll("details[open][id]")].map((one) => one.id));
const held = document.activeElement.closest("details[id]");
const places = [...document.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
const top = scrollY;
for (const one of fresh.querySelectorAll("details[id]")) one.open = open.has(one.id);
document.querySelector(".page").replaceChildren(...fresh.querySelector(".page").childNodes);
document.querySelectorAll(".scroll").forEach((one, at) => places[at] && one.scrollTo(...places[at]));
const same = held && document.getElementById(held.id);
if (same) same.querySelector("summary").focus({ preventScroll: true });
scrollTo({ top, behavior: "instant" });
} catch { mark(false); } finally {
busy = false;
if (again) { again = false; renew(); }
}
}
const events = new EventSource("/events");
events.onopen = () => mark(true);
events.onerror = () => mark(false);
events.onmessage = (event) => { if (event.data !== live().dataset.revision) renew(); };
})();
