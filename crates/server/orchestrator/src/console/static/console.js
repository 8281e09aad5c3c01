// Renews the part of a page that is marked `data-live`, by asking for the page again. Everything
// else works without this file.
"use strict";

const every = 2000;
const note = document.querySelector("[data-live-note]");
let renewing = false;

function say(text) {
  if (note && note.textContent !== text) note.textContent = text;
}

async function renew() {
  const shown = document.querySelector("[data-live]");
  // What somebody is using is left alone.
  if (!shown || renewing || document.hidden || shown.contains(document.activeElement)) return;
  renewing = true;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (fresh && !fresh.isEqualNode(shown)) shown.replaceWith(document.adoptNode(fresh));
    say("The numbers renew themselves every two seconds.");
  } catch {
    say("The numbers do not renew themselves right now: reload the page.");
  } finally {
    renewing = false;
  }
}

setInterval(renew, every);
document.addEventListener("visibilitychange", renew);
renew();
