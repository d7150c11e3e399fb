// What the theme leaves open. Runs in the head of every page, before anything is drawn.

// Dark from the first paint: the theme itself decides only when the page has loaded.
const root = document.documentElement;
if (!["light", "dark"].includes(root.dataset.theme)) {
  root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

document.addEventListener("DOMContentLoaded", () => {
  // A label that hides the visible text from screen readers and voice control.
  for (const element of document.querySelectorAll("details.hide > summary, .search-button-field, .theme-switch-button")) {
    element.removeAttribute("aria-label");
  }
  if (location.protocol == "file:") document.querySelector(".door span")?.removeAttribute("hidden");
});

// Formulas wider than the page scroll: the keyboard must reach them.
const reachFormulas = () => {
  for (const formula of document.querySelectorAll("div.math mjx-container, span.math")) {
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
    else formula.removeAttribute("tabindex");
  }
};
addEventListener("load", () => window.MathJax?.startup?.promise?.then(reachFormulas));
addEventListener("resize", reachFormulas);

// Paper has no buttons: hidden code is printed.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(".cell > details.hide:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
