// Written pages in headless Chromium: axe-core at two widths, light, dark and print, and the keyboard; JSON on stdout.
//
//   npm install @sparticuz/chromium puppeteer-core axe-core    # in FOLDER; CHROMIUM=PATH takes another browser
//   PICTURES=DIR node pages.mjs FOLDER report.html http://127.0.0.1:8000/    # files or addresses
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const [folder, ...pages] = process.argv.slice(2);
const require = createRequire(pathToFileURL(resolve(folder, "package.json")));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const puppeteer = (await load("puppeteer-core")).default;
const axe = require.resolve("axe-core/axe.min.js");

async function browserPath() {
  if (process.env.CHROMIUM) return { path: process.env.CHROMIUM, args: ["--no-sandbox"] };
  const chromium = (await load("@sparticuz/chromium")).default;
  return { path: await chromium.executablePath(), args: ["--no-sandbox"] };
}

const VIEWS = [
  ["desktop, light", 1280, "light", "screen"],
  ["desktop, dark", 1280, "dark", "screen"],
  ["phone, light", 390, "light", "screen"],
  ["phone, dark", 390, "dark", "screen"],
  ["print", 703, "light", "print"],
];

// What the Tab key reaches, and whether one sees where it is.
async function keyboard(page) {
  const expected = await page.evaluate(() => {
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    return [...document.querySelectorAll("a[href], summary, button, input, [tabindex='0']")]
      .filter((part) => part.checkVisibility()).length;
  });
  const reached = new Set(), unseen = [];
  for (let i = 0; i < Math.min(expected, 150); i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const part = document.activeElement, style = getComputedStyle(part);
      if (!part.dataset.number) part.dataset.number = String(document.querySelectorAll("[data-number]").length + 1);
      return { number: part.dataset.number, body: part === document.body,
        seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, html: part.outerHTML.slice(0, 80) };
    });
    if (at.body) break;
    reached.add(at.number);
    if (!at.seen) unseen.push(at.html);
  }
  return { expected: Math.min(expected, 150), reached: reached.size, unseen: unseen.slice(0, 5) };
}

// Texts of pictures, of which axe does not judge the contrast: less than 4.5 to the page. Cells of matrices have their own ground.
function faint() {
  const channels = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
  const luminance = (colour) => channels(colour).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const page = luminance(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("figure svg text")].filter((text) => {
    const svg = text.closest("svg");
    if (svg.querySelector("image") && /matrix/i.test(svg.getAttribute("aria-label"))) return false;
    const ink = luminance(getComputedStyle(text).fill);
    return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05) < 4.5;
  }).map((text) => text.textContent.slice(0, 40)).slice(0, 5);
}

async function picture(page, width, name) {
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  for (let top = 0, k = 0; top < Math.min(height, 8000); top += 2000, k++) {
    await page.setViewport({ width, height: 2000 });
    await page.evaluate((y) => window.scrollTo(0, y), top);
    await page.screenshot({ path: `${process.env.PICTURES}/${name}.${k}.png` });
  }
}

const { path, args } = await browserPath();
const browser = await puppeteer.launch({ executablePath: path, args, headless: "shell" });
const results = { browser: await browser.version(), axe: require("axe-core").version, pages: {} };
for (const name of pages) {
  const views = {};
  for (const [view, width, scheme, media] of VIEWS) {
    const context = await browser.createBrowserContext(); // a site may remember the scheme
    const page = await context.newPage();
    await page.setBypassCSP(true); // of axe alone: the page itself runs no script
    await page.setViewport({ width, height: 900 });
    if (media === "print") await page.emulateMediaType(media); // either of the two takes back the other
    else await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto(/^https?:/.test(name) ? name : pathToFileURL(resolve(name)).href);
    await page.evaluate(() => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
    await page.addScriptTag({ path: axe });
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations", "incomplete"] }));
    const short = (rules) => rules.map((rule) => ({ id: rule.id, impact: rule.impact, n: rule.nodes.length,
      first: rule.nodes[0].html.slice(0, 160), why: (rule.nodes[0].failureSummary || "").slice(0, 300) }));
    const texts = await page.evaluate(faint);
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const scrolls = await page.evaluate(() => document.documentElement.scrollWidth);
    views[view] = { passes: found.passes.length, violations: short(found.violations),
      incomplete: short(found.incomplete), overflow: Math.max(0, scrolls - width), ground, texts };
    if (process.env.PICTURES) await picture(page, width, `${name.split("/").pop()}.${view.replace(", ", "-")}`);
    if (view === "desktop, light") views[view].keyboard = await keyboard(page);
    await context.close();
  }
  results.pages[/^https?:/.test(name) ? new URL(name).pathname : name.split("/").slice(-2).join("/")] = views;
}
await browser.close();
console.log(JSON.stringify(results, null, 1));
