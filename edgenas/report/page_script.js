// Draws the figures in the colours of the theme, and lets the keyboard go from point to point.
"use strict";
const THEMES = JSON.parse(document.getElementById("themes").textContent);
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function coloured(value, theme) {
  if (Array.isArray(value)) return value.map((each) => coloured(each, theme));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each, theme)]));
  }
  const named = typeof value === "string" ? value.match(/^@([a-z]+)([0-9a-f]{2})?$/) : null;
  return named && named[1] in theme ? theme[named[1]] + (named[2] ?? "") : value;
}

function layout(own, theme, width) {
  const axis = { gridcolor: theme.grid, linecolor: theme.faint, zeroline: false, tickcolor: theme.faint };
  return {
    ...own,
    xaxis: { ...axis, ...own.xaxis },
    yaxis: { ...axis, ...own.yaxis },
    font: { color: theme.ink, family: "system-ui, sans-serif", size: width < 500 ? 11 : 13 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 12, t: 12, b: 48 },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
    hoverlabel: { align: "left", bgcolor: theme.paper, bordercolor: theme.ink, font: { color: theme.ink } },
  };
}

function draw(place) {
  const theme = dark.matches ? THEMES.dark : THEMES.light;
  const { data, layout: own } = coloured(figures[place.id], theme);
  const shown = layout(own, theme, place.clientWidth);
  return Plotly.react(place, data, shown, { responsive: true, displayModeBar: false, scrollZoom: false });
}

const plain = (text) => new DOMParser().parseFromString(String(text ?? "").replaceAll("<br>", "; "), "text/html").body.textContent;

/** Points that may be walked over, from left to right, trace after trace. */
function walk(place) {
  return figures[place.id].data.flatMap((trace, curveNumber) =>
    trace.hoverinfo === "skip" ? [] : trace.x.map((_, pointNumber) => ({ curveNumber, pointNumber })));
}

function spoken(place, { curveNumber, pointNumber }) {
  const trace = figures[place.id].data[curveNumber];
  const lines = [trace.text, trace.customdata].map((list) => (Array.isArray(list) ? plain(list[pointNumber]) : ""));
  return [trace.name, `${trace.x[pointNumber]}, ${trace.y[pointNumber]}`, ...lines].filter(Boolean).join("; ");
}

function keys(place) {
  const points = walk(place);
  let at = -1;
  place.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      Plotly.Fx.unhover(place);
      place.nextElementSibling.textContent = "";
    }
    if (!step || !points.length) return;
    event.preventDefault();
    at = at < 0 && step < 0 ? points.length - 1 : (at + step + points.length) % points.length;
    Plotly.Fx.hover(place, [points[at]]);
    place.nextElementSibling.textContent = spoken(place, points[at]);
  });
}

const places = [...document.querySelectorAll(".figure")];
places.forEach(keys);
dark.addEventListener("change", () => places.forEach(draw));
Promise.all(places.map(draw)).then(() => { document.body.dataset.drawn = "yes"; });
