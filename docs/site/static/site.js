// What scrolls sideways can be reached and scrolled by the keyboard in every browser, and what does not is no stop on the way.
"use strict";

function reachable() {
  for (const box of document.querySelectorAll("article pre, article dd, article .formula, article .table-wrapper, article .needs, article ul")) {
    if (box.scrollWidth > box.clientWidth + 1) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", "scrolls sideways");
    } else {
      box.removeAttribute("tabindex");
      box.removeAttribute("role");
      box.removeAttribute("aria-label");
    }
  }
}

addEventListener("load", reachable);
addEventListener("resize", reachable);
