// The report: sorted tables, plots drawn when visible, light and dark. Without this script the page is readable, except for the plots.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Tables -------------------------------------------------------------------------------------------------------------
  // A sorted table has its own address: #sort=ID,COLUMN,ascending
  const value = (row, column) => {
    const said = row.cells[column]?.dataset.value;
    return said === undefined ? null : said !== "" && isFinite(said) ? Number(said) : said;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  function sort(table, column, order) {
    const heads = all("thead th", table), sign = order === "ascending" ? 1 : -1;
    if (!heads[column]) return;
    heads.forEach((head, place) => head.setAttribute("aria-sort", place === column ? order : "none"));
    const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
    // Rows without a value stay last in either order.
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }
  all("table.sortable").forEach((table) => all("thead th", table).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      sort(table, column, order);
      try { history.replaceState(null, "", `#sort=${table.id},${column},${order}`); } catch { /* the address cannot be changed */ }
    });
  }));
  function follow() {
    const wanted = location.hash.match(/^#sort=([\w-]+),(\d+),(ascending|descending)$/);
    const table = wanted && document.getElementById(wanted[1]);
    if (!table) return;
    sort(table, Number(wanted[2]), wanted[3]);
    for (let place = table; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
    table.scrollIntoView();
  }

  // Plots --------------------------------------------------------------------------------------------------------------
  const { defenses, charts } = JSON.parse(document.getElementById("plots").textContent);
  const drawn = new Map(), hidden = new Set();
  if (window.Chart) Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  function dataset(series) {
    const look = defenses[series.defense];
    const ink = look ? colour(`--d${look.colour}`) : colour("--quiet");
    const lines = series.lines, faint = series.style === "faint", front = series.style === "front";
    const alpha = (part) => ink + Math.round(part * 2.55).toString(16).padStart(2, "0");   // #rrggbbaa
    const shades = { line: faint ? alpha(lines ? 45 : 60) : ink, fill: faint ? alpha(45) : series.style === "hollow" ? colour("--paper") : ink };
    return {
      label: series.label, names: series.names || [], of: series.defense, hidden: hidden.has(series.defense),
      data: series.points.map(([x, y]) => ({ x, y })), clip: lines ? undefined : false,
      showLine: lines || front, stepped: front ? "before" : false, borderDash: front ? [2, 4] : series.style === "dashed" ? [6, 4] : [],
      borderColor: shades.line, backgroundColor: shades.fill, borderWidth: lines ? (faint ? 1 : 2.2) : front ? 2 : faint ? 1 : 2,
      pointStyle: look?.shape || "circle", rotation: look?.rotation || 0, order: front ? 3 : faint ? 2 : 1,
      pointRadius: front ? 0 : lines ? (faint || series.points.length > 12 ? 0 : 3) : faint ? 3.5 : 8,
      pointHitRadius: front || (lines && faint) ? 0 : 8, pointHoverRadius: lines ? 5 : undefined,
    };
  }
  const percent = (text) => (text.includes("%") ? "%" : "");
  function axis(title, ends) {
    return {
      type: "linear", min: ends?.[0], max: ends?.[1], title: { display: true, text: title, color: colour("--quiet") },
      ticks: { color: colour("--quiet"), maxTicksLimit: 7 }, grid: { color: colour("--line") }, border: { color: colour("--line") },
    };
  }
  function draw(canvas) {
    const chart = charts[canvas.dataset.chart];
    if (!chart || !window.Chart) return;
    drawn.get(canvas)?.destroy();
    const [x, y] = chart.axes;
    drawn.set(canvas, new Chart(canvas, {
      type: "scatter",
      data: { datasets: chart.series.map((series) => dataset({ ...series, lines: chart.lines })) },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, layout: { padding: { top: 8, right: 10 } },
        scales: { x: axis(x, chart.x), y: axis(y, chart.y) },
        plugins: {
          legend: { display: false },
          tooltip: { callbacks: { label: ({ dataset, dataIndex, parsed }) => {
            const name = dataset.names[dataIndex];
            return `${dataset.label}${name ? ` (${name})` : ""}: ${x.split(",")[0].split(" (")[0]} ${parsed.x}${percent(x)}, `
              + `${y.split(",")[0]} ${parsed.y}${percent(y)}`;
          } } },
        },
      },
    }));
  }
  const canvases = all("canvas[data-chart]");
  const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
    seen.unobserve(target);
    draw(target);
  }), { rootMargin: "400px" });
  canvases.forEach((canvas) => seen.observe(canvas));
  // The others are drawn when the browser is idle, so that scrolling does not wait; folded ones when they are opened.
  const ahead = canvases.slice(0, 60);
  const next = () => {
    const canvas = ahead.shift();
    if (!canvas) return;
    if (canvas.offsetParent && !drawn.has(canvas)) { seen.unobserve(canvas); draw(canvas); }
    setTimeout(next, 10);
  };
  setTimeout(next, 10);
  const redraw = () => [...drawn.keys()].forEach(draw);

  // A name in the legend toggles a defense in all plots.
  all("section .legend li").forEach((item) => {
    const button = document.createElement("button"), place = Number(item.dataset.defense);
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(...item.childNodes);
    item.append(button);
    button.addEventListener("click", () => {
      if (!hidden.delete(place)) hidden.add(place);
      all(`section .legend li[data-defense="${place}"] button`).forEach((other) => other.setAttribute("aria-pressed", String(!hidden.has(place))));
      drawn.forEach((chart) => {
        chart.data.datasets.forEach((set) => { if (set.of === place) set.hidden = hidden.has(place); });
        chart.update();
      });
    });
  });

  // A small screen shows scores first.
  if (matchMedia("(max-width: 40rem)").matches) document.querySelector("details.reading").open = false;

  // Light and dark -----------------------------------------------------------------------------------------------------
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const store = (name, kept) => { try { return kept ? localStorage.setItem(name, kept) : localStorage.getItem(name); } catch { return null; } };
  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.className = "theme";
  const label = () => { toggle.textContent = theme() === "dark" ? "Light" : "Dark"; toggle.setAttribute("aria-label", `${toggle.textContent} colours`); };
  const wear = (name) => { if (name) root.dataset.theme = name; else delete root.dataset.theme; label(); redraw(); };
  const kept = store("gauntlet-theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  label();
  toggle.addEventListener("click", () => { wear(theme() === "dark" ? "light" : "dark"); store("gauntlet-theme", root.dataset.theme); });
  dark.addEventListener("change", () => wear(root.dataset.theme));
  document.querySelector(".top").append(toggle);

  // Print in light colours, with every plot.
  let before;
  addEventListener("beforeprint", () => { before = root.dataset.theme; canvases.forEach((canvas) => { if (canvas.offsetParent && !drawn.has(canvas)) draw(canvas); }); wear("light"); });
  addEventListener("afterprint", () => wear(before));

  addEventListener("hashchange", follow);
  follow();
})();
