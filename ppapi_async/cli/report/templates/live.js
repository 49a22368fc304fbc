(() => {
"use strict";
const live = document.getElementById("live");
const events = new EventSource("events");
let wanted = false, busy = false;
async function renew() {
if (busy) { wanted = true; return; }
busy = true;
try {
const answer = await fetch("", { cache: "no-store" });
if (!answer.ok) throw new Error(answer.status);
const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
const open = new Set([...document.querySelectorAll("details[open][id]")].map((one) => one.id));
const focus = document.activeElement && document.activeElement.closest("details[id]");
const places = [...document.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
const top = scrollY;
for (const one of fresh.querySelectorAll("details[id]")) one.open = open.has(one.id);
document.querySelector(".page").replaceChildren(...fresh.querySelector(".page").childNodes);
document.querySelectorAll(".scroll").forEach((one, at) => { if (places[at]) one.scrollTo(...places[at]); });
if (focus) { const same = document.getElementById(focus.id); if (same) same.querySelector("summary").focus({ preventScroll: true }); }
scrollTo({ top, behavior: "instant" });
} catch { mark(false); } finally {
busy = false;
if (wanted) { wanted = false; renew(); }
}
}
function mark(there) { const one = document.getElementById("live"); if (one) one.classList.toggle("lost", !there); }
let first = null;
events.onopen = () => mark(true);
events.onerror = () => mark(false);
events.onmessage = (event) => {
if (first === null && live.dataset.revision === event.data) { first = event.data; return; }
first = event.data;
renew();
};
})();
