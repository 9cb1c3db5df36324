/* Draws metrics of one or more runs over their steps. A classic script after uPlot.iife.min.js; it defines `charts`.

   charts.draw(host, chart) -> {update(chart), showRun(run, visible), destroy()}

   chart: {
     title, unit?, about?,
     lines: [{label, run, color?, dash?, points?, x: [step], y: [number|null], low?: [..], high?: [..]}],
     marks?: [{run, step, kind: "alarm"|"checkpoint", text}],
   }

   `run` counts runs from 0, `color` and `dash` count from 0 too (color: run where it is missing; dash 0 is a solid line);
   `low` and `high` bound the band of an interval; `points` draws a dot at each value. All text goes through textContent.

   Keys in a plot: arrows move over the steps, Home and End to the ends, Escape shows all steps again. Dragging zooms;
   a double click ends that. */
"use strict";

const charts = (() => {
  const COLORS = 6;
  const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];
  const MAX_ROWS = 60; // of the table of values
  const cursors = uPlot.sync("steps");
  const drawn = new Set();

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colorOf = (line) => css(`--series-${1 + (line.color ?? line.run ?? 0) % COLORS}`);
  const dashOf = (line) => {
    // Beyond the colors there is the dash: a seventh line looks unlike the first.
    const round = Math.floor((line.color ?? line.run ?? 0) / COLORS);
    return DASHES[((line.dash ?? 0) + round) % DASHES.length];
  };

  /** A number as people read it, four digits long. */
  function number(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  /** The columns that uPlot draws, all over the same steps, and what each column is. */
  function columns(lines) {
    const tables = [], series = [{}], bands = [];
    for (const line of lines) {
      const hasBand = Boolean(line.low && line.high);
      tables.push(hasBand ? [line.x, line.y, line.low, line.high] : [line.x, line.y]);
      const isShort = line.x.length < 2;
      const shared = { spanGaps: true, show: true };
      series.push({
        ...shared, label: line.label, stroke: () => colorOf(line), width: line.points ? 2.5 : 1.5, dash: dashOf(line),
        points: { show: Boolean(line.points) || isShort, size: 6, stroke: () => colorOf(line), fill: () => colorOf(line) },
      });
      if (hasBand) {
        const edge = { ...shared, stroke: "transparent", width: 0, points: { show: false } };
        series.push(edge, { ...edge });
        const at = series.length;
        // A band has no color of its own until it is drawn: the theme may change.
        bands.push({ series: [at - 1, at - 2], fill: () => translucent(colorOf(line)) });
      }
    }
    return { data: tables.length ? uPlot.join(tables) : [[]], series, bands };
  }

  const translucent = (color) => `${color}33`; // the series' colors are #rrggbb

  /** Where in uPlot's series each line and its band stand. */
  function placesOf(lines) {
    let next = 1;
    return lines.map((line) => {
      const first = next;
      next += line.low && line.high ? 3 : 1;
      return Array.from({ length: next - first }, (_, offset) => first + offset);
    });
  }

  /** Alarms as dashed lines under a triangle, checkpoints as small diamonds on the axis. */
  function drawMarks(plot, marks, isShown) {
    const { ctx, bbox } = plot, ratio = devicePixelRatio;
    const { min, max } = plot.scales.x;
    ctx.save();
    for (const mark of marks) {
      if (!isShown(mark.run) || mark.step < min || mark.step > max) continue;
      const x = plot.valToPos(mark.step, "x", true);
      ctx.fillStyle = ctx.strokeStyle = css(mark.kind === "alarm" ? "--alarm" : "--checkpoint");
      ctx.beginPath();
      if (mark.kind === "alarm") {
        ctx.lineWidth = ratio;
        ctx.setLineDash([4 * ratio, 4 * ratio]);
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.beginPath();
        polygon(ctx, [[x - 5 * ratio, bbox.top], [x + 5 * ratio, bbox.top], [x, bbox.top + 8 * ratio]]);
      } else {
        const y = bbox.top + bbox.height, size = 4 * ratio;
        polygon(ctx, [[x - size, y], [x, y - size], [x + size, y], [x, y + size]]);
      }
      ctx.fill();
    }
    ctx.restore();
  }

  function polygon(ctx, corners) {
    corners.forEach(([x, y], index) => (index ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
    ctx.closePath();
  }

  function axis(extra) {
    return { stroke: () => css("--quiet"), grid: { stroke: () => css("--grid"), width: 1 },
      ticks: { stroke: () => css("--grid"), width: 1 }, font: "12px system-ui, sans-serif", ...extra };
  }

  /** A sample of a line's stroke for the legend, as SVG: color and dash. */
  function sample(line) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg"), stroke = document.createElementNS(space, "line");
    svg.setAttribute("viewBox", "0 0 26 10");
    svg.setAttribute("aria-hidden", "true");
    const drawing = { x1: 0, y1: 5, x2: 26, y2: 5, stroke: `var(--series-${1 + (line.color ?? line.run ?? 0) % COLORS})`,
      "stroke-width": 3, "stroke-dasharray": dashOf(line).join(" ") };
    for (const [name, value] of Object.entries(drawing)) stroke.setAttribute(name, value);
    svg.append(stroke);
    return svg;
  }

  function summary(chart) {
    const lines = chart.lines.filter((line) => line.x.length).map((line) => {
      const last = line.x.length - 1;
      const start = `${number(line.y[0])} at step ${line.x[0]}`;
      return last ? `${line.label}: from ${start} to ${number(line.y[last])} at step ${line.x[last]}` : `${line.label}: ${start}`;
    });
    const alarms = (chart.marks ?? []).filter((mark) => mark.kind === "alarm").length;
    return [chart.title, ...lines, ...(alarms ? [`${alarms} ${alarms === 1 ? "alarm" : "alarms"}`] : [])].join("; ");
  }

  /** Rows for a table of values: all steps, or so many of them evenly spread. */
  function valueTable(data, lines, places) {
    const steps = data[0], scroll = element("div", "scroll"), table = element("table");
    const head = table.createTHead().insertRow();
    for (const name of ["step", ...lines.map((line) => line.label)]) {
      const cell = element("th", "number", name);
      cell.scope = "col";
      head.append(cell);
    }
    const every = Math.max(1, Math.ceil(steps.length / MAX_ROWS)), body = table.createTBody();
    steps.forEach((step, index) => {
      if (index % every && index !== steps.length - 1) return;
      const row = body.insertRow();
      row.append(element("td", "number", String(step)));
      places.forEach((at) => {
        const [value, low, high] = at.map((column) => data[column][index]);
        const interval = low == null || high == null ? "" : ` [${number(low)}, ${number(high)}]`;
        row.append(element("td", "number", value == null ? "" : number(value) + interval));
      });
    });
    if (every > 1) scroll.append(element("p", "quiet small", `Every ${every}th of ${steps.length} steps, and the last.`));
    scroll.append(table);
    return scroll;
  }

  /** One chart in its element; built anew when its data change. */
  class Chart {
    constructor(host, chart) {
      this.host = host;
      this.hidden = new Set(); // labels of lines
      this.hiddenRuns = new Set();
      this.observer = new ResizeObserver(() => this.resize());
      this.build(chart);
      drawn.add(this);
    }

    build(chart) {
      this.chart = chart;
      this.places = placesOf(chart.lines);
      const { data, series, bands } = columns(chart.lines);
      this.data = data;
      this.host.replaceChildren();
      this.host.classList.add("chart");
      const title = element("div", "chart-title");
      title.append(element("span", "", chart.title), element("span", "chart-unit", chart.unit ?? ""));
      this.host.append(title);
      if (chart.about) this.host.append(element("p", "chart-about", chart.about));
      this.frame = element("div", "chart-plot");
      this.readout = element("div", "chart-readout");
      this.spoken = element("div", "unseen");
      this.legend = element("ul", "chart-legend");
      this.host.append(this.frame, this.readout, this.spoken, this.legend, this.values());
      if (!data[0].length) {
        this.frame.append(element("p", "quiet", "No values yet."));
        return;
      }
      this.plot = new uPlot(this.options(series, bands), data, this.frame);
      this.frame.tabIndex = 0;
      this.frame.setAttribute("role", "img");
      this.frame.setAttribute("aria-label", summary(chart));
      this.frame.onkeydown = (event) => this.key(event);
      // Cursors of all charts move together: only the one in focus is read out.
      this.frame.onfocus = () => this.spoken.setAttribute("aria-live", "polite");
      this.frame.onblur = () => this.spoken.removeAttribute("aria-live");
      chart.lines.forEach((line) => this.legend.append(this.entry(line)));
      this.apply();
      this.read(null);
      this.observer.observe(this.frame);
    }

    options(series, bands) {
      return {
        width: this.width(), height: 200, series, bands, legend: { show: false }, padding: [10, 10, 0, 0],
        cursor: { sync: { key: cursors.key, setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } },
        scales: { x: { time: false, range: (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) } },
        axes: [axis({ size: 32, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick : "")) }),
          axis({ size: 62, values: (_, ticks) => ticks.map(number) })],
        hooks: {
          draw: [(plot) => drawMarks(plot, this.chart.marks ?? [], (run) => !this.hiddenRuns.has(run))],
          setCursor: [(plot) => this.read(plot.cursor.idx)],
        },
      };
    }

    width() {
      return Math.max(200, Math.floor(this.frame.clientWidth || this.host.clientWidth - 26));
    }

    resize() {
      if (this.plot && this.frame.clientWidth && this.plot.width !== this.width()) {
        this.plot.setSize({ width: this.width(), height: 200 });
      }
    }

    entry(line) {
      const item = element("li"), button = element("button");
      button.type = "button";
      button.append(sample(line), element("bdi", "", line.label), element("span", "chart-value"));
      button.setAttribute("aria-pressed", String(!this.hidden.has(line.label)));
      button.onclick = () => {
        this.hidden.has(line.label) ? this.hidden.delete(line.label) : this.hidden.add(line.label);
        button.setAttribute("aria-pressed", String(!this.hidden.has(line.label)));
        this.apply();
      };
      item.append(button);
      return item;
    }

    /** Show and hide lines with their bands, as legend and runs say. */
    apply() {
      this.plot?.batch(() => {
        this.chart.lines.forEach((line, index) => {
          const show = this.isShown(line);
          for (const at of this.places[index]) {
            if (this.plot.series[at].show !== show) this.plot.setSeries(at, { show }, false);
          }
          this.legend.children[index].hidden = this.hiddenRuns.has(line.run);
        });
      });
    }

    showRun(run, visible) {
      visible ? this.hiddenRuns.delete(run) : this.hiddenRuns.add(run);
      this.apply();
      this.plot?.redraw(false);
    }

    values() {
      const details = element("details", "chart-values");
      details.append(element("summary", "quiet", "Values"));
      details.ontoggle = () => { // built when it is asked for: pages have many charts
        if (details.open && details.children.length === 1) {
          details.append(valueTable(this.data, this.chart.lines, this.places));
        }
      };
      return details;
    }

    /** Say what the lines are at the cursor, or at the last step, and what is marked there. */
    read(cursor) {
      const index = cursor ?? this.data[0].length - 1;
      const step = this.data[0][index];
      const values = this.chart.lines.flatMap((line, at) => {
        const value = this.data[this.places[at][0]][index] ?? null;
        this.legend.children[at].querySelector(".chart-value").textContent = value === null ? "" : number(value);
        return this.isShown(line) && value !== null ? [`${line.label} ${number(value)}`] : [];
      });
      const marks = (this.chart.marks ?? []).filter((mark) => mark.step === step && !this.hiddenRuns.has(mark.run));
      const told = [`step ${step}`, ...new Set(marks.map((mark) => mark.text))];
      this.readout.textContent = told.join(" · ");
      this.spoken.textContent = [...told, ...values].join(" · ");
    }

    isShown(line) {
      return !this.hidden.has(line.label) && !this.hiddenRuns.has(line.run);
    }

    key(event) {
      const last = this.data[0].length - 1, now = this.plot.cursor.idx ?? -1;
      const to = { ArrowLeft: Math.max(0, now - 1), ArrowRight: Math.min(last, now + 1), Home: 0, End: last }[event.key];
      if (event.key === "Escape") {
        this.plot.setScale("x", { min: this.data[0][0], max: this.data[0][last] });
      } else if (to !== undefined) {
        const left = this.plot.valToPos(this.data[0][to], "x"), height = this.plot.bbox.height / devicePixelRatio;
        this.plot.setCursor({ left, top: height / 2 }, true);
      } else return;
      event.preventDefault();
    }

    /** Draw other data; where lines and marks stay the same in kind, zoom and hidden lines stay too. */
    update(chart) {
      const kind = ({ lines, title }) => JSON.stringify([title, lines.map(({ label, run, low }) => [label, run, Boolean(low)])]);
      if (!this.plot || kind(chart) !== kind(this.chart)) {
        this.remove();
        this.build(chart);
        return;
      }
      const { data } = columns(chart.lines), { min, max } = this.plot.scales.x;
      const old = this.data[0], isZoomed = min > old[0] || max < old[old.length - 1];
      this.chart = chart;
      this.data = data;
      this.plot.setData(data, !isZoomed);
      this.read(this.plot.cursor.idx);
      if (isZoomed) this.plot.setScale("x", { min, max });
      this.frame.setAttribute("aria-label", summary(chart));
      const values = this.host.querySelector(".chart-values");
      if (values.open && values.children.length > 1) {
        values.lastChild.replaceWith(valueTable(data, chart.lines, this.places));
      } else if (values.children.length > 1) values.lastChild.remove();
    }

    remove() {
      this.observer.disconnect();
      this.plot?.destroy();
      this.plot = undefined;
    }

    destroy() {
      this.remove();
      drawn.delete(this);
      this.host.replaceChildren();
    }
  }

  const redraw = () => drawn.forEach((chart) => chart.plot?.redraw(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  return Object.freeze({ draw: (host, chart) => new Chart(host, chart), number });
})();
