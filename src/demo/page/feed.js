// A feed, by EventSource.

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

openFeed();
