
"use strict";
// Two measurements, shown as they are taken: tokens of a completion read with fetch, and events of
// a feed read with the browser's own EventSource. Nothing is shown that was not measured here.

const $ = (id) => document.getElementById(id);

/** Times in milliseconds, whole above 10 and with one place below, as precise as a browser's clock. */
function figure(ms) {
  return ms < 10 ? ms.toFixed(1) : Math.round(ms).toLocaleString("en");
}

function show(cell, value, unit) {
  cell.textContent = value;
  if (unit) {
    const small = document.createElement("small");
    small.textContent = unit;
    cell.append(small);
  }
}

function showTime(cell, ms) {
  if (ms === null) show(cell, "–");
  else if (ms < 10_000) show(cell, figure(ms), "ms");
  else show(cell, (ms / 1000).toFixed(1), "s");
}

function status(line, state, text) {
  line.querySelector(".dot").dataset.state = state;
  const place = line.querySelector(".text");
  if (place.textContent !== text) place.textContent = text;
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

/** Gaps between arrivals: all of them for the figures, the last of them for the chart. */
class Gaps {
  constructor() {
    this.all = [];
    this.sorted = [];
    this.last = null;
  }

  arrive(now) {
    if (this.last !== null) {
      const gap = now - this.last;
      this.all.push(gap);
      let low = 0;
      let high = this.sorted.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.sorted[middle] < gap) low = middle + 1;
        else high = middle;
      }
      this.sorted.splice(low, 0, gap);
    }
    this.last = now;
  }

  get median() {
    const count = this.sorted.length;
    if (count === 0) return null;
    const middle = count >> 1;
    return count % 2 ? this.sorted[middle] : (this.sorted[middle - 1] + this.sorted[middle]) / 2;
  }

  get largest() {
    return this.sorted.length ? this.sorted[this.sorted.length - 1] : null;
  }

  /** The largest gap, where it stands out. */
  get notable() {
    return this.all.length > 2 && this.largest > NOTABLE * this.median ? this.largest : null;
  }
}

/** Draws on a canvas at most once a frame, at the screen's resolution, in the page's colours. */
class Drawing {
  constructor(canvas, paint) {
    this.canvas = canvas;
    this.paint = paint;
    this.asked = false;
    new ResizeObserver(() => this.ask()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.ask());
  }

  ask() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.draw();
    });
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.paint(pen, width, height, colour);
  }
}

/** The next round number at or above `value`: 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** A bar and the space after it: as wide as there is room for, between these bounds in pixels. */
const NARROW = 3;
const WIDE = 9;

/** Where the scale stands, right of the bars. */
const GUTTER = 52;

/** A largest gap this many times the median stands out, and is marked. */
const NOTABLE = 1.25;

/** How many bars there is room for at most. */
function room(canvas) {
  return Math.max(1, Math.floor((canvas.clientWidth - GUTTER) / NARROW));
}

function gapChart(canvas, gaps, floor) {
  return new Drawing(canvas, (pen, width, height, colour) => {
    const shown = gaps().all.slice(-room(canvas));
    const median = gaps().median;
    const top = roundUp(Math.max(floor, ...shown));
    const base = height - 1;
    const y = (gap) => base - (gap / top) * (base - 14);
    pen.font = "11px ui-sans-serif, system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    pen.lineWidth = 1;
    const plot = width - GUTTER;
    for (const mark of [0, top / 2, top]) {
      const line = Math.round(y(mark)) - 0.5;
      pen.strokeStyle = colour("line");
      pen.beginPath();
      pen.moveTo(0, line);
      pen.lineTo(plot, line);
      pen.stroke();
      pen.fillStyle = colour("soft");
      const text = top >= 2000 ? `${mark / 1000} s` : `${mark} ms`;
      pen.fillText(text, plot + 8, Math.min(line, height - 6));
    }
    const step = Math.min(WIDE, Math.max(NARROW, plot / Math.max(1, shown.length)));
    const bar = step - (step > 5 ? 2 : 1);
    const marked = gaps().notable;
    shown.forEach((gap, at) => {
      pen.fillStyle = colour(gap === marked ? "peak" : "bar");
      const tall = Math.max(1, base - y(gap));
      const corner = Math.min(2.5, bar / 2, tall);
      pen.beginPath();
      pen.roundRect(at * step, base - tall, bar, tall, [corner, corner, 0, 0]);
      pen.fill();
    });
    if (median !== null) {
      const line = Math.round(y(median)) - 0.5;
      pen.strokeStyle = colour("ink");
      pen.setLineDash([3, 4]);
      pen.beginPath();
      pen.moveTo(0, line);
      pen.lineTo(plot, line);
      pen.stroke();
      pen.setLineDash([]);
    }
  });
}

/** What a chart shows, in words: below it for everyone, and as its name for a screen reader. */
function describe(canvas, note, gaps, word, zeros) {
  const count = gaps.all.length;
  if (count === 0) {
    note.textContent = `Each bar is the gap before one ${word}.`;
    canvas.setAttribute("aria-label", `Gaps between ${word}s: nothing measured yet`);
    return;
  }
  const fit = room(canvas);
  const which = count > fit ? `The last ${fit} of ${plural(count, "gap")}` : plural(count, "gap");
  const together = zeros > 0 ? ` ${plural(zeros, word)} came in one read with the ${word} before.` : "";
  const marked = gaps.all.slice(-fit).includes(gaps.notable) ? " Orange: the largest." : "";
  note.textContent = `${which}. Dashed: the median.${marked}${together}`;
  canvas.setAttribute(
    "aria-label",
    `Gaps between ${word}s: ${count} measured, median ${figure(gaps.median)} milliseconds, largest ${figure(gaps.largest)} milliseconds`,
  );
}

