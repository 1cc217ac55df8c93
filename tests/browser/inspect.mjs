// Opens pages in headless Chromium and reports what a test cannot see in the text: accessibility, width, errors.
//
// Usage: node inspect.mjs MODULES CHROMIUM < requests.json > results.json
//
// A request: {"url", "widths": [PIXELS], "dark": BOOLEAN, "script": EXPRESSION or null, "axe": BOOLEAN,
// "screenshot": FOLDER or null}.
// There is one result for each width: see `Inspection` in tests/src/browser.rs.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [modules, executablePath] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
/** Height of the window in pixels. */
const HEIGHT = 900;

const requests = JSON.parse(readFileSync(0, "utf8"));
// Chromium's sandbox cannot be used by root, and the pages are those of the tests.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const results = [];
for (const request of requests) {
  for (const width of request.widths) results.push(await inspect(request, width));
}
await browser.close();
process.stdout.write(JSON.stringify(results));

async function inspect({ url, dark, script, axe: withAxe, screenshot }, width) {
  const colorScheme = dark ? "dark" : "light";
  const page = await browser.newPage({ viewport: { width, height: HEIGHT }, colorScheme });
  const errors = [];
  const fetched = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  page.on("dialog", (dialog) => {
    errors.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (one) => {
    if (one.url() !== url && !one.url().startsWith("data:")) fetched.push(one.url());
  });
  await page.goto(url, { waitUntil: "load" });
  const evaluated = script ? await page.evaluate(script) : null;
  const pageWidth = await page.evaluate("document.documentElement.scrollWidth");
  let violations = [];
  if (withAxe) {
    await page.evaluate(axe);
    // It would fetch style sheets again, which a page of a file may not.
    ({ violations } = await page.evaluate("axe.run({ preload: false })"));
  }
  if (screenshot) {
    const path = join(screenshot, `${width}${dark ? "-dark" : ""}.png`);
    await page.screenshot({ path, fullPage: true });
  }
  await page.close();
  return {
    width,
    page_width: pageWidth,
    violations: violations.map(({ id, impact, help, nodes }) => ({
      id,
      impact,
      help,
      elements: nodes.map((node) => node.html),
    })),
    errors,
    fetched,
    evaluated,
  };
}
