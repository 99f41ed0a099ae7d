// From disk, a page may not read others: search shows titles without excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Hits in the glossary are told apart by their terms.
function nameTerms() {
  for (const link of document.querySelectorAll("#search-results a[href*='#term-']:not(.named)")) {
    const term = decodeURIComponent(link.hash).replace("#term-", "").replaceAll("-", " ");
    link.classList.add("named");
    link.append(`: ${term}`);
  }
}

// A line does not begin with the sign that ends a formula.
function joinSigns() {
  for (const formula of document.querySelectorAll(".bd-article span.math")) {
    const next = formula.nextSibling;
    const sign = next?.nodeType === Node.TEXT_NODE && next.data.match(/^[.,;:!?)]+/)?.[0];
    if (!sign) continue;
    const joined = document.createElement("span");
    joined.className = "joined";
    formula.replaceWith(joined);
    joined.append(formula, sign);
    next.data = next.data.slice(sign.length);
  }
}

// What scrolls sideways can be reached by keyboard, and shows that it scrolls.
function markScrolling() {
  keepNames();
  const wide = ".bd-article :is(table, figure, .picture-box, pre, span.math, div.math mjx-container)";
  for (const box of document.querySelectorAll(wide)) {
    const overflow = getComputedStyle(box).overflowX;
    const slack = box.matches("span.math") ? 6 : 1; // a hat reaches beyond its letter
    const scrolls = overflow !== "visible" && box.scrollWidth > box.clientWidth + slack;
    box.classList.toggle("scrolls", scrolls);
    if (scrolls) box.tabIndex = 0;
  }
}

// Two columns of names stay while a table scrolls, if they leave room for its numbers.
function keepNames() {
  const second = "table.dataframe tr:nth-child(2) > th[scope='row'] + th[scope='row']";
  for (const name of document.querySelectorAll(second)) {
    const [first, table] = [name.previousElementSibling.offsetWidth, name.closest("table")];
    table.classList.toggle("two-names", first + name.offsetWidth < 0.6 * table.clientWidth);
    table.style.setProperty("--first-name", `${first}px`);
  }
}

// A button that folds is called by what it folds.
function nameButtons() {
  for (const button of document.querySelectorAll("button.toggle-button"))
    button.setAttribute("aria-label", `Show or hide: ${button.parentElement.innerText.trim()}`);
  for (const button of document.querySelectorAll(".search-button-field"))
    button.removeAttribute("aria-label"); // its own text says more
}

// The side bar is a landmark with all that it has, not only its list of pages.
function nameSideBar() {
  const bar = document.querySelector(".bd-sidebar-primary");
  bar?.setAttribute("role", "navigation");
  bar?.setAttribute("aria-label", "Book");
}

window.addEventListener("load", async () => {
  nameButtons();
  nameSideBar();
  nameTerms();
  joinSigns();
  const results = document.getElementById("search-results");
  if (results) new MutationObserver(nameTerms).observe(results, { childList: true, subtree: true });
  await window.MathJax?.startup?.promise;
  markScrolling();
  window.addEventListener("resize", markScrolling);
  document.addEventListener("toggle", markScrolling, true); // of <details>
  document.addEventListener("click", () => setTimeout(markScrolling));
});