// ---------------------------------------------------------------- a completion, by fetch

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
      if (this.data.length) this.onEvent(this.kind || "message", this.data.join("\n"));
      this.clear();
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.data.push(value);
    else if (name === "event") this.kind = value;
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
    this.abort = new AbortController();
    completion.gaps = this.gaps;
    completion.abort = this.abort;
  }

  event(kind, data) {
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

  async go(prompt, model) {
    this.sent = performance.now();
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ model, stream: true, messages: [{ role: "user", content: prompt }] }),
      signal: this.abort.signal,
    });
    if (!response.ok) return { state: "bad", text: `Refused: ${await showRefusal(response)}` };
    const type = response.headers.get("content-type") ?? "";
    if (!type.startsWith("text/event-stream")) {
      showError("No event stream", `The answer is ${type || "of no named type"}, so there is nothing to measure.`, (await response.text()).slice(0, 2000));
      return { state: "bad", text: "The answer was not an event stream" };
    }
    const parser = new EventParser((kind, data) => this.event(kind, data));
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

async function start(event) {
  event.preventDefault();
  completion.abort?.abort();
  const run = new Run();
  $("error").hidden = true;
  output.hidden = false;
  swap($("start"), $("stop"));
  output.replaceChildren();
  output.classList.add("live");
  run.figures();
  status($("status"), "wait", "Sent, waiting for the answer");
  let ending;
  try {
    ending = await run.go($("prompt").value, $("model").value.trim());
  } catch (error) {
    if (run.abort.signal.aborted) {
      ending = { state: "idle", text: `Stopped here after ${plural(run.count, "token")}` };
    } else {
      showError(run.count ? "The connection broke" : "No answer", String(error?.message ?? error));
      ending = { state: "bad", text: `Broken off after ${plural(run.count, "token")}` };
    }
  }
  if (run.number !== completion.run) return;
  completion.abort = null;
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
$("stop").addEventListener("click", () => completion.abort?.abort());
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});

// ---------------------------------------------------------------- a feed, by EventSource

const feed = { source: null, gaps: new Gaps(), levels: [], count: 0, wasOpen: false, breaks: 0 };
/** Levels in the picture: one tide. */
const WINDOW = 60;

const feedChart = gapChart($("feed-gaps"), () => feed.gaps, 1500);
const levelChart = new Drawing($("levels"), (pen, width, height, colour) => {
  const shown = feed.levels.slice(-WINDOW);
  if (shown.length === 0) return;
  const low = Math.min(...shown, 1.3);
  const high = Math.max(...shown, 2.7);
  const x = (at) => 4 + (at * (width - 9)) / (WINDOW - 1);
  const y = (level) => height - 6 - ((level - low) / (high - low)) * (height - 14);
  const end = shown.length - 1;
  pen.beginPath();
  shown.forEach((level, at) => pen.lineTo(x(at), y(level)));
  pen.strokeStyle = colour("water");
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  pen.stroke();
  pen.lineTo(x(end), height);
  pen.lineTo(x(0), height);
  pen.globalAlpha = 0.14;
  pen.fillStyle = colour("water");
  pen.fill();
  pen.globalAlpha = 1;
  pen.beginPath();
  pen.arc(x(end), y(shown[end]), 3.5, 0, 2 * Math.PI);
  pen.fill();
});

function reading(event) {
  feed.gaps.arrive(performance.now());
  feed.count += 1;
  let metres = null;
  try {
    metres = JSON.parse(event.data).metres;
  } catch {
    // Counted as an event all the same; it only has no level to show.
  }
  if (typeof metres === "number") {
    feed.levels.push(metres);
    if (feed.levels.length > WINDOW) feed.levels.shift();
    $("level").textContent = metres.toFixed(2);
    $("levels").setAttribute("aria-label", `Water level: ${metres.toFixed(2)} metres`);
  }
  show($("feed-count"), feed.count.toLocaleString("en"));
  show($("feed-id"), event.lastEventId || "none");
  showTime($("feed-median"), feed.gaps.median);
  showTime($("feed-largest"), feed.gaps.largest);
  describe($("feed-gaps"), $("feed-note"), feed.gaps, "event", 0);
  feedChart.ask();
  levelChart.ask();
}

function breaks() {
  return feed.breaks ? `, after ${plural(feed.breaks, "reconnection")}` : "";
}

function openFeed() {
  Object.assign(feed, { gaps: new Gaps(), levels: [], count: 0, wasOpen: false, breaks: 0 });
  const source = new EventSource("/events");
  feed.source = source;
  status($("feed-status"), "wait", "Connecting");
  source.onopen = () => {
    if (feed.wasOpen) feed.breaks += 1;
    feed.wasOpen = true;
    status($("feed-status"), "live", `Open${breaks()}`);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) {
      status($("feed-status"), "bad", "Refused: the browser was told not to come back");
      $("feed-toggle").textContent = "Open the feed";
      feed.source = null;
    } else {
      status($("feed-status"), "wait", "Cut off, the browser is reconnecting");
    }
  };
  for (const kind of ["level", "tide", "message"]) source.addEventListener(kind, reading);
  $("feed-toggle").textContent = "Close the feed";
}

$("feed-toggle").addEventListener("click", () => {
  if (feed.source) {
    feed.source.close();
    feed.source = null;
    status($("feed-status"), "idle", `Closed here after ${plural(feed.count, "event")}${breaks()}`);
    $("feed-toggle").textContent = "Open the feed";
  } else {
    openFeed();
  }
});

// ---------------------------------------------------------------- the command

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
openFeed();
