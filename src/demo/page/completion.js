// A completion, by fetch.

/** Splits an event stream into events: LF, CRLF or CR, in whatever pieces it comes. */
class EventParser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.decoder = new TextDecoder();
    this.rest = "";
    this.clear();
  }

  clear() {
    this.kind = "";
    this.data = [];
    this.id = null;
  }

  feed(bytes) {
    this.rest += this.decoder.decode(bytes, { stream: true });
    for (;;) {
      const end = this.rest.search(/[\r\n]/);
      if (end < 0) return;
      const isCr = this.rest[end] === "\r";
      // A CR at the very end may be the first half of a CRLF: the LF is taken when it comes.
      const next = isCr && this.rest[end + 1] === "\n" ? end + 2 : end + 1;
      const skipped = end === 0 && this.afterCr && this.rest[0] === "\n";
      const line = this.rest.slice(0, end);
      this.afterCr = isCr && next === end + 1 && next === this.rest.length;
      this.rest = this.rest.slice(next);
      if (!skipped) this.line(line);
    }
  }

  line(line) {
    if (line === "") {
      if (this.data.length) this.onEvent(this.kind || "message", this.data.join("\n"), this.id);
      this.clear();
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.data.push(value);
    else if (name === "event") this.kind = value;
    else if (name === "id") this.id = value;
  }
}

const output = $("output");
const completion = { gaps: new Gaps(), run: 0, abort: null };
const tokenChart = gapChart($("gaps"), () => completion.gaps, 100);

function showError(title, message, detail) {
  $("error-title").textContent = title;
  $("error-message").textContent = message;
  $("error-detail").textContent = detail || "";
  $("error-detail").hidden = !detail;
  $("error").hidden = false;
}

/** The message of an error object, in any of the shapes model APIs have for it. */
function messageOf(value) {
  const error = value?.error ?? value;
  if (typeof error === "string") return error;
  return typeof error?.message === "string" ? error.message : null;
}

async function showRefusal(response) {
  const text = await response.text();
  let message = null;
  let detail = text.slice(0, 2000);
  try {
    const value = JSON.parse(text);
    message = messageOf(value);
    detail = JSON.stringify(value, null, 2);
  } catch {
    // Not JSON: the text itself is shown.
  }
  const id = response.headers.get("x-request-id");
  const title = `${response.status} ${response.statusText}`.trim();
  showError(title, message ?? "The answer holds no message.", id ? `${detail}\nx-request-id: ${id}` : detail);
  return title;
}

/** One run of the first panel, from the press of Start to whatever ends it. */
class Run {
  constructor() {
    this.number = ++completion.run;
    this.gaps = new Gaps();
    this.count = 0;
    this.zeros = 0;
    this.first = null;
    this.sent = 0;
    this.markerSeen = false;
    this.finish = null;
    this.failure = null;
    this.readAt = 0;
    this.lastRead = null;
    this.stream = null;
    this.lastId = null;
    this.wasCut = false;
    completion.gaps = this.gaps;
    this.connect();
  }

  connect() {
    this.wasCut = false;
    this.abort = new AbortController();
    completion.abort = this.abort;
    completion.current = this;
  }

  event(kind, data, id) {
    this.lastId = id ?? this.lastId;
    if (kind === "gap") {
      this.failure ??= "Some of the answer is no longer kept.";
      return;
    }
    if (data === "[DONE]") {
      this.markerSeen = true;
      return;
    }
    let value;
    try {
      value = JSON.parse(data);
    } catch {
      this.failure ??= `An event is not JSON: ${data.slice(0, 200)}`;
      return;
    }
    if (value.error || kind === "error") {
      this.failure ??= messageOf(value) ?? data.slice(0, 500);
      return;
    }
    const choice = value.choices?.[0];
    this.finish = choice?.finish_reason ?? this.finish;
    const content = choice?.delta?.content;
    if (content) this.token(content);
  }

  token(content) {
    if (this.first === null) this.first = this.readAt - this.sent;
    else if (this.lastRead === this.readAt) this.zeros += 1;
    this.lastRead = this.readAt;
    this.count += 1;
    this.gaps.arrive(this.readAt);
    if (this.count === 1) output.replaceChildren();
    const follows = output.scrollHeight - output.scrollTop - output.clientHeight < 24;
    const span = document.createElement("span");
    span.className = "token";
    span.textContent = content;
    output.append(span);
    if (follows) output.scrollTop = output.scrollHeight;
  }

  figures() {
    showTime($("first"), this.first);
    show($("count"), this.count.toLocaleString("en"));
    showTime($("median"), this.gaps.median);
    showTime($("largest"), this.gaps.largest);
    describe($("gaps"), $("gaps-note"), this.gaps, "token", this.zeros);
    tokenChart.ask();
  }

