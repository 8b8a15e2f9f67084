"use strict";
// Pages work without this file. It asks before what cannot be undone, and keeps what was typed from getting lost.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
  }
});

let isChanged = false;
document.addEventListener("input", (event) => {
  isChanged = isChanged || event.target.closest("form[data-keep]") !== null;
});
document.addEventListener("submit", () => {
  isChanged = false;
});
window.addEventListener("beforeunload", (event) => {
  if (isChanged) {
    event.preventDefault();
  }
});

// A part that keeps itself up to date says so when it cannot, and goes on trying.
document.addEventListener("htmx:afterRequest", (event) => {
  const stale = document.getElementById("stale");
  if (stale !== null && event.detail.requestConfig.verb === "get") {
    stale.hidden = event.detail.successful === true;
  }
});
