// A streaming application on Express, as people write it: its port is the last argument.

import { readFileSync } from "node:fs";
import express from "express";

const RECORDINGS = new URL("../../recordings/", import.meta.url);

const app = express();
app.use(express.json());

// Says which connection the request came on.
app.get("/who", (request, response) => {
  response.json({ port: request.socket.remotePort });
});

// A recorded stream, in chunks of so many bytes that have nothing to do with its events.
app.get("/replay", (request, response) => {
  const body = readFileSync(new URL(`${request.query.recording}/response.sse`, RECORDINGS));
  const size = Number(request.query.size);
  response.setHeader("Content-Type", "text/event-stream");
  response.flushHeaders();
  for (let start = 0; start < body.length; start += size) {
    response.write(body.subarray(start, start + size));
  }
  response.end();
});

// A short chat completion that names its connection.
app.post("/v1/chat/completions", (request, response) => {
  const content = String(request.socket.remotePort);
  const chunk = { choices: [{ index: 0, delta: { content }, finish_reason: "stop" }] };
  response.setHeader("Content-Type", "text/event-stream");
  response.write(`data: ${JSON.stringify(chunk)}`);
  response.write("\n\ndata: [DONE]\n\n");
  response.end();
});

const server = app.listen(Number(process.argv.at(-1)), "127.0.0.1");
server.keepAliveTimeout = Number(process.env.KEEP_ALIVE_SECONDS) * 1000;
