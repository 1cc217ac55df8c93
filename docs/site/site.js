// Long code in cells may break anywhere, so that tables are not wider than pages.
for (const code of document.querySelectorAll("td code")) {
  if (code.textContent.length > 32) code.classList.add("long");
}
// Whatever scrolls sideways can be scrolled with the keyboard, too.
for (const element of document.querySelectorAll("pre > code, .table-wrapper")) {
  if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
}
// A cell without text heads no column.
for (const heading of document.querySelectorAll("thead th")) {
  if (heading.textContent.trim() === "") heading.replaceWith(document.createElement("td"));
}
// The bar is a landmark.
document.getElementById("mdbook-menu-bar")?.setAttribute("role", "banner");
// What shows the chapters is a button, for the keyboard too. mdBook's label stays behind it, since its scripts refer to it.
const label = document.getElementById("mdbook-sidebar-toggle");
if (label) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = label.className;
  button.title = label.title;
  button.append(...label.childNodes);
  button.addEventListener("click", () => label.click());
  const follow = () => {
    for (const name of ["aria-label", "aria-controls", "aria-expanded"]) button.setAttribute(name, label.getAttribute(name));
  };
  follow();
  new MutationObserver(follow).observe(label, { attributes: true });
  label.style.display = "none";
  label.after(button);
}
