
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

