// Opens one page in headless Chromium and runs one script in it.
//
// Reads a line of JSON from standard input: { url, script, profile, screenshot?, chromium }. Writes
// lines of JSON as things happen: {"report": …} for each `report(…)` of the script, {"bytes": n} for
// each piece of a body that the browser received, and last {"result": …} or {"failure": …}.

import readline from "node:readline";
import { chromium } from "playwright-core";

function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

async function run(job) {
  const context = await chromium.launchPersistentContext(job.profile, {
    executablePath: job.chromium,
    headless: true,
    viewport: { width: 1280, height: 900 },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  try {
    const page = await context.newPage();
    page.on("pageerror", (error) => say({ failure: `the page threw: ${error.message}` }));
    await page.exposeFunction("report", (value) => say({ report: value }));
    const devtools = await context.newCDPSession(page);
    await devtools.send("Network.enable");
    devtools.on("Network.dataReceived", ({ dataLength }) => say({ bytes: dataLength }));
    await page.goto(job.url);
    const result = await page.evaluate(job.script);
    if (job.screenshot) await page.screenshot({ path: job.screenshot, fullPage: true });
    say({ result });
  } catch (error) {
    say({ failure: String(error.message) });
  } finally {
    await context.close();
  }
}

const lines = readline.createInterface({ input: process.stdin });
lines.once("line", async (line) => {
  await run(JSON.parse(line));
  process.exit(0);
});
