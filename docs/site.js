// What the theme leaves unnamed or out of reach of the keyboard (axe-core: aria-dialog-name, landmark-unique, empty-table-header,
// scrollable-region-focusable). Buttons of code blocks are added late, hence the observer.
function mend() {
  document.querySelectorAll("[role=dialog]:not([aria-label])").forEach((part) => part.setAttribute("aria-label", "Search"));
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((part, i) => part.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelectorAll("th:empty:not([role])").forEach((part) => part.setAttribute("role", "none"));
  document.querySelectorAll("pre > code:not([tabindex]), .md-typeset__scrollwrap:not([tabindex])").forEach((part) => { part.tabIndex = 0; });
}
mend();
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
