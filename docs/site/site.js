// Long code in cells may break anywhere, so that tables are not wider than pages.
for (const code of document.querySelectorAll("td code")) {
  if (code.textContent.length > 32) code.classList.add("long");
}
// Whatever scrolls sideways can be scrolled with the keyboard, too.
for (const element of document.querySelectorAll("pre > code, .table-wrapper")) {
  if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
}
