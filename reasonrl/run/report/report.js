/* The report's own script: draws the charts and hides runs. All data are in the page; nothing is fetched. */
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const hidden = new Set();
  const drawn = [];

  function draw(host) {
    const chart = charts.draw(host, { ...data.charts[Number(host.dataset.chart)], marks: data.marks });
    hidden.forEach((run) => chart.showRun(run, false));
    drawn.push(chart);
  }

  for (const host of document.querySelectorAll("[data-chart]")) {
    const closed = host.closest("details:not([open])");
    if (closed) closed.addEventListener("toggle", () => draw(host), { once: true });
    else draw(host);
  }

  for (const choice of document.querySelectorAll("[data-run]")) {
    choice.closest("label").hidden = false;
    choice.addEventListener("change", () => {
      const run = Number(choice.dataset.run);
      choice.checked ? hidden.delete(run) : hidden.add(run);
      drawn.forEach((chart) => chart.showRun(run, choice.checked));
    });
  }
})();
