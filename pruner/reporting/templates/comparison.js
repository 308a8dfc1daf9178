// The table of problems: two settings side by side.
const step = 100;
const state = { sort: 4, down: true, shown: step };
const count = value => value.toLocaleString("en");
const percent = value => Math.round(100 * value) + " %";

const columns = () => {
  const left = +at("left").value, right = +at("right").value;
  return [
    { name: "problem", of: i => data.problems[i][0], show: ending, kind: "short" },
    { name: "question", of: i => data.problems[i][1], kind: "question extra" },
    { name: "right, 1st", of: i => data.correct[left][i], show: percent, kind: "number" },
    { name: "right, 2nd", of: i => data.correct[right][i], show: percent, kind: "number" },
    { name: "difference", of: i => Math.abs(data.correct[right][i] - data.correct[left][i]), kind: "number extra",
      show: (_, i) => Math.round(100 * (data.correct[right][i] - data.correct[left][i])) },
    { name: "tokens, 1st", of: i => data.tokens[left][i], show: count, kind: "number extra" },
    { name: "tokens, 2nd", of: i => data.tokens[right][i], show: count, kind: "number extra" },
    { name: "traces, 2nd", of: i => data.traces[right][i], kind: "number extra" },
  ];
};

function draw() {
  const all = columns(), words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = data.problems.map((_, i) => i)
    .filter(i => words.every(word => data.problems[i].join("\n").toLowerCase().includes(word)));
  const compare = new Intl.Collator("en", { numeric: true }).compare, key = all[state.sort].of;
  found.sort((a, b) => { const x = key(a), y = key(b); return typeof x === "number" ? x - y : compare(x, y); });
  if (state.down) found.reverse();
  at("shown").textContent = `${count(found.length)} of ${count(data.problems.length)} problems`;
  at("more").hidden = found.length <= state.shown;
  at("table").tHead.rows[0].replaceChildren(...all.map((column, number) => {
    const head = make("th", column.kind.includes("number") ? column.kind : column.kind.includes("extra") ? "extra" : "", column.name);
    if (number === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    head.addEventListener("click", () => {
      state.down = state.sort === number ? !state.down : column.kind.includes("number");
      state.sort = number;
      draw();
    });
    return head;
  }));
  at("table").tBodies[0].replaceChildren(...found.slice(0, state.shown).map(i => {
    const row = make("tr");
    for (const column of all) {
      const value = column.of(i), cell = make("td", column.kind, column.show ? column.show(value, i) : value);
      if (typeof value === "string") cell.title = value;
      row.append(cell);
    }
    return row;
  }));
}

data.settings.forEach((name, i) => {
  for (const id of ["left", "right"]) {
    const option = make("option", "", name);
    option.value = i;
    at(id).append(option);
  }
});
at("right").value = Math.max(0, data.settings.findIndex(name => name.startsWith("worth")));
if (at("right").value === "0" && data.settings.length > 1) at("right").value = 1;
for (const id of ["search", "left", "right"]) at(id).addEventListener("input", () => { state.shown = step; draw(); });
at("more").addEventListener("click", () => { state.shown += step; draw(); });
draw();
