"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const small = matchMedia("(max-width: 40rem)");
  const touch = matchMedia("(pointer: coarse)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set();
  const drawn = new Set();

  // Replace CSS properties in a figure by their colours in the current theme.
  const resolve = (value, style) => {
    if (typeof value === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolve(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, style)]));
    }
    return value;
  };

  const layoutOf = (own, style) => {
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      gridcolor: colour("--grid"), linecolor: colour("--muted"), tickcolor: colour("--muted"), zeroline: false,
      showline: true, ticks: "outside", ticklen: 4, title: { standoff: 8 }, automargin: true,
    };
    const margin = small.matches ? { l: 46, r: 14, t: 14, b: 44 } : { l: 60, r: 24, t: 16, b: 50 };
    const merged = (given) => ({ ...axis, ...given, title: { ...axis.title, ...(given || {}).title } });
    return {
      showlegend: false, margin, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: small.matches ? 11.5 : 13, color: colour("--ink") },
      hoverlabel: { bgcolor: colour("--sheet"), bordercolor: colour("--rule"), font: { color: colour("--ink") }, align: "left", namelength: -1 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "reversed" },
      dragmode: touch.matches ? false : "zoom",
      ...own, xaxis: merged(own.xaxis), yaxis: merged(own.yaxis),
      height: small.matches ? Math.min(own.height, 420) : own.height,
    };
  };

  // Plotly is in the page, compressed; charts that are asked for before it is ready are drawn then. Printing from the
  // command line waits for the load event, which a frame with an open document delays until then.
  const pending = document.createElement("iframe");
  pending.hidden = true;
  document.body.append(pending);
  pending.contentDocument.open();
  let ready = false;
  const unpack = async () => {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    ready = true;
  };

  const draw = (place) => {
    const own = figures[place.dataset.figure];
    if (!own) return;
    drawn.add(place);
    if (!ready) return;
    const style = getComputedStyle(root);
    const data = resolve(own.data, style);
    for (const trace of data) if (trace.meta && hidden.has(trace.meta.method)) trace.visible = false;
    const settings = { responsive: true, displaylogo: false, displayModeBar: small.matches ? false : "hover" };
    return Plotly.react(place, data, layoutOf(resolve(own.layout, style), style), settings);
  };
  const redraw = () => drawn.forEach(draw);
  const charts = [...document.querySelectorAll(".chart")];
  for (const place of charts) place.style.minHeight = `${Math.min((figures[place.dataset.figure] || { layout: {} }).layout.height || 0, small.matches ? 420 : 2000)}px`;
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "800px" });
  charts.forEach((place) => watcher.observe(place));
  unpack().then(redraw, () => charts.forEach((place) => { place.textContent = "Charts need a browser of 2023 or newer; pictures are in the same folder."; }))
    .finally(() => pending.remove());
  small.addEventListener("change", redraw);
  dark.addEventListener("change", redraw);

  const themes = ["system", "light", "dark"];
  const toggle = document.getElementById("theme");
  const setTheme = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    toggle.textContent = `Theme: ${theme}`;
    redraw();
  };
  toggle.addEventListener("click", () => setTheme(themes[(themes.indexOf(root.dataset.theme || "system") + 1) % 3]));

  // Charts are drawn anew at the width of a sheet, or of the window: a drawn one keeps its width.
  const setPaper = (isPaper) => {
    root.classList.toggle("paper", isPaper);
    if (ready) drawn.forEach((place) => Plotly.purge(place));
  };
  let before, folded;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme || "system";
    folded = document.querySelectorAll("details:not([open])");
    folded.forEach((details) => { details.open = true; });
    charts.forEach((place) => drawn.add(place));
    setPaper(true);
    setTheme("light");
  });
  addEventListener("afterprint", () => {
    folded.forEach((details) => { details.open = false; });
    setPaper(false);
    setTheme(before);
  });

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const method = button.dataset.method;
      if (!hidden.delete(method)) hidden.add(method);
      for (const other of document.querySelectorAll(".legend button")) {
        if (other.dataset.method === method) other.setAttribute("aria-pressed", String(!hidden.has(method)));
      }
      redraw();
    });
  }

  for (const select of document.querySelectorAll("select[data-for]")) {
    select.addEventListener("change", () => {
      const place = document.getElementById(select.dataset.for);
      place.dataset.figure = select.value;
      place.style.minHeight = "0";
      draw(place);
    });
  }

  for (const slider of document.querySelectorAll(".along input")) {
    const points = [...slider.closest("section").querySelectorAll(".front-point")];
    const name = slider.closest(".along").querySelector("output");
    const show = () => {
      points.forEach((point, place) => { point.hidden = place !== Number(slider.value); });
      const point = points[Number(slider.value)];
      name.textContent = point.dataset.said;
      slider.setAttribute("aria-valuetext", point.dataset.said);
      for (const place of point.querySelectorAll(".chart")) if (ready && drawn.has(place)) Plotly.Plots.resize(place);
    };
    slider.addEventListener("input", show);
    show(); // a browser may have kept another value
  }

  const keyOf = (cell) => {
    const text = cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
    const value = text === "" ? NaN : Number(text.replaceAll(",", ""));
    return { text, value };
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, ...keyOf(row.cells[column]) }));
    const numeric = rows.some(({ value }) => !Number.isNaN(value)) && table.tHead.rows[0].cells[column].classList.contains("num");
    rows.sort((a, b) => {
      if (!numeric) return direction * a.text.localeCompare(b.text, "en", { numeric: true });
      if (Number.isNaN(a.value) || Number.isNaN(b.value)) return Number.isNaN(a.value) - Number.isNaN(b.value);
      return direction * (a.value - b.value);
    });
    body.append(...rows.map(({ row }) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // Numbers sort in descending order first, text in ascending order; another click reverses the order.
        const now = head.getAttribute("aria-sort");
        const ascending = now ? now === "descending" : !head.classList.contains("num");
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending ? 1 : -1);
      });
    }
  }

  for (const input of document.querySelectorAll(".filter")) {
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      for (const row of input.closest("details").querySelector("tbody").rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
      }
    });
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        const range = document.createRange();
        range.selectNodeContents(code);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
