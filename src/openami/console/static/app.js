// Charts: every element with data-series loads its columns and draws them with uPlot.
// Raw, final and estimated values carry different marks, so that they differ without colour too.
"use strict";

(function () {
  const chinese = document.documentElement.lang.startsWith("zh");
  const locale = chinese ? "zh-CN" : "en-GB";
  const numbers = new Intl.NumberFormat(locale, { maximumFractionDigits: 6 });
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Wall time of the usage point's zone, not of the browser, as it is written on the pages.
  function clock(zone) {
    const format = new Intl.DateTimeFormat("en-CA", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
    });
    return (seconds) => {
      const part = Object.fromEntries(format.formatToParts(new Date(seconds * 1000)).map((item) => [item.type, item.value]));
      return { day: `${part.month}-${part.day}`, time: `${part.hour}:${part.minute}`, full: `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}` };
    };
  }

  // Midnights are named by their day, other instants by their time.
  const ticks = (clock) => (_, instants) => instants.map((instant) => {
    const at = clock(instant);
    return at.time === "00:00" ? at.day : at.time;
  });

  // Ticks on whole hours and days of the zone: those of uPlot are of the browser's.
  function splits(clock, width) {
    const steps = [1, 2, 3, 6, 12, 24, 48, 168, 336, 720].map((hours) => hours * 3600);
    return (_, __, low, high) => {
      const step = steps.find((candidate) => (high - low) / candidate <= Math.max(4, width() / 80)) || steps[steps.length - 1];
      const found = [];
      for (let at = Math.ceil(low / 3600) * 3600; at <= high; at += 3600) {
        const { time } = clock(at);
        const hour = Number(time.slice(0, 2));
        if (time.endsWith(":00") && (hour * 3600) % Math.min(step, 86400) === 0) found.push(at);
      }
      const every = step > 86400 ? step / 86400 : 1;
      return found.filter((_, index) => index % every === 0);
    };
  }

  function crosses(self, seriesIndex, first, last) {
    const { ctx } = self;
    const ys = self.data[seriesIndex];
    const size = 3.5 * devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = css("--estimated");
    ctx.lineWidth = 1.75 * devicePixelRatio;
    ctx.beginPath();
    for (let i = first; i <= last; i++) {
      if (ys[i] == null) continue;
      const x = self.valToPos(self.data[0][i], "x", true);
      const y = self.valToPos(ys[i], "y", true);
      ctx.moveTo(x - size, y - size); ctx.lineTo(x + size, y + size);
      ctx.moveTo(x - size, y + size); ctx.lineTo(x + size, y - size);
    }
    ctx.stroke();
    ctx.restore();
    return false;
  }

  function draw(element, answer) {
    const at = clock(answer.zone);
    const value = (_, raw) => (raw == null ? "–" : `${numbers.format(raw)} ${answer.unit}`);
    const labels = JSON.parse(element.dataset.labels);
    const stepped = uPlot.paths.stepped({ align: 1 });
    // A spike would flatten the load it stands in: the scale follows the final values, and a line says so.
    const largest = (values) => values.reduce((most, each) => (each > most ? each : most), 0);
    const [raw, final] = [largest(answer.raw), largest(answer.final)];
    const beyond = final > 0 && raw > 4 * final;
    const top = (high) => (beyond ? Math.min(high, 1.5 * final) : high) * 1.08 || 1;
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 } };
    const options = {
      width: element.clientWidth,
      height: element.clientWidth < 600 ? 260 : 340,
      scales: { x: { time: true }, y: { range: (_, low, high) => [Math.min(0, low), top(high)] } },
      series: [
        { label: labels.time, value: (_, seconds) => (seconds == null ? "–" : at(seconds).full) },
        { label: labels.raw, stroke: css("--raw"), width: 1.25, dash: [4, 3], points: { show: false }, paths: stepped, value },
        { label: labels.final, stroke: css("--final"), fill: css("--glow"), width: 1.75, points: { show: false }, paths: stepped, value },
        { label: labels.estimated, stroke: css("--estimated"), width: 0, paths: () => null, points: { show: crosses }, value },
      ],
      axes: [
        { ...axis, splits: splits(at, () => element.clientWidth), values: ticks(at) },
        { ...axis, size: 60, values: (_, marks) => marks.map((mark) => numbers.format(mark)) },
      ],
      cursor: { drag: { x: true, y: false } },
    };
    element.replaceChildren();
    const plot = new uPlot(options, [answer.t, answer.raw, answer.final, answer.estimated], element);
    if (beyond) {
      const note = document.createElement("p");
      note.className = "beyond";
      note.textContent = element.dataset.beyond.replace("{value}", value(null, raw));
      element.append(note);
    }
    new ResizeObserver(() => {
      if (element.clientWidth !== plot.width) plot.setSize({ width: element.clientWidth, height: plot.height });
    }).observe(element);
    element.dataset.drawn = answer.t.length;
  }

  async function load(element) {
    try {
      const response = await fetch(element.dataset.series, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(String(response.status));
      draw(element, await response.json());
    } catch (error) {
      element.textContent = `${element.dataset.failed} (${error.message})`;
    }
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-series]").forEach(load));
})();