  /** Asks for an answer. */
  ask(prompt, model) {
    this.sent = performance.now();
    return fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ model, stream: true, messages: [{ role: "user", content: prompt }] }),
      signal: this.abort.signal,
    });
  }

  /** Goes on with an answer that is kept, after the last event that was read here. */
  resume() {
    this.sent = performance.now();
    const headers = { accept: "text/event-stream" };
    if (this.lastId) headers["last-event-id"] = this.lastId;
    return fetch(`/streams/${this.stream}`, { headers, signal: this.abort.signal });
  }

  async read(asking) {
    const response = await asking;
    if (response.status === 204) return this.ending();
    if (!response.ok) return { state: "bad", text: `Refused: ${await showRefusal(response)}` };
    const type = response.headers.get("content-type") ?? "";
    if (!type.startsWith("text/event-stream")) {
      showError("No event stream", `The answer is ${type || "of no named type"}, so there is nothing to measure.`, (await response.text()).slice(0, 2000));
      return { state: "bad", text: "The answer was not an event stream" };
    }
    this.stream = response.headers.get("deltaway-stream") ?? this.stream;
    offerStream(this.stream);
    const parser = new EventParser((kind, data, id) => this.event(kind, data, id));
    const reader = response.body.getReader();
    status($("status"), "live", "Streaming");
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      this.readAt = performance.now();
      parser.feed(value);
      this.figures();
    }
    return this.ending();
  }

  ending() {
    const tokens = plural(this.count, "token");
    if (this.failure) {
      showError("The stream reported an error", this.failure);
      return { state: "bad", text: `Ended by an error after ${tokens}` };
    }
    if (this.markerSeen) return { state: "done", text: `Complete: ${tokens}, then [DONE]` };
    if (this.finish) return { state: "done", text: `Complete: ${tokens}, finish reason “${this.finish}”, no [DONE]` };
    showError("The stream ended early", "It ended with neither a finish reason nor [DONE], so the answer is probably not whole.");
    return { state: "bad", text: `Cut off after ${tokens}` };
  }
}

/** Says where the answer can be watched, and that it can be come back to. */
function offerStream(id) {
  $("along").hidden = !id;
  $("cut").hidden = !id;
  if (id) $("watch").href = `/?watch=${id}`;
}

async function start(event) {
  event.preventDefault();
  completion.abort?.abort();
  const run = new Run();
  output.replaceChildren();
  await follow(run, run.ask($("prompt").value, $("model").value.trim()), "Sent, waiting for the answer");
}

/** Opens the connection of a run that was cut, or watches another's. */
async function comeBack(run) {
  run.connect();
  await follow(run, run.resume(), "Coming back");
}

async function follow(run, asking, waiting) {
  $("error").hidden = true;
  output.hidden = false;
  swap($("back"), $("stop"));
  swap($("start"), $("stop"));
  output.classList.add("live");
  run.figures();
  status($("status"), "wait", waiting);
  let ending;
  try {
    ending = await run.read(asking);
  } catch (error) {
    if (run.wasCut) {
      ending = { state: "wait", text: `Cut after ${plural(run.count, "token")}; the answer goes on without you` };
    } else if (run.abort.signal.aborted) {
      ending = { state: "idle", text: `Stopped here after ${plural(run.count, "token")}` };
    } else {
      showError(run.count ? "The connection broke" : "No answer", String(error?.message ?? error));
      ending = { state: "bad", text: `Broken off after ${plural(run.count, "token")}` };
    }
  }
  if (run.number !== completion.run) return;
  completion.abort = null;
  if (run.wasCut && !run.markerSeen) swap($("cut"), $("back"));
  else $("cut").hidden = true;
  output.classList.remove("live");
  output.hidden = run.count === 0 && !$("error").hidden;
  swap($("stop"), $("start"));
  run.figures();
  status($("status"), ending.state, ending.text);
}

/** Puts one button in the place of another, and the focus with it. */
function swap(gone, come) {
  const focused = document.activeElement === gone;
  gone.hidden = true;
  come.hidden = false;
  if (focused) come.focus();
}

$("ask").addEventListener("submit", start);
$("stop").addEventListener("click", () => {
  const { current, abort } = completion;
  // To leave does not stop an answer that is kept: it has to be said.
  if (current?.stream) fetch(`/streams/${current.stream}`, { method: "DELETE" }).catch(() => {});
  abort?.abort();
});
$("cut").addEventListener("click", () => {
  completion.current.wasCut = true;
  completion.abort?.abort();
});
$("back").addEventListener("click", () => comeBack(completion.current));
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});

// The same for a terminal.

const command = `curl -N ${location.origin}/v1/chat/completions \\
  -H 'content-type: application/json' \\
  -d '{"model":"demo","stream":true,"messages":[{"role":"user","content":"Hello"}]}'`;
$("curl").textContent = command;
$("copy").hidden = !navigator.clipboard;
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(command);
    $("copy").textContent = "Copied";
  } catch {
    $("copy").textContent = "Not allowed";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
});

tokenChart.ask();

// A second window watches along from the beginning.
const watched = new URLSearchParams(location.search).get("watch");
if (/^[0-9a-f]{32}$/.test(watched ?? "")) {
  const run = new Run();
  run.stream = watched;
  output.replaceChildren();
  comeBack(run);
}
