// Runs a script with the package `eventsource` in place of a browser's EventSource.
//
// Reads a line of JSON from standard input: { script }. Writes one line: {"result": …} or {"failure": …}.

import readline from "node:readline";
import { EventSource } from "eventsource";

globalThis.EventSource = EventSource;

const lines = readline.createInterface({ input: process.stdin });
lines.once("line", async (line) => {
  const { script } = JSON.parse(line);
  let said;
  try {
    said = { result: await (0, eval)(script) };
  } catch (error) {
    said = { failure: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`, () => process.exit(0));
});
