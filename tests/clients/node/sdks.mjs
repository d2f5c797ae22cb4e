// Runs calls of the official Node SDKs and reports what came of each.
//
// Reads one line of JSON from standard input: a list of jobs (see sdks.py). Writes one line: the
// list of reports. Then it stays until its input ends, with every connection as the SDK left it, so
// that a cancelled request cannot be mistaken for the end of the process.

import readline from "node:readline";
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";

const BODIES = {
  chat: { messages: [{ role: "user", content: "Hello" }] },
  responses: { input: "Hello" },
  messages: { max_tokens: 1024, messages: [{ role: "user", content: "Hello" }] },
};

function start(job) {
  const options = { apiKey: job.key, maxRetries: 0, timeout: 30_000 };
  const body = { model: job.model, ...BODIES[job.call], stream: job.stream };
  if (job.call === "messages") {
    const { apiKey, ...rest } = options;
    return new Anthropic({ ...rest, apiKey, baseURL: job.url }).messages.create(body);
  }
  const client = new OpenAI({ ...options, baseURL: `${job.url}/v1` });
  return job.call === "chat" ? client.chat.completions.create(body) : client.responses.create(body);
}

function described(error) {
  const classes = [];
  for (let proto = Object.getPrototypeOf(error); proto; proto = Object.getPrototypeOf(proto)) {
    classes.push(proto.constructor.name);
  }
  return { classes, status: error.status ?? null, message: String(error.message) };
}

async function run(job) {
  const report = { items: [], left: false, error: null };
  try {
    const answer = await start(job);
    if (!job.stream) {
      report.items.push(answer);
      return report;
    }
    for await (const item of answer) {
      report.items.push(item);
      if (report.items.length === job.leave_after) {
        report.left = true;
        break;
      }
    }
  } catch (error) {
    report.error = described(error);
  }
  return report;
}

const lines = readline.createInterface({ input: process.stdin });
lines.once("line", async (line) => {
  const reports = [];
  for (const job of JSON.parse(line)) reports.push(await run(job));
  process.stdout.write(`${JSON.stringify(reports)}\n`);
});
lines.once("close", () => process.exit(0));
