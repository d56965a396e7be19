// What the pages do beyond being read: themes, pausing, charts. All of it may be missing.
(() => {
  "use strict";
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // The theme: as the system has it, or as it was chosen here.
  const themes = ["auto", "light", "dark"];
  const themeButton = byId("theme");
  const showTheme = () => { themeButton.textContent = `Theme: ${root.dataset.theme || "auto"}`; };
  themeButton.hidden = false;
  showTheme();
  themeButton.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length];
    if (next === "auto") {
      delete root.dataset.theme;
      localStorage.removeItem("preble-theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("preble-theme", next);
    }
    showTheme();
    redrawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawAll());

  // Live: whoever reads may stop what moves; a tab that nobody sees asks for nothing.
  const live = byId("live");
  live.hidden = !document.querySelector("[hx-trigger]");
  live.addEventListener("click", () => {
    const isLive = live.getAttribute("aria-pressed") !== "true";
    live.setAttribute("aria-pressed", String(isLive));
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || live.getAttribute("aria-pressed") !== "true") event.preventDefault();
  });

  // What has not changed stays, with the focus and the selection in it; open tables stay open.
  const shown = new WeakMap();
  let open = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, xhr } = event.detail;
    if (shown.get(target) === xhr.responseText) event.detail.shouldSwap = false;
    shown.set(target, xhr.responseText);
    open = [...target.querySelectorAll("details[open]")].map((each) => each.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    open.forEach((id) => byId(id)?.setAttribute("open", ""));
    tell();
    drawAll();
  });

  // A change of state is said once, outside of what is replaced.
  let told = document.querySelector("[data-told]")?.dataset.told;
  const tell = () => {
    const now = document.querySelector("[data-told]")?.dataset.told;
    if (now && now !== told) byId("told").textContent = told = now;
  };

  // An api that does not answer is said, too.
  const lost = byId("lost");
  const lose = () => { lost.hidden = false; };
  document.addEventListener("htmx:sendError", lose);
  document.addEventListener("htmx:timeout", lose);
  document.addEventListener("htmx:responseError", lose);
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.successful !== false && event.detail.xhr.status < 400) lost.hidden = true;
  });

  // Charts: of figures that the page says, too.
  const kinds = {
    count: (value) => value.toLocaleString("en"),
    share: (value) => `${Math.round(100 * value)}%`,
    seconds: (value) => (value < 1 ? `${+(1000 * value).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`),
  };
  const charts = new Map();
  const colour = (name) => getComputedStyle(document.querySelector(`.key.${name}`)).color;
  const dataOf = (box) => {
    const series = JSON.parse(byId(box.dataset.of)?.dataset.series || "[]");
    return series.length ? [0, ...box.dataset.pick.split(",").map(Number)].map((i) => series[i]) : null;
  };
  const optionsFor = (box) => {
    const tell = kinds[box.dataset.kind];
    const ink = getComputedStyle(document.querySelector("figcaption")).color;
    const grid = { stroke: getComputedStyle(box).borderTopColor, width: 1 };
    const axis = { stroke: ink, font: "11px system-ui", grid, ticks: { show: false } };
    const values = (_, splits) => splits.map((each) => (each == null ? "" : tell(each)));
    const most = (_, __, max) => (box.dataset.kind === "share" ? [0, 1] : [0, Math.max(max * 1.1, 1e-3)]);
    const inUtc = (at) => new Date(1000 * at).toISOString().slice(11, 19);
    return {
      width: box.clientWidth, height: box.clientHeight, legend: { show: false },
      cursor: { show: false }, padding: [8, 12, 0, 0],
      scales: { x: { time: false }, y: { range: most } },
      axes: [
        { ...axis, size: 26, space: 90, values: (_, splits) => splits.map(inUtc) },
        { ...axis, size: 58, space: 28, values },
      ],
      series: [{}, ...box.dataset.colours.split(",").map((name) => ({
        stroke: colour(name), width: 1.75, spanGaps: true, points: { show: false },
      }))],
    };
  };
  const draw = (box) => {
    const data = dataOf(box);
    if (!data) return;
    const known = charts.get(box);
    if (known) known.setData(data);
    else charts.set(box, new uPlot(optionsFor(box), data, box));
  };
  const drawAll = () => document.querySelectorAll(".chart").forEach(draw);
  const redrawAll = () => {
    charts.forEach((chart) => chart.destroy());
    charts.clear();
    drawAll();
  };
  drawAll();
  let resized;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(redrawAll, 150);
  });
})();
