// What a page is at the width of a telephone: each is loaded into a frame, and what is wrong is written as one line of JSON.
"use strict";
const WIDTH = 390;

function path(element) {
  const name = element.className && typeof element.className === "string" ? "." + element.className.trim().split(/\s+/).join(".") : "";
  return element.tagName.toLowerCase() + name + ": " + [...element.textContent.trim()].slice(0, 60).join("").replace(/\s+/g, " ");
}

function wrong(page) {
  const found = [];
  const root = page.documentElement;
  if (root.scrollWidth > WIDTH) {
    const wide = [...page.body.querySelectorAll("article *")].filter((each) => each.getBoundingClientRect().right > WIDTH + 1);
    found.push("scrolls sideways, " + root.scrollWidth + " px" + (wide.length ? ", " + path(wide[0]) : ""));
  }
  for (const each of page.body.querySelectorAll("article *")) {
    const style = page.defaultView.getComputedStyle(each);
    const scrolls = style.overflowX === "auto" || style.overflowX === "scroll";
    if (scrolls && each.scrollWidth > each.clientWidth + 1 && each.tabIndex < 0) found.push("no key reaches " + path(each));
    if (style.overflowX === "hidden" && each.clientWidth && each.scrollWidth > each.clientWidth + 1) found.push("is cut: " + path(each));
  }
  const background = page.defaultView.getComputedStyle(page.body).backgroundColor;
  return { found: found, background: background };
}

async function look(pages) {
  const answers = {};
  for (const name of pages) {
    const frame = document.createElement("iframe");
    frame.style.cssText = "border:0;width:" + WIDTH + "px;height:844px";
    await new Promise((done) => { frame.onload = done; frame.src = name; document.body.append(frame); });
    answers[name] = wrong(frame.contentDocument);
    frame.remove();
  }
  document.body.innerHTML = "";
  document.body.textContent = "ANSWERS:" + JSON.stringify(answers) + ":END";
}
